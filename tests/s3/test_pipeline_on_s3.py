"""`isoenergy pipeline`, and what follows it, with every place in a bucket: the same numbers as in a folder."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from isoenergy.storage.files import open_filesystem
from tests.evaluation.evaluations import run_steps_here
from tests.pairs.made_up_pairs import written_rows
from tests.s3.seaweedfs import S3Server
from tests.workflows.cluster.own_ray import joined_ray
from tests.workflows.embedding_stores import ENCODER
from workflows import evaluate, pipeline, report

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.server]

SMALL = ["--beta=0.001", "--seeds=1", "--expansion=2", "--k=4", "--epochs=2", "--batch-pairs=60", "--workers=1"]
MLFLOW = {"mlflow.db", "mlflow.db.lock", "mlflow-artifacts"}
SAES = ("saes/beta-0.001", "null-saes/null-beta-0.001")
STAGES = {"pipeline": pipeline.main, "evaluate": evaluate.main, "report": report.main}


@dataclass(frozen=True)
class Run:
    """A pipeline whose output is in a bucket."""

    server: S3Server
    uri: str
    work: Path
    """Where it was started."""
    temporary: Path
    """Its folder for temporary files."""
    command: list[str]
    printed: str

    def objects(self) -> dict[str, Any]:
        """ETag and time of each object by its path below the output."""
        root = self.uri.removeprefix("s3://")
        found = self.server.filesystem.find(root, detail=True)
        return {path.removeprefix(f"{root}/"): (info["ETag"], info["LastModified"]) for path, info in found.items()}

    def evaluation(self, place: str) -> dict[str, Any]:
        filesystem, path = open_filesystem(f"{place}/evaluation.json")
        return json.loads(filesystem.cat_file(path))

    def evaluate(self, output: str) -> list[str]:
        """Return the command that evaluates its SAEs into another output."""
        saes = [f"{self.uri}/{name}" for name in SAES]
        return ["evaluate", "--store", f"{self.uri}/store", "--output", output, "--saes", *saes]


def isoenergy(stage: str, *arguments: str) -> str:
    """Run `isoenergy …` in this process; return what it prints and says."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        STAGES[stage]([*arguments])
    return said.getvalue()


@pytest.fixture(scope="module")
def run(s3: S3Server, tmp_path_factory: pytest.TempPathFactory, bundled_rows: list[dict]) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("pipeline")
    pairs = written_rows(bundled_rows[:500], folder / "pairs.parquet")
    uri = f"s3://{s3.bucket()}/a run"
    command = ["pipeline", "--pairs", str(pairs), "--encoder", ENCODER, *SMALL, "--output", uri]
    work, temporary = folder / "work", folder / "temporary"
    work.mkdir()
    temporary.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        patch.setenv("RAY_TMPDIR", "/tmp")
        patch.setattr(tempfile, "tempdir", None)
        patch.delenv("MLFLOW_TRACKING_URI")
        with joined_ray():
            patch.chdir(work)
            yield Run(s3, uri, work, temporary, command, isoenergy(*command))


def test_nothing_is_left_on_the_disk_but_mlflow(run: Run) -> None:
    assert {str(path.relative_to(run.work)) for path in run.work.glob("*/*")} == {f"runs/{name}" for name in MLFLOW}
    assert [path.name for path in run.temporary.rglob("*") if path.is_file()] == []
    assert f"report     {run.uri}/report.html" in run.printed


def test_the_evaluation_is_that_of_a_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_steps_here(monkeypatch)
    isoenergy(*run.evaluate(str(tmp_path)))
    there, here = (without_places(run.evaluation(place)) for place in (f"{run.uri}/evaluation", str(tmp_path)))
    assert there == here
    assert len(here["saes"]) == 2


def without_places(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Leave out where things lie, and how long steps took."""

    def kept(results: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in results.items() if not str(value).startswith("steps/")}

    return {
        **evaluation,
        "store": {**evaluation["store"], "uri": ""},
        "original": kept(evaluation["original"]),
        "saes": [kept(sae) for sae in evaluation["saes"]],
        "graph": [{**node, "seconds": 0} for node in evaluation["graph"]],
    }


def test_the_report_and_its_figures_lie_beside_it(run: Run) -> None:
    page = page_of(run, "report.html")
    assert len(cards(page)) == 1
    assert "The evaluation, step by step" in page
    figures = {name.removeprefix("figures/") for name in run.objects() if name.startswith("figures/")}
    assert {"gaps.svg", "beta-0.001-energy.png", "beta-0.001-atom-map.png"} <= figures
    logged = {path.name for path in (run.work / "runs/mlflow-artifacts").rglob("*") if path.is_file()}
    assert figures | {"report.html", "evaluation.json"} <= logged


def page_of(run: Run, name: str) -> str:
    return run.server.filesystem.cat_file(f"{run.uri.removeprefix('s3://')}/{name}").decode()


def test_a_second_run_does_nothing_again(run: Run) -> None:
    before = run.objects()
    plan = isoenergy(*run.command, "--dry-run")
    assert run.objects() == before
    assert plan.count(" done") > 20
    printed = isoenergy(*run.command)
    assert "evaluate: 0 of" in printed
    after = run.objects()
    kept = ("store/shards/", "store/commits/", "saes/beta", "null-saes/null", "evaluation/steps/")
    assert {name for name in after if after[name] != before.get(name) and name.startswith(kept)} == set()
    assert after.keys() == before.keys()


def test_a_forced_step_and_what_follows_it_are_done_again_and_a_report_is_drawn_anew(run: Run) -> None:
    before, evaluation = records(run), run.evaluation(f"{run.uri}/evaluation")
    command = run.evaluate(f"{run.uri}/evaluation")
    plan = isoenergy(*command, "--dry-run", "--force", "embeddings/fit")
    assert plan.count(" run\n") > 3
    assert records(run) == before
    printed = isoenergy(*command, "--force", "*/exemplars")
    assert "evaluate: 2 of" in printed
    after = records(run)
    changed = {name for name, record in after.items() if record != before[name]}
    assert len(changed) == 2
    assert all("-exemplars-" in name for name in changed)
    again = run.evaluation(f"{run.uri}/evaluation")
    assert without_places(again)["saes"] == without_places(evaluation)["saes"]
    place = f"{run.uri}/again/report.html"
    assert place in isoenergy("report", "--evaluation", f"{run.uri}/evaluation/evaluation.json", "--output", place)
    assert cards(page_of(run, "again/report.html")) == cards(page_of(run, "report.html"))
    assert [path.name for path in run.temporary.rglob("*") if path.is_file()] == []


def records(run: Run) -> Mapping[str, Any]:
    return {name: value for name, value in run.objects().items() if name.endswith("/step.json")}


def cards(page: str) -> list[str]:
    """What the verdict says of each SAE."""
    return re.findall(r'<div class="card">.*?</ul>', page, re.DOTALL)
