"""How a program ends: with the exit code of its work, whatever libraries do to an interpreter that ends."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tqdm import tqdm

from isoenergy.errors import InputError
from workflows import report
from workflows.arguments import parse_config
from workflows.command import run_command, take_verbosity
from workflows.report import ReportConfig

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


@pytest.fixture
def verbosity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undoes what `take_verbosity` sets up for a whole program."""
    monkeypatch.setattr(tqdm, "__init__", tqdm.__init__)
    loggers = [logging.getLogger(package) for package in (None, "isoenergy", "tune", "workflows")]
    before = [(logger.level, logger.handlers) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers = handlers


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What reaches stderr of a detail, news, a warning and a bar."""
    log = logging.getLogger("workflows.stage")
    log.debug("a detail")
    log.info("news")
    log.warning("a warning")
    with tqdm(total=1, desc="a bar") as bar:
        bar.update()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ([], {"news", "a warning", "a bar"}),
        (["--verbose"], {"a detail", "news", "a warning", "a bar"}),
        (["--quiet"], {"a warning"}),
    ],
)
@pytest.mark.usefixtures("verbosity")
def test_a_command_says_as_much_on_the_way_as_it_is_asked_to(
    option: list[str], shown: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert take_verbosity(["--output", "x", *option, "--token", ""]) == ["--output", "x", "--token", ""]
    text = said(capsys)
    assert {words for words in ("a detail", "news", "a warning", "a bar") if words in text} == shown


def test_a_library_that_speaks_to_the_root_has_nothing_said_twice() -> None:
    program = """
import logging
from workflows.command import take_verbosity
take_verbosity([])
logging.warning("a library's warning")  # gives the root a handler, where it has none
logging.getLogger("workflows.stage").info("news")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr == "a library's warning\nnews\n"


@pytest.mark.usefixtures("verbosity")
def test_a_program_s_own_arguments_are_taken_where_none_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["report", "--quiet", "--evaluation", "e.json", "--output", "there.html"])
    assert take_verbosity(None) == ["--evaluation", "e.json", "--output", "there.html"]
    assert take_verbosity([]) == []
    assert parse_config(ReportConfig, None, "isoenergy report").output == "there.html"


@pytest.mark.usefixtures("verbosity")
def test_more_and_less_at_once_is_refused() -> None:
    with pytest.raises(InputError, match="give one of them"):
        take_verbosity(["--quiet", "--verbose"])


@pytest.mark.usefixtures("verbosity")
def test_verbosity_is_no_setting_and_quiet_keeps_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--evaluation", "e.json", "--output", "report.html"]
    plain = parse_config(ReportConfig, words, "isoenergy report")
    assert parse_config(ReportConfig, ["--verbose", *words], "isoenergy report") == plain
    monkeypatch.setattr(report, "run", lambda config: config.output)
    monkeypatch.setattr(report, "evaluation_ending", lambda evaluation, page: f"{evaluation} is in {page}")
    report.main(["--quiet", *words])
    assert capsys.readouterr().out == "e.json is in report.html\n"


@pytest.mark.usefixtures("verbosity")
def test_help_names_both(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["--help"])
    printed = capsys.readouterr().out
    assert "--verbose" in printed
    assert "--quiet" in printed


@pytest.mark.parametrize("option", ["--verbose", "--quiet"])
@pytest.mark.usefixtures("verbosity")
def test_bad_input_is_one_line_and_the_whole_error_where_more_is_asked_for(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        take_verbosity([option])
        raise InputError("bad k")

    with pytest.raises(SystemExit):
        run_command(work)
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "isoenergy: bad k"
    assert ("Traceback" in err) == (option == "--verbose")


def test_usage_statistics_are_off_unless_the_user_turns_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    seen = {}
    run_command(lambda: seen.update(os.environ))
    assert seen["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert seen["RAY_USAGE_STATS_ENABLED"] == "1"
