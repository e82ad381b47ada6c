"""`isoenergy submit` against a real head of a Ray cluster, with its dashboard and token authentication."""

import contextlib
import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from tests.workflows.processes import SECONDS, end_session, free_ports, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.ray]

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-that-nobody-may-see-0123456789"
SECRET = "a-key-that-nobody-may-see-0123456789"
DETACHED = 128 + signal.SIGINT
PROGRAM = '''"""A stage that does as the file `orders` in its folder says."""

import os, pathlib, signal, sys, time

folder = pathlib.Path(sys.argv[1])
print("begun", flush=True)
signal.signal(signal.SIGTERM, lambda *_: ((folder / "told").write_text("to stop"), sys.exit(143)))
(folder / "pid").write_text(str(os.getpid()))
lines = 0
while not (folder / "orders").exists():
    lines += 1
    print(f"line {lines}.", flush=True)
    (folder / "lines").write_text(str(lines))
    time.sleep(0.05)
print("no more lines", flush=True)
sys.exit(int((folder / "orders").read_text()))
'''


@dataclass(frozen=True)
class Head:
    address: str

    def environment(self, **more: str) -> dict[str, str]:
        ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "AWS_SECRET_ACCESS_KEY": SECRET}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        return {**kept, "PYTHONPATH": str(ROOT), "RAY_API_SERVER_ADDRESS": self.address, **ours, **more}

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "workflows.cli", "submit", *map(str, arguments)]

    def submit(self, *arguments: object, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )

    def answer(self, path: str) -> str:
        request = urllib.request.Request(self.address + path, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.read().decode()

    def jobs(self) -> dict[str, dict]:
        return {job["submission_id"]: job for job in json.loads(self.answer("/api/jobs/")) if job["submission_id"]}


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """A head that offers no CPUs, with token authentication; what it started ends with it."""
    port, dashboard, client, agent, metrics = free_ports(5)
    folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets lie below
    options = {
        "port": port,
        "dashboard-port": dashboard,
        "ray-client-server-port": client,
        "dashboard-agent-listen-port": agent,
        "metrics-export-port": metrics,
        "temp-dir": folder,
        "num-cpus": 0,
        "object-store-memory": 200 * 2**20,
        "include-dashboard": "true",
    }
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", "--disable-usage-stats"]
    head = Head(f"http://127.0.0.1:{dashboard}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = head.environment(PATH=path)
    for name in ("RAY_API_SERVER_ADDRESS", "PYTHONPATH"):
        del environment[name]
    with open(f"{folder}/start.log", "w") as log:
        process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
        )

    def up() -> bool:
        assert process.poll() is None, Path(folder, "start.log").read_text()
        with contextlib.suppress(OSError):
            return bool(head.answer("/api/jobs/"))
        return False

    try:
        wait_until(up, "the head did not start")
        yield head
    finally:
        end_session(process)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A checkout whose `inspect` does as the test says."""
    folder = tmp_path / "checkout"
    (folder / "workflows").mkdir(parents=True)
    (folder / "workflows" / "__init__.py").write_text("")
    (folder / "workflows" / "inspect.py").write_text(PROGRAM)
    return folder


def lines_of(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / "lines").read_text())
    return 0


def test_a_job_runs_once_and_the_same_command_finds_it(head: Head, filled: Path) -> None:
    before = {*head.jobs()}
    first = head.submit("inspect", filled, "--samples", 1)
    assert first.returncode == 0, first.stderr
    assert "units        3 of 3" in first.stdout
    assert "is submitted to" in first.stderr
    again = head.submit("inspect", filled, "--samples", 1)
    assert again.returncode == 0
    assert "units        3 of 3" in again.stdout
    assert "submitted before, and is SUCCEEDED" in again.stderr
    assert "--again before the stage submits another one" in again.stderr
    new = {*head.jobs()} - before
    assert len(new) == 1
    job = head.jobs()[new.pop()]
    assert job["metadata"]["command"] == f"isoenergy submit inspect {filled} --samples 1"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", job["metadata"]["git_commit"])


def test_bad_input_found_by_the_job_is_still_2(head: Head, tmp_path: Path) -> None:
    done = head.submit("inspect", tmp_path / "nowhere")
    assert done.returncode == 2, done.stderr
    assert "is not an embedding store" in done.stdout
    assert "failed with exit code 2" in done.stderr
    shown = head.submit("--no-wait", "--again", "inspect", tmp_path / "nowhere")
    assert shown.returncode == 0
    assert shown.stdout.strip().endswith("-2")
    assert shown.stdout.strip() in head.jobs()
    unknown = head.submit("--attach", "no-such-job")
    assert unknown.returncode == 2
    assert shown.stdout.strip() in unknown.stderr


def test_without_the_token_one_line_says_what_to_do(head: Head, tmp_path: Path) -> None:
    wrong = {
        "export RAY_AUTH_MODE=token": {"RAY_AUTH_MODE": "disabled"},
        "does not take this token": {"RAY_AUTH_TOKEN": "not-" + TOKEN},
        "~/.ray/auth_token": {"RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)},
    }
    for words, environment in wrong.items():
        refused = head.submit("--attach", "some-job", **environment)
        assert refused.returncode == 2, refused.stderr
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1, refused.stderr
        assert TOKEN not in refused.stderr


class Line:
    """A forwarded port that can be cut: to a user, a dashboard that comes and goes."""

    def __init__(self, address: str) -> None:
        self._host, port = address.removeprefix("http://").split(":")
        self._port, self._open, self._ends = int(port), True, []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._open = True

    def _accept(self) -> None:
        while True:
            near, _ = self._server.accept()
            if not self._open:
                near.close()
                continue
            far = socket.create_connection((self._host, self._port))
            self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def following(
    command: list[str], environment: dict[str, str], folder: Path
) -> Iterator[tuple[subprocess.Popen, Path, Path]]:
    """Run a command; yield its process and the files of what it prints and says."""
    folder.mkdir()
    log, said = folder / "log", folder / "said"
    with (
        log.open("wb") as output,
        said.open("wb") as errors,
        subprocess.Popen(command, env=environment, stdout=output, stderr=errors, stdin=subprocess.DEVNULL) as process,
    ):
        yield process, log, said


def test_a_job_outlives_ctrl_c_and_lost_connections_and_its_death_is_told(
    head: Head, program: Path, tmp_path: Path
) -> None:
    arguments = ("--code", program, "--env", "COLOUR=blue", "inspect", tmp_path)
    with following(head.command(*arguments), head.environment(), tmp_path / "first") as (watching, log, said):
        wait_until(lambda: "line 3." in log.read_text(), "the job did not begin")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(SECONDS) == DETACHED
    told = r"goes on; to follow it: isoenergy submit .* --attach (\S+); to end it: .* --stop \1"
    assert re.search(told, said.read_text())
    line = Line(head.address)
    there = head.environment(RAY_API_SERVER_ADDRESS=line.address)
    with following(head.command(*arguments), there, tmp_path / "second") as (watching, log, said):
        wait_until(lambda: "line 20." in log.read_text(), "the log does not come")
        line.cut()
        wait_until(lambda: "the dashboard does not answer" in said.read_text(), "nobody misses the dashboard")
        missed = lines_of(tmp_path) + 5
        wait_until(lambda: lines_of(tmp_path) > missed, "the job does not go on")
        line.mend()
        wait_until(lambda: f"line {missed}." in log.read_text(), "what came meanwhile is not shown")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        assert watching.wait(SECONDS) == 137
    assert "submitted before, and is RUNNING" in said.read_text()
    assert "was killed by SIGKILL, exit code 137" in said.read_text()
    printed = [int(number) for number in re.findall(r"^line (\d+)\.$", log.read_text(), re.MULTILINE)]
    assert printed == [*range(1, len(printed) + 1)]
    assert len(printed) >= lines_of(tmp_path) - 1
    (tmp_path / "orders").write_text("3")
    again = head.submit("--again", *arguments)
    assert again.returncode == 3, again.stderr
    assert again.stdout.count("begun") == 1
    mine = [name for name, job in head.jobs().items() if str(program) in job["metadata"]["command"]]
    assert sorted(head.jobs()[name]["driver_exit_code"] for name in mine) in ([-9, 3], [3, 137])


def test_ctrl_c_at_a_terminal_asks_and_stops_the_job_in_order(head: Head, program: Path, tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    with subprocess.Popen(
        head.command("--code", program, "inspect", tmp_path),
        env=head.environment(),
        pass_fds=[end],
        preexec_fn=lambda: os.login_tty(end),
    ) as watching:
        os.close(end)
        seen = ""

        def sees(words: str) -> bool:
            nonlocal seen
            if select.select([terminal], [], [], 0)[0]:
                with contextlib.suppress(OSError):
                    seen += os.read(terminal, 65536).decode()
            return words in seen

        wait_until(lambda: sees("line 3."), "the job did not begin")
        os.write(terminal, b"\x03")
        wait_until(lambda: sees("y stops it"), "nobody asked")
        os.write(terminal, b"y\n")
        wait_until(lambda: sees("was stopped"), "the job was not stopped")
        assert watching.wait(SECONDS) == 128 + signal.SIGTERM
    os.close(terminal)
    assert seen.count("line 2.") == 1
    assert (tmp_path / "told").read_text() == "to stop"


def test_other_code_waits_and_stop_ends_a_job(head: Head, program: Path, tmp_path: Path) -> None:
    arguments = ("--code", program, "--no-wait", "inspect", tmp_path)
    name = head.submit(*arguments).stdout.strip()
    wait_until(lambda: lines_of(tmp_path) > 0, "the job did not begin")
    assert head.submit(*arguments).stdout.strip() == name
    (program / "workflows" / "more.py").write_text("")
    refused = head.submit(*arguments)
    assert refused.returncode == 2
    assert f"job {name} runs the same command with other code" in refused.stderr
    piped = subprocess.run(
        ["sh", "-c", f"{shlex.join(head.command('--attach', name))} | head -n 2"],
        env=head.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert piped.stdout.count("\n") == 2
    assert "the log cannot be printed" in piped.stderr
    assert "Traceback" not in piped.stderr
    stopped = head.submit("--stop", name)
    assert stopped.returncode == 0
    assert f"job {name} was stopped" in stopped.stderr
    assert head.jobs()[name]["status"] == "STOPPED"


def test_plain_ray_job_submit_sends_the_same_code(head: Head, filled: Path) -> None:
    command = [Path(sys.executable).with_name("ray"), "job", "submit", "--working-dir", ROOT, "--"]
    done = subprocess.run(
        [*command, "python", "-m", "workflows.inspect", filled],
        env=head.environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "units        3 of 3" in done.stdout
    ours = head.submit("inspect", filled)
    assert ours.returncode == 0, ours.stdout + ours.stderr
    sent = {job["runtime_env"]["working_dir"] for job in head.jobs().values() if str(filled) in job["entrypoint"]}
    assert len(sent) == 1


def test_no_job_shows_a_secret(head: Head) -> None:
    jobs = head.answer("/api/jobs/")
    logs = [head.answer(f"/api/jobs/{name}/logs") for name in head.jobs()]
    assert "COLOUR" in jobs
    for text in (jobs, *logs):
        assert TOKEN not in text
        assert SECRET not in text
