"""What every command does around its work: what it says on the way, one line for bad input, an orderly end."""

import atexit
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partialmethod
from types import FrameType
from typing import NoReturn

from isoenergy.errors import InputError

_PACKAGES = ("isoenergy", "tune", "workflows")
_LEVELS = {"--verbose": logging.DEBUG, "--quiet": logging.WARNING}
_FORMATS = {"--verbose": "%(asctime)s %(name)s: %(message)s"}
_SAYS_NOTHING_OUTSIDE = {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Ray's and MLflow's usage statistics are off, here and in what is started here, unless the user turns them on."""
PLAN_ENDS_EARLY = 3
"""Exit code of a dry run that printed what it can know, and not all: a stage waits for what another makes."""
_LOG = logging.getLogger(__name__)
VERBOSITY = "--verbose: times, and the whole of an error. --quiet: what was asked for and what is wrong, and no more."
"""What `--help` says of the options that `take_verbosity` takes."""


class _BesideBars(logging.Handler):
    """Writes to stderr, above the bars of tqdm.

    It is the root's: a library that finds the root without a handler gives it one (open_clip does), and every line of
    ours would be said twice from then on.
    """

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)


def take_verbosity(arguments: Sequence[str] | None) -> list[str]:
    """Say as much on the way as `--verbose` or `--quiet` among a stage's arguments ask for; return the other arguments.

    What a command was run for goes to stdout whatever they say. They are how it is run, not what it is: no part of its
    settings. arguments: None for those of the program itself. Raises InputError if both are given.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = [option for option in _LEVELS if option in words]
    if len(asked) > 1:
        raise InputError("--verbose says more and --quiet less; give one of them")
    option = asked[0] if asked else ""
    handler = _BesideBars()
    handler.setFormatter(logging.Formatter(_FORMATS.get(option, "%(message)s")))
    root = logging.getLogger()
    root.handlers = [handler, *(other for other in root.handlers if not isinstance(other, _BesideBars))]
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(_LEVELS.get(option, logging.INFO))
    if option == "--quiet":
        from tqdm import tqdm

        tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)
    return [word for word in words if word not in asked]


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM). Inside Ray's calls it becomes a plain KeyboardInterrupt."""


def run_command(main: Callable[[], None]) -> None:
    """Run `main`; print what the user can mend on one line and exit with 2.

    The `main` of the program itself (`python -m workflows.STAGE`) does not return: Arrow's threads may abort an
    interpreter that ends (apache/arrow#34314), and what has succeeded would have failed with exit code 134.
    """
    if main.__module__ != "__main__":
        _run(main)
        return
    code = 0
    try:
        _run(main)
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        code = end.code or 0
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read it may be gone
            stream.flush()
    os._exit(code)


def _run(main: Callable[[], None]) -> None:
    for name, value in _SAYS_NOTHING_OUTSIDE.items():
        os.environ.setdefault(name, value)
    asked: list[int] = []

    def terminate(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        main()
    except KeyboardInterrupt:
        _end(signal.SIGTERM if asked else signal.SIGINT)
    except Exception as error:
        ours = [cause for cause in causes(error) if isinstance(cause, InputError)]
        if not ours:
            raise
        _LOG.debug("this came of:", exc_info=error)
        plain = [cause for cause in ours if not hasattr(cause, "traceback_str")]  # Ray's own speaks in tracebacks
        print(f"isoenergy: {' '.join(str((plain or ours)[0]).split())}", file=sys.stderr)
        sys.exit(2)


def _end(number: signal.Signals) -> NoReturn:
    print("isoenergy: stopped; the same command goes on from what is done", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(128 + number)  # Ray's threads abort an interpreter that ends while they work; its processes end with it


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and everything that it wraps, in Ray's ways too."""
    pending, seen = [error], set()
    while pending:
        cause = pending.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        pending += [c for c in (cause.__cause__, cause.__context__, getattr(cause, "cause", None)) if c is not None]
        pending += getattr(cause, "worker_failures", {}).values()
