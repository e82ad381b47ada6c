"""What every command does around its work: one line and exit code 2 for bad input, an orderly end when told to."""

import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

from isoenergy.errors import InputError


class Terminated(SystemExit):
    """The process was asked to end (SIGTERM)."""


def run_command(main: Callable[[], None]) -> None:
    """Run `main`; print what the user can mend on one line and exit with 2."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        for cause in _causes(error):
            if isinstance(cause, InputError):
                print(f"isoenergy: {' '.join(str(cause).split())}", file=sys.stderr)
                sys.exit(2)
        raise


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated(128 + signal.SIGTERM)


def _causes(error: BaseException) -> Iterator[BaseException]:
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
