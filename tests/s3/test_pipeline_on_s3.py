"""`isoenergy pipeline`, and what follows it, with every place in a bucket: the same numbers as in a folder."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from isoenergy.storage.files import open_filesystem
from tests.pairs.made_up_pairs import written_rows
from tests.s3.seaweedfs import S3Server
from tests.workflows.processes import without_ray_address

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.server]

SMALL = ["--beta=0.001", "--expansion=2", "--k=4", "--epochs=2", "--batch-pairs=60", "--workers=1"]
MLFLOW = {"mlflow.db", "mlflow-artifacts"}


@dataclass(frozen=True)
class Runs:
    """The same pipeline twice: with its output in a bucket, and in a folder."""

    server: S3Server
    uri: str
    folder: Path
    work: Path
    """Where the first was started."""
    temporary: Path
    """Its folder for temporary files."""
    command: list[str]
    printed: str

    def run(self, *arguments: str) -> str:
        """Run `isoenergy …` where the first was started; return what it prints."""
        return isoenergy(self.work, self.temporary, *arguments)

    def objects(self) -> dict[str, Any]:
        """ETag and time of each object by its path below the output."""
        root = self.uri.removeprefix("s3://")
        found = self.server.filesystem.find(root, detail=True)
        return {path.removeprefix(f"{root}/"): (info["ETag"], info["LastModified"]) for path, info in found.items()}

    def evaluation(self, place: str) -> dict[str, Any]:
        filesystem, path = open_filesystem(f"{place}/evaluation/evaluation.json")
        return json.loads(filesystem.cat_file(path))


def isoenergy(work: Path, temporary: Path, *arguments: str) -> str:
    environment = {name: value for name, value in without_ray_address().items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {
        "TMPDIR": str(temporary),
        "RAY_TMPDIR": "/tmp",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    command = [sys.executable, "-m", "workflows.cli", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=work, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def runs(s3: S3Server, tmp_path_factory: pytest.TempPathFactory, bundled_rows: list[dict], other_encoder: Path) -> Runs:
    folder = tmp_path_factory.mktemp("pipeline")
    pairs = written_rows(bundled_rows[:500], folder / "pairs.parquet")
    command = ["pipeline", "--pairs", str(pairs), "--encoder", f"open_clip:{other_encoder}", *SMALL, "--output"]
    work, temporary, here = (folder / name for name in ("work", "temporary", "here"))
    for each in (work, temporary, here):
        each.mkdir()
    isoenergy(here, folder, *command, str(here / "run"))
    uri = f"s3://{s3.bucket()}/a run"
    printed = isoenergy(work, temporary, *command, uri)
    return Runs(s3, uri, here / "run", work, temporary, command, printed)


def test_nothing_is_left_on_the_disk_but_mlflow(runs: Runs) -> None:
    assert {str(path.relative_to(runs.work)) for path in runs.work.glob("*/*")} == {f"runs/{name}" for name in MLFLOW}
    assert [path.name for path in runs.temporary.rglob("*") if path.is_file()] == []
    assert f"report     {runs.uri}/report.html" in runs.printed


def test_the_evaluation_is_that_of_a_folder(runs: Runs) -> None:
    there, here = (without_places(runs.evaluation(place)) for place in (runs.uri, str(runs.folder)))
    assert there == here
    assert len(here["saes"]) == 2


def without_places(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Leave out where things lie, and how long steps took."""
    return {
        **evaluation,
        "store": {**evaluation["store"], "uri": ""},
        "saes": [
            {name: value for name, value in sae.items() if not str(value).startswith("steps/")}
            for sae in evaluation["saes"]
        ],
        "graph": [{**node, "seconds": 0} for node in evaluation["graph"]],
    }


def test_the_report_and_its_figures_lie_beside_it(runs: Runs) -> None:
    page = page_of(runs, "report.html")
    assert len(cards(page)) == 1
    assert "The evaluation, step by step" in page
    figures = {path.name for path in (runs.folder / "figures").iterdir()}
    assert {name.removeprefix("figures/") for name in runs.objects() if name.startswith("figures/")} == figures
    logged = {path.name for path in (runs.work / "runs/mlflow-artifacts").rglob("*") if path.is_file()}
    assert figures | {"report.html", "evaluation.json"} <= logged


def page_of(runs: Runs, name: str) -> str:
    return runs.server.filesystem.cat_file(f"{runs.uri.removeprefix('s3://')}/{name}").decode()


def test_a_second_run_does_nothing_again(runs: Runs) -> None:
    before = runs.objects()
    plan = runs.run(*runs.command, runs.uri, "--dry-run")
    assert runs.objects() == before
    assert plan.count(" done") > 20
    printed = runs.run(*runs.command, runs.uri)
    assert "evaluate: 0 of" in printed
    after = runs.objects()
    kept = ("store/shards/", "store/commits/", "saes/beta", "null-saes/null", "evaluation/steps/")
    assert {name for name in after if after[name] != before.get(name) and name.startswith(kept)} == set()
    assert after.keys() == before.keys()


def test_a_forced_step_and_what_follows_it_are_done_again_and_a_report_is_drawn_anew(runs: Runs) -> None:
    before, evaluation = records(runs), runs.evaluation(runs.uri)
    evaluate = ["evaluate", "--store", f"{runs.uri}/store", "--output", f"{runs.uri}/evaluation", "--saes"]
    saes = [f"{runs.uri}/saes/beta-0.001", f"{runs.uri}/null-saes/null-beta-0.001"]
    plan = runs.run(*evaluate, *saes, "--dry-run", "--force", "embeddings/fit")
    assert plan.count(" run\n") > 3
    assert records(runs) == before
    printed = runs.run(*evaluate, *saes, "--force", "*/exemplars")
    assert "evaluate: 2 of" in printed
    after = records(runs)
    changed = {name for name, record in after.items() if record != before[name]}
    assert len(changed) == 2
    assert all("-exemplars-" in name for name in changed)
    again = runs.evaluation(runs.uri)
    assert without_places(again)["saes"] == without_places(evaluation)["saes"]
    place = f"{runs.uri}/again/report.html"
    assert place in runs.run("report", "--evaluation", f"{runs.uri}/evaluation/evaluation.json", "--output", place)
    assert cards(page_of(runs, "again/report.html")) == cards(page_of(runs, "report.html"))
    assert [path.name for path in runs.temporary.rglob("*") if path.is_file()] == []


def records(runs: Runs) -> Mapping[str, Any]:
    return {name: value for name, value in runs.objects().items() if name.endswith("/step.json")}


def cards(page: str) -> list[str]:
    """What the verdict says of each SAE."""
    return re.findall(r'<div class="card">.*?</ul>', page, re.DOTALL)
