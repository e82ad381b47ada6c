"""`isoenergy synthetic curves`: its seeds, files and MLflow run; how steps go on Ray is told elsewhere."""

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from isoenergy.errors import InputError
from tests.workflows.processes import files_in
from workflows import synthetic
from workflows.settings.synthetic_settings import SyntheticCurvesConfig, parse
from workflows.steps import step_plan
from workflows.tracking import mlflow_runs

SMALL = SyntheticCurvesConfig(
    seeds=2,
    epochs=(4, 2),
    at=(1, 2, 3),
    pairs=200,
    dim=60,
    instances=20,
    atoms=30,
    k=4,
    batch_pairs=50,
    betas=(0.0, 1e-2),
    atom_norms=("free",),
)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the seeds in this process."""
    monkeypatch.setattr(synthetic.engine, "connect", lambda: None)
    monkeypatch.setattr(synthetic, "run_on_ray", lambda planned, root, _what: step_plan.run_here(planned, root))


def test_curves_come_with_tables_figures_and_a_run_and_go_on_from_what_is_done(
    here: None,  # noqa: ARG001
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = dataclasses.replace(SMALL, output=str(tmp_path))
    synthetic.start(config)
    assert "8 of 8 seeds to run" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        *("curves.json", "curves.md", "curves.parquet", "curves.png", "curves-mma.png", "steps"),
    }
    summary = json.loads((tmp_path / "curves.json").read_text())
    curves = {(c["epochs"], c["instance_cosine"], c["beta"]): c for c in summary["curves"]}
    assert len(curves) == 2 * 2 * 2
    assert [p["epoch"] for p in curves[4, 0.99, 0.0]["points"]] == [1, 2, 3, 4]
    assert [p["epoch"] for p in curves[2, 0.99, 0.0]["points"]] == [1, 2]
    assert pq.read_table(tmp_path / "curves.parquet").num_rows == 2 * 2 * 2 * (4 + 2)

    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    [run] = client.search_runs([experiment.experiment_id], f"tags.isoenergy_output = '{tmp_path}'")
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "free/tau-0.99/epochs-4/beta-0.01/transport/instances")
    assert [entry.step for entry in history] == [4, 8, 12, 16]
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"curves.png", "curves.parquet"}

    records = sorted(files_in(tmp_path, "steps/*/step.json"))
    records[0].unlink()  # as if the run had been killed before it
    before = {path: path.stat().st_mtime_ns for path in records[1:]}
    synthetic.start(config)
    assert "1 of 8 seeds to run" in capsys.readouterr().out
    assert records[0].exists()
    assert {path: path.stat().st_mtime_ns for path in records[1:]} == before


def test_a_dry_run_says_how_long_and_begins_with_what_is_short(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic.start(dataclasses.replace(SMALL, output=str(tmp_path), dry_run=True))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("free/tau-0.99/epochs-2/seed-0 ")
    assert lines[-2].startswith("free/tau-0.5/epochs-4/seed-1 ")
    assert "minutes of an idle core" in lines[-1]
    assert list(tmp_path.iterdir()) == []


def test_curves_are_asked_for_by_name() -> None:
    config = parse(["curves", "--seeds", "3", "--epochs", "20", "--atom-norms", "unit"])
    assert isinstance(config, SyntheticCurvesConfig)
    assert (config.seeds, config.epochs, config.atom_norms) == (3, (20,), ("unit",))
    assert not isinstance(parse([]), SyntheticCurvesConfig)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": (0,)}, "epochs must be at least 1, got 0"),
        ({"at": ()}, "at must be .* got none"),
        ({"atom_norms": ("free", "free")}, "atom_norms must be .* got free, free"),
    ],
)
def test_impossible_settings_are_named(wrong: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(SMALL, **wrong)
