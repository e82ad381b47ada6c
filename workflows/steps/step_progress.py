"""What is shown of a run of steps: the share of the work that is done, how many have ended, and which are at work."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

from workflows.steps.step import Step, code_version, grouped
from workflows.steps.step_work import Work

_SECONDS_BETWEEN_LOOKS = 1.0
_NAMES_IN_BAR, _LETTERS_IN_BAR = 3, 48
_BAR = "{desc}: {percentage:3.0f}% of the work |{bar}| {elapsed}<{remaining}{postfix}"


class StepProgress:
    """The bar of steps that are run, whoever runs them."""

    def __init__(self, due: Sequence[Step], what: str, spoken: Callable[[str], str] = str) -> None:
        """Show nothing yet. what: is run, for people. spoken: what they call a step, by its name."""
        self._due = {step.name: step for step in due}
        self._work = Work(self._due)
        self._what, self._spoken = what, spoken
        self._ended = self._by_other_code = 0
        self._shown = 0.0

    def __enter__(self) -> Self:
        self._bar = tqdm(total=1.0, desc=self._what, bar_format=_BAR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._bar.close()

    def done(self, name: str, code: str, seconds: float) -> None:
        """Note that a step has ended well. code: the version of what made its result."""
        self._by_other_code += code != code_version(self._due[name].function.__module__)
        self._work.done(name, seconds)
        self._ended += 1
        self._bar.n = 1.0 if self._ended == len(self._due) else self._work.share

    def show(self, at_work: Callable[[], Iterable[str]]) -> None:
        """Show what is at work, by name; often called, it looks now and then."""
        if time.monotonic() - self._shown > _SECONDS_BETWEEN_LOOKS:
            names = _in_brief(list(map(self._spoken, at_work())))
            self._shown = time.monotonic()
            self._bar.set_postfix_str(f"{self._count()}{'; ' * bool(names)}{names}")

    def end(self) -> None:
        """Show that nothing is at work any more; say if other code than this process's has run."""
        self._bar.set_postfix_str(self._count())
        if self._by_other_code:
            self.say(
                f"{self._by_other_code} steps were run by other code than this process has: isoenergy was changed "
                f"meanwhile, or nodes have another version; the next run does them again"
            )

    def say(self, line: str) -> None:
        """Write a line above the bar."""
        tqdm.write(f"{self._what}: {line}", file=sys.stderr)

    def _count(self) -> str:
        return f"{self._ended} of {len(self._due)} steps"


def _in_brief(names: Iterable[str]) -> str:
    groups = [
        f"{_fitting(group)} ×{len(parts)}" if len(parts) > 1 else _fitting(parts[0])
        for group, parts in grouped(names).items()
    ]
    more = len(groups) - _NAMES_IN_BAR
    return ", ".join(groups[:_NAMES_IN_BAR]) + (f" and {more} more" if more > 0 else "")


def _fitting(name: str) -> str:
    """Cut a name that is too long: words end in what a step is of, a path in what it does."""
    if len(name) <= _LETTERS_IN_BAR:
        return name
    return f"{name[: _LETTERS_IN_BAR - 1].rstrip()}…" if " " in name else f"…{name[1 - _LETTERS_IN_BAR :]}"
