"""How a program ends: with the exit code of its work, whatever libraries do to an interpreter that ends."""

import signal
import subprocess
import sys

import pytest

ABORTS_AT_THE_END = """
import atexit, ctypes, sys
from isoenergy.errors import InputError
from workflows.command import run_command
libc = ctypes.CDLL(None)
getattr(libc, "__cxa_atexit")(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)
atexit.register(print, "tidied up")
def work():
    print("worked")
    {end}
"""


def run(end: str, call: str = "run_command(work)") -> subprocess.CompletedProcess:
    program = ABORTS_AT_THE_END.format(end=end) + call
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("end", "code"), [("pass", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("raise InputError('bad')", 2)]
)
def test_a_library_that_aborts_an_ending_interpreter_does_not_change_the_exit_code(end: str, code: int) -> None:
    done = run(end)
    assert done.returncode == code
    assert done.stdout == "worked\ntidied up\n"


def test_that_library_would_change_it() -> None:
    assert run("pass", "work()").returncode == -signal.SIGABRT


def test_only_the_program_itself_ends_there() -> None:
    done = run("pass", "work.__module__ = 'workflows.cli'; run_command(work); print('goes on')")
    assert "goes on" in done.stdout
