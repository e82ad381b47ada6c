"""The whole of it as one submitted job: three local Ray nodes, S3 for every place, a search in the middle."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from tests.pairs.made_up_pairs import written_rows
from tests.s3.seaweedfs import S3Server
from tests.workflows.processes import end_session, free_ports
from workflows.tracking.run_names import SEPARATOR

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.cluster, pytest.mark.server]

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-three-nodes-0123456789"
RAY = str(Path(sys.executable).with_name("ray"))
SECONDS = 1200


@dataclass(frozen=True)
class Nodes:
    """Three nodes of one CPU each; the head's dashboard takes jobs."""

    dashboard: str
    environment: dict[str, str]

    def alive(self) -> int:
        request = urllib.request.Request(f"{self.dashboard}/api/v0/nodes", headers={"Authorization": f"Bearer {TOKEN}"})
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=30) as answer:
            nodes = json.loads(answer.read())["data"]["result"]["result"]
            return sum(node["state"] == "ALIVE" for node in nodes)
        return 0

    def isoenergy(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "workflows.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
        )


@pytest.fixture(scope="module")
def nodes(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """As the README starts them, on ports that are free; what was started ends with them."""
    port, dashboard, client, *rest = free_ports(9)
    folder = tempfile.mkdtemp(prefix="ray-")  # short: Ray's sockets lie below
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {
        **kept,
        **s3.environment,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{database}",
    }
    common = ["--block", "--disable-usage-stats", "--num-cpus=1", f"--object-store-memory={200 * 2**20}"]
    commands = [
        ["--head", f"--port={port}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"],
        [f"--address=127.0.0.1:{port}"],
        [f"--address=127.0.0.1:{port}"],
    ]
    started: list[subprocess.Popen] = []
    cluster = Nodes(f"http://127.0.0.1:{dashboard}", environment)
    on_nodes = {name: value for name, value in environment.items() if name not in ("RAY_API_SERVER_ADDRESS",)}
    try:
        for number, arguments in enumerate(commands):
            ports = [
                f"--dashboard-agent-listen-port={rest[2 * number]}",
                f"--metrics-export-port={rest[2 * number + 1]}",
            ]
            # Nodes of one folder remove each other's copies of a job's code.
            place = [f"--temp-dir={folder}/{number}"]
            with open(f"{folder}/node-{number}.log", "w") as log:
                started.append(
                    subprocess.Popen(
                        [RAY, "start", *common, *ports, *place, *arguments],
                        env=on_nodes,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        cwd=folder,
                    )
                )
            give_up = time.monotonic() + 180
            while cluster.alive() <= number:
                assert started[-1].poll() is None, Path(f"{folder}/node-{number}.log").read_text()
                assert time.monotonic() < give_up, "a node did not start"
                time.sleep(0.5)
        yield cluster
    finally:
        for process in reversed(started):
            end_session(process)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_pipeline_with_a_search_is_one_job_on_three_nodes(
    nodes: Nodes,
    s3: S3Server,
    tmp_path: Path,
    bundled_rows: list[dict],
) -> None:
    bucket = s3.bucket()
    pairs = written_rows(bundled_rows[:600], tmp_path / "pairs.parquet")
    s3.filesystem.put(str(pairs), f"{bucket}/pairs/pairs.parquet")
    output = f"s3://{bucket}/run"
    command = [
        "submit", "--again", "pipeline", "demo", "--pairs", f"s3://{bucket}/pairs", "--output", output, "--tune",
        "--passes", "2", "--trials", "2", "--epochs", "2", "--space.expansion", "1", "--space.k", "4",
        "--space.batch-pairs", "60", "--workers", "1",
    ]  # fmt: skip
    done = nodes.isoenergy(*command)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert TOKEN not in done.stdout + done.stderr

    def there(name: str) -> bool:
        return bool(s3.filesystem.exists(f"{bucket}/run/{name}"))

    assert all(map(there, ("store/manifest.json", "search/front.png", "search/trials.csv", "report.html")))
    evaluation = json.loads(s3.filesystem.cat_file(f"{bucket}/run/evaluation/evaluation.json"))
    assert evaluation["store"]["embedded"] == 600
    assert len(evaluation["saes"]) >= 2
    assert all(sae["results"]["pairs"] == evaluation["pairs"]["pairs"] > 0 for sae in evaluation["saes"])
    outcomes = s3.filesystem.glob(f"{bucket}/run/search/passes/*/outcome.json")
    assert len(outcomes) == 2
    weights = s3.filesystem.glob(f"{bucket}/run/**/sae.safetensors")
    digests = {SparseAutoencoder.load(f"s3://{path.rpartition('/')[0]}").digest for path in weights}
    assert {sae["digest"] for sae in evaluation["saes"]} <= digests

    uri = nodes.environment["MLFLOW_TRACKING_URI"]
    client = MlflowClient(uri)
    mlflow.set_tracking_uri(uri)
    experiment = client.get_experiment_by_name("isoenergy")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    stages = {run.data.tags["mlflow.runName"].partition(SEPARATOR)[0] for run in runs}
    assert {"pipeline", "embed", "search", "evaluate", "report"} <= stages

    before = {name: s3.filesystem.info(name)["LastModified"] for name in outcomes}
    again = nodes.isoenergy(*command)
    assert again.returncode == 0, again.stdout[-5000:] + again.stderr[-5000:]
    assert {name: s3.filesystem.info(name)["LastModified"] for name in outcomes} == before
