"""How stages end on the console: what came of them, and how to open it."""

import logging
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from isoenergy.durations import duration
from isoenergy.report.console import told_evaluation
from isoenergy.report.evaluation_file import read_evaluation
from isoenergy.storage.files import last_part, open_filesystem, without_secrets
from workflows.tracking.sqlite_file import SCHEME
from workflows.tracking.tracking_client import runs_page, tracking_uri

_LOG = logging.getLogger(__name__)
_LABEL = 11
_LOCAL_SERVER = "http://127.0.0.1:5000"


def evaluation_ending(evaluation: str, page: str = "", saes: Sequence[str] = ()) -> str:
    """Return what an evaluation comes to, with every number if `--verbose` was given, and how to open it.

    evaluation, page: URIs of `evaluation.json` and of its report, if there is one. saes: URIs of SAEs, in which to
    look around.
    """
    summary = read_evaluation(evaluation)
    told = told_evaluation(summary, verbose=_LOG.isEnabledFor(logging.DEBUG))
    report = [*_labelled("report", page), *_opened(page)] if page else []
    drawn = [] if page else _labelled("draw it", f"isoenergy report --evaluation {shlex.quote(evaluation)}")
    alive = explored(summary, saes)
    return "\n".join(["", *told, "", *report, *alive, *_labelled("evaluation", evaluation), *drawn, *mlflow_lines()])


def training_ending(store: str, uris: Sequence[str], told: Sequence[str]) -> str:
    """Return what a training comes to, `told`, and what is done with its SAEs next."""
    folder = uris[0].rpartition("/")[0]
    evaluate = f"isoenergy evaluate --store {shlex.quote(store)} --saes {shlex.quote(folder)}"
    saes = [line for number, uri in enumerate(uris) for line in _labelled("" if number else "SAEs", uri)]
    return "\n".join(["", *told, "", *saes, *_labelled("measure", evaluate), *mlflow_lines()])


def mlflow_lines() -> list[str]:
    """Return where the runs are, and how to open their table."""
    uri = tracking_uri()
    lines = _labelled("MLflow", without_secrets(uri))
    with suppress(Exception):  # a server that is gone by now is no reason to fail
        page = runs_page(uri)
        if uri.startswith(SCHEME):
            program = Path(sys.executable).with_name("mlflow")
            lines += _labelled("", f"serve it: {program} ui --backend-store-uri {shlex.quote(uri)}")
            lines += _labelled("", f"open it: {_LOCAL_SERVER}{page}")
        elif uri.startswith("http"):
            lines += _labelled("", f"open it: {without_secrets(uri).rstrip('/')}{page}")
    return lines


class Stages:
    """The stages of a pipeline, numbered, each with the time that it took."""

    def __init__(self, count: int) -> None:
        self._count, self._number = count, 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Say that one begins, but for the first, which says what it does itself; and, if it ends well, its time."""
        self._number += 1
        started = monotonic()
        if self._number > 1:
            _LOG.info("%d/%d %s …", self._number, self._count, name)
        yield
        _LOG.info("%d/%d %s, %s", self._number, self._count, name, duration(monotonic() - started))


def explored(summary: Mapping[str, Any], saes: Sequence[str]) -> list[str]:
    """Return how to look around in the first and the last of the SAEs, given by their URIs, that a report shows."""
    names = {sae["name"] for sae in summary["saes"] if sae.get("explorer")}
    shown = [uri for uri in saes if last_part(uri) in names]
    if not shown:
        return []
    uris = " ".join(shlex.quote(without_secrets(uri)) for uri in dict.fromkeys((shown[0], shown[-1])))
    program = Path(sys.executable).with_name("isoenergy")
    store = shlex.quote(without_secrets(summary["store"]["uri"]))
    return _labelled("explore", f"{program} explore {uris} --store {store}")


def _opened(page: str) -> list[str]:
    filesystem, path = open_filesystem(page)
    return _labelled("", f"open it: {Path(path).as_uri()}") if isinstance(filesystem, LocalFileSystem) else []


def _labelled(label: str, text: Any) -> list[str]:
    return [f"{label:<{_LABEL}}{text}"]
