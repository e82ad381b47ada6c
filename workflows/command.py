"""What every command does around its work: one line and exit code 2 for bad input, an orderly end when told to."""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from isoenergy.errors import InputError


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM)."""


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
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except KeyboardInterrupt:
        _end(signal.SIGINT)
    except SystemExit as end:
        if isinstance(end, Terminated) or end.code == signal.SIGTERM:  # Ray's own handler, once it runs, exits so
            _end(signal.SIGTERM)
        raise
    except Exception as error:
        ours = [cause for cause in causes(error) if isinstance(cause, InputError)]
        if not ours:
            raise
        plain = [cause for cause in ours if not hasattr(cause, "traceback_str")]  # Ray's own speaks in tracebacks
        print(f"isoenergy: {' '.join(str((plain or ours)[0]).split())}", file=sys.stderr)
        sys.exit(2)


def _end(number: signal.Signals) -> NoReturn:
    print("isoenergy: stopped; the same command goes on from what is done", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(128 + number)  # Ray's threads abort an interpreter that ends while they work; its processes end with it


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated(128 + signal.SIGTERM)


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
