"""`isoenergy submit`, as far as it goes without a cluster: what is refused, what would be sent, under which id."""

import os
import shlex
import subprocess
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package
from ray.job_submission import JobDetails, JobStatus

from isoenergy.errors import InputError
from workflows import cli, submit
from workflows.embed import EmbedConfig
from workflows.jobs import jobs_code
from workflows.jobs.jobs_client import LOCAL_ADDRESS, dashboard_address
from workflows.jobs.jobs_code import JobCode, job_code
from workflows.jobs.jobs_following import Log, exit_code, outcome
from workflows.jobs.jobs_request import JobRequest, require_stage_runs, stage_config
from workflows.jobs.jobs_secrets import job_environment, require_no_secrets
from workflows.settings.submit_settings import split
from workflows.train import TrainConfig

Run = Callable[..., str]


class NotRay(BaseHTTPRequestHandler):
    answer = 200

    def do_GET(self) -> None:
        self.send_response(self.answer)
        self.end_headers()
        self.wfile.write(b"<html>some other server</html>")

    def log_message(self, *_: object) -> None:
        pass


ROOT = Path(submit.__file__).parents[1]
CODE = JobCode(None, {}, "c0de" * 16)
WHOLE = {
    "pipeline": ("demo", "--output", "/data/demo"),
    "embed": ("--pairs", "s3://b/pairs", "--output", "s3://b/store"),
    "import": ("s3://b/embeddings", "--output", "s3://b/store"),
    "inspect": ("/data/store", "--verify"),
    "train": ("paper", "--store", "s3://b/store", "--output", "s3://b/saes", "--beta", "0,1e-4"),
    "tune": ("clip", "--store", "s3://b/store", "--output", "s3://b/searches", "--space.beta", "1e-5..1e-3"),
    "evaluate": ("--store", "/s", "--saes", "hf:lab/sae", "/saes/beta-0", "--output", "/e"),
    "synthetic": ("--output", "/data/synthetic"),
    "arena": ("--store", "s3://b/store", "--output", "s3://b/arena"),
    "apply": ("/saes/beta-0", "--store", "s3://b/store", "--output", "s3://b/applied"),
    "compare": ("tune/*", "train", "--output", "s3://b/comparison"),
    "report": ("--evaluation", "/e/evaluation.json", "--output", "/e/report.html"),
}


def request(stage: str = "train", *arguments: str, code: JobCode = CODE) -> JobRequest:
    return JobRequest(stage, arguments or WHOLE[stage], code, {}, 0.0)


def job(status: str, code: int | None = None, message: str | None = None) -> JobDetails:
    return JobDetails(
        type="SUBMISSION", status=JobStatus(status), entrypoint="python", driver_exit_code=code, message=message
    )


def test_options_of_submit_come_before_the_stage_and_the_rest_is_the_stage_s_own() -> None:
    words = ["--address", "http://train:1", "--no-wait", "--env", "A=b", "--env=C=d", "--again", "train", "--env", "x"]
    assert split(words) == (words[:7], "train", ["--env", "x"])
    assert split(["--driver_cpus", "2", "embed"]) == (["--driver_cpus", "2"], "embed", [])
    assert split(["--no-dry-run", "embed", "--dry-run"]) == (["--no-dry-run"], "embed", ["--dry-run"])
    assert split(["-h", "embed"]) == (["-h"], "embed", [])
    assert split(["--attach", "train"]) == (["--attach", "train"], "", [])
    assert split(["--attach"]) == (["--attach"], "", [])
    assert split([]) == ([], "", [])


def test_every_stage_that_can_be_submitted_is_checked_by_its_own_parser() -> None:
    assert {*WHOLE} == {*cli.STAGES} - {"submit", "share", "explore"}
    for stage, arguments in WHOLE.items():
        require_stage_runs(stage, arguments)
    assert stage_config("embed", WHOLE["embed"]) == EmbedConfig(output="s3://b/store", pairs="s3://b/pairs")
    train = stage_config("train", WHOLE["train"])
    assert isinstance(train, TrainConfig)
    assert train.training.beta == (0.0, 1e-4)


@pytest.mark.parametrize("stage", WHOLE)
def test_an_option_that_a_stage_does_not_have_ends_with_its_own_message_and_2(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        require_stage_runs(stage, (*WHOLE[stage], "--nonsense"))
    assert ended.value.code == 2
    assert f"isoenergy {stage}" in capsys.readouterr().err


def test_what_is_wrong_with_the_command_is_one_line_before_anything_is_sent(refused: Run, tmp_path: Path) -> None:
    nobody = ("submit", "--address", "http://127.0.0.1:1")
    assert "there is no stage to submit; expected one of pipeline, embed" in refused(*nobody)
    assert "'trian' cannot be submitted; expected one of" in refused(*nobody, "trian", "--store", "x")
    assert "'share' cannot be submitted, as it needs the token of a person" in refused(*nobody, "share", "a", "b/c")
    assert "k must be above 0" in refused(*nobody, "train", "demo", "--store", "/s", "--output", "/o", "--k", "0")
    assert "output is 'runs/saes', below the working directory" in refused(*nobody, "train", "--store", "/s")
    assert "saes is 'runs/s', below" in refused(*nobody, "evaluate", "--store", "/s", "--saes", "/a", "runs/s")
    evaluate = ("evaluate", "--store", "/s", "--saes", "/a", "--output", "/o", "--tasks.composed")
    assert "tasks.composed is 't.jsonl', below" in refused(*nobody, *evaluate, "t.jsonl")
    assert "no Ray dashboard answers" in refused(*nobody, *evaluate, "bundled", "--tasks.templates", "icon")
    assert "--address must be the URL" in refused("submit", "--address", "10.0.0.1:6379", "inspect", "/s")
    assert "--attach follows a job and --stop ends one" in refused("submit", "--attach", "a", "--stop", "b")
    assert "take a job's id and no stage, got inspect" in refused(*nobody, "--attach", "a", "inspect", "/s")
    assert "holds no package `workflows`" in refused(*nobody, "--code", tmp_path, "inspect", "/s")
    assert "no Ray dashboard answers at http://127.0.0.1:1 ([Errno 111]" in refused(*nobody, "inspect", "/s")


@pytest.mark.server
@pytest.mark.parametrize("answer", [200, 404, 503])
def test_a_server_that_is_not_ray_s_dashboard(answer: int, refused: Run) -> None:
    handler = type("Handler", (NotRay,), {"answer": answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        line = refused("submit", "--address", f"http://127.0.0.1:{server.server_port}", "inspect", "/s")
    finally:
        server.shutdown()
        server.server_close()
    assert "is not the dashboard of a Ray cluster" in line


def test_the_address_is_the_given_one_or_the_environment_s_url_or_this_machine_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert dashboard_address("") == LOCAL_ADDRESS
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert dashboard_address("") == LOCAL_ADDRESS
    monkeypatch.setenv("RAY_ADDRESS", "https://head:8265/")
    assert dashboard_address("") == "https://head:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://other:8265")
    assert dashboard_address("") == "http://other:8265"
    assert dashboard_address("http://given:1") == "http://given:1"


def test_the_id_follows_from_stage_arguments_and_code() -> None:
    other_code = JobCode(None, {}, "0ther" * 16)
    same = request("train", "--store", "/s")
    assert same.id == request("train", "--store", "/s").id
    others = [request("embed", "--store", "/s"), request("train", "--store /s"), request("train", "--store", "/t")]
    others.append(request("train", "--store", "/s", code=other_code))
    assert len({same.id, *(other.id for other in others)}) == 5


def test_attempts_are_counted_and_not_taken_for_other_code() -> None:
    own = request()
    ids = {
        own.id: job("FAILED", 1),
        f"{own.id}-2": job("STOPPED"),
        f"{own.id}-4": job("RUNNING"),
        "else": job("RUNNING"),
    }
    assert own.attempts(ids) == 2
    assert own.attempt_id(3) == f"{own.id}-3"
    assert own.attempts({}) == 0
    assert own.with_other_code(ids) == []
    other = request(code=JobCode(None, {}, "0ther" * 16))
    assert own.with_other_code({**ids, other.id: job("RUNNING")}) == [other.id]
    assert own.with_other_code({**ids, other.id: job("SUCCEEDED", 0)}) == []


def test_a_shell_hands_the_stage_exactly_what_was_given() -> None:
    hostile = ("--store", "/a b", "$HOME", "`id`", "it's", '"', "a;b", "line\nline", "", "*", "—", "\\")
    entrypoint = request("train", *hostile).entrypoint
    assert shlex.split(entrypoint) == ["python", "-m", "workflows.train", *hostile]
    command = entrypoint.replace("python -m workflows.train", "printf '%s\\0'", 1)
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    assert printed.split("\0")[:-1] == [*hostile]


@pytest.mark.parametrize(
    "argument",
    [
        "s3://key:secret@bucket/store",
        "https://oauth@host/x.tar",
        "--pairs=https://host/x.tar?X-Amz-Signature=abc&b=1",
        "https://host/x?download=1&access_token=abc",
        "hf:lab/sae@hf_" + "a1B2" * 8,
        "AKIA" + "ABCD1234" * 2,
        "/data/swordfish-1/x",
    ],
)
def test_a_secret_in_the_command_line_is_refused_and_not_repeated(
    argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_PASSWORD", "swordfish-1")
    with pytest.raises(InputError, match="everyone who sees the dashboard") as refusal:
        require_no_secrets(["train", "--store", "/s", argument])
    assert argument not in str(refusal.value)
    assert "swordfish" not in str(refusal.value)


def test_what_only_looks_like_a_secret_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("EMPTY_TOKEN", "")
    require_no_secrets(
        ["--columns.key", "disabled", "s3://b/me@home/x", "https://h/x?download=true", "/somebody/tmp/agent", "a@b.c"]
    )


def test_a_job_gets_where_things_are_and_never_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    places = {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "AWS_ENDPOINT_URL": "http://127.0.0.1:8333"}
    for name, value in {**places, "AWS_SECRET_ACCESS_KEY": "s" * 40, "RAY_AUTH_TOKEN": "t" * 40}.items():
        monkeypatch.setenv(name, value)
    assert job_environment(()) == places
    assert job_environment(("A=b=c", "PATH"))["A"] == "b=c"
    assert job_environment(("A=b=c", "PATH"))["PATH"] == os.environ["PATH"]
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN=x", "MLFLOW_TRACKING_PASSWORD=x", "RAY_AUTH_TOKEN"):
        with pytest.raises(InputError, match=r"looks like a secret.*a role of the machine, or the environment"):
            job_environment((name,))
    with pytest.raises(InputError, match="A holds the value of RAY_AUTH_TOKEN") as refusal:
        job_environment(("A=x" + "t" * 40,))
    assert "tttt" not in str(refusal.value)
    for wrong in ("=x", "A B=x", "", "1A=x"):
        with pytest.raises(InputError, match="NAME or NAME=VALUE"):
            job_environment((wrong,))
    with pytest.raises(InputError, match="it is not set"):
        job_environment(("NOT_SET_ANYWHERE",))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:password@host/mlflow")
    with pytest.raises(InputError, match="MLFLOW_TRACKING_URI holds a user, a password or a key"):
        job_environment(())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout, and beside its code what must not be sent."""
    folder = tmp_path / "checkout"
    kept = {"workflows/__init__.py": "", "workflows/train.py": "1", "isoenergy/bundled/pairs/p.parquet": "bundled"}
    left = [".venv/lib/x.py", ".git/config", "runs/mlflow.db", "tests/test_x.py", "workflows/__pycache__/x.pyc"]
    left += [".env", ".env.local", "secrets/id.pem", "data/pairs.parquet", "deep/er/x.npy", "docs/x.png"]
    for name, text in {**kept, **dict.fromkeys(left, "not sent")}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in (".gitignore", ".rayignore"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


def test_only_code_is_sent_and_its_digest_is_that_of_what_is_sent(checkout: Path) -> None:
    code = job_code(str(checkout))
    assert {*code.sizes} == {
        ".gitignore",
        ".rayignore",
        "workflows/__init__.py",
        "workflows/train.py",
        "isoenergy/bundled/pairs/p.parquet",
    }
    (checkout / "runs" / "more.txt").write_text("more")
    (checkout / "workflows" / "train.py").touch()
    assert job_code(str(checkout)) == code
    (checkout / "workflows" / "train.py").write_text("2")
    assert job_code(str(checkout)).digest != code.digest


def test_this_repository_s_code_is_whole_and_small_and_what_ray_packs(tmp_path: Path) -> None:
    code = job_code("auto")
    listed = subprocess.run(["git", "ls-files", "isoenergy", "workflows"], capture_output=True, text=True, cwd=ROOT)
    assert listed.returncode == 0
    assert {*code.sizes} >= {*listed.stdout.split()}
    assert not [name for name in code.sizes if name.startswith(("tests/", ".venv", ".git/", "runs/", "docs/"))]
    assert sum(code.sizes.values()) < 40 * 2**20
    package = tmp_path / "code.zip"
    create_package(str(ROOT), package, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    packed = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    assert packed == {*code.sizes}


def test_what_is_too_large_to_send_is_named(checkout: Path) -> None:
    with (checkout / "workflows" / "huge.bin").open("wb") as file:
        file.truncate(jobs_code._MOST_BYTES)
    with pytest.raises(InputError, match=r"holds 100 MiB.*: workflows/huge.bin 100.0 MiB, .*\.rayignore"):
        job_code(str(checkout))
    (checkout / "workflows" / "huge.bin").unlink()
    (checkout / "many").mkdir()
    for number in range(40):
        with (checkout / "many" / f"{number}.bin").open("wb") as file:
            file.truncate(jobs_code._MOST_BYTES // 20)
    with pytest.raises(InputError, match=r"holds 200 MiB.*: many/ 200.0 MiB, "):
        job_code(str(checkout))


def test_code_of_the_cluster_s_image_sends_nothing() -> None:
    code = job_code("image")
    assert "working_dir" not in request(code=code).runtime_env
    assert code == job_code("image")


def test_a_dry_run_prints_what_would_be_sent_and_asks_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with pytest.raises(SystemExit) as ended:
        submit.main(["--address", "http://127.0.0.1:1", "--dry-run", "--driver-cpus", "2", "inspect", "/a b"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "command      python -m workflows.inspect '/a b'" in printed
    assert "driver       on a node with 2 free CPUs" in printed
    assert "environment  MLFLOW_TRACKING_URI=http://mlflow:5000" in printed


@pytest.mark.parametrize(
    ("ended", "code", "words"),
    [
        (job("SUCCEEDED", 0), 0, "succeeded"),
        (job("FAILED", 2), 2, "failed with exit code 2"),
        (job("FAILED", -9), 137, "was killed by SIGKILL, exit code 137"),
        (job("FAILED", 137), 137, "was killed by SIGKILL, exit code 137"),
        (job("FAILED", 255), 255, "failed with exit code 255"),
        (job("FAILED", 127), 127, "found no `python` on the cluster"),
        (job("FAILED", 0), 1, "failed with exit code 1"),
        (job("FAILED", None, "no\nworking dir"), 1, "failed before its program ended: no working dir"),
        (job("FAILED", None), 1, "no reason given"),
        (job("STOPPED"), 143, "was stopped"),
        (job("STOPPED", 0), 143, "was stopped"),
    ],
)
def test_the_exit_code_is_the_job_s_own(ended: JobDetails, code: int, words: str) -> None:
    assert exit_code(ended) == code
    assert words in outcome("j", ended)


def test_a_log_that_is_sent_again_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    assert log.show("abc\n", 0) == 4
    place = log.show("ab", 0)
    place = log.show("c\nde", place)
    log.show("f", place)
    log.show("abc\ndefgh", 0)
    assert capsys.readouterr().out == "abc\ndefgh"
