"""A search one of whose passes is killed at a known point."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from tune.passes import Report, SearchFolder

REPORTS = 3


class KillingFolder(SearchFolder):
    """The process of a pass ends outright once, when the pass has made so many reports."""

    def report(self, pass_id: str, reports: tuple[Report, ...], diverged: Mapping[str, str]) -> None:
        super().report(pass_id, reports, diverged)
        killed = self.killed(self.uri)
        if len(reports) == REPORTS and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def killed(uri: str) -> Path:
        """Return the file that is there once a process was killed."""
        return Path(uri, "killed")
