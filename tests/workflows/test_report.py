"""`isoenergy report`'s run, and what it takes for an evaluation."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from isoenergy.errors import InputError
from isoenergy.sae.sae_config import SaeConfig
from tests.evaluation.evaluations import evaluated, run_steps_here, shifted_pairs, write_pairs, write_sae
from workflows import report
from workflows.settings.report_settings import ReportConfig
from workflows.tracking import mlflow_runs

STORE = {"uri": "/data/clip", "fingerprint": "feedbeef" * 8, "encoder": "vit"}


pytestmark = pytest.mark.usefixtures("own_tracking")


def runs() -> list[Run]:
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def refused(evaluation: Path) -> str:
    with pytest.raises(InputError) as error:
        report.run(ReportConfig(str(evaluation)))
    return str(error.value)


def test_what_is_no_evaluation_is_refused_before_there_is_a_run(tmp_path: Path) -> None:
    file = tmp_path / "notes.json"
    assert refused(file) == f"there is no {file}; run `isoenergy evaluate` first and give its evaluation.json"
    assert refused(tmp_path).startswith(f"there is no {tmp_path}/evaluation.json; run `isoenergy evaluate` first")
    for content in (b"", b"[1]", b'{"store": "here"}', b'{"store": {}, "saes": []}', b"\xff"):
        file.write_bytes(content)
        assert refused(file) == f"{file} is no evaluation.json of `isoenergy evaluate`; give one that it wrote"
    assert runs() == []


def test_its_run_says_of_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "evaluation.json"
    saes = [{"name": "beta-0-seed-0", "repeats": [{"name": "beta-0-seed-1"}]}]
    file.write_text(json.dumps({"store": STORE, "saes": saes}))
    assert "is not a whole evaluation" in refused(tmp_path)  # the folder will do
    (run,) = runs()
    assert (run.info.run_name, run.info.status) == ("report · vit · 2 SAEs", "FAILED")
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, [tag.value for tag in used.tags]) == ("clip", ["evaluation"])


def test_one_that_is_drawn_is_left_with_its_run_unless_it_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_steps_here(monkeypatch)
    store = write_pairs(tmp_path / "store", *shifted_pairs(120, 8))
    write_sae(tmp_path / "sae", SaeConfig(dim=8, atoms=16, k=3, beta=1e-3))
    evaluated(store, [tmp_path / "sae"], tmp_path / "evaluation", sample=40)
    config = ReportConfig(str(tmp_path / "evaluation"), f"{tmp_path}/page/report.html")

    def written(again: bool) -> tuple[set[Path], dict[Path, int], int | None]:
        assert report.run(config, again=again) == config.output
        files = {path: path.stat().st_mtime_ns for path in (tmp_path / "page").rglob("*.*")}
        (run,) = (run for run in runs() if str(run.info.run_name).startswith("report"))
        assert run.info.status == "FINISHED"
        return set(files), files, run.info.end_time

    names, first, ended = written(again=False)
    assert names >= {tmp_path / "page" / name for name in ("report.html", "report.html.made-of.json")}
    assert written(again=False) == (names, first, ended)
    names_again, second, _ = written(again=True)
    assert names_again == names
    assert all(second[file] > first[file] for file in names)
