"""What MLflow is told of an evaluation."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from isoenergy.sae.sae_config import SaeConfig
from tests.evaluation.evaluations import evaluated, run_steps_here, shifted_pairs, write_pairs, write_sae
from tests.report.evaluations import original, sae, seeds
from workflows.evaluation.tracked_measures import headline_metrics, measures_table
from workflows.tracking import mlflow_runs


def test_the_metrics_are_few_and_of_the_first_training() -> None:
    several = seeds(sae(recall={"bimodal": 0.4}), sae(), sae())
    summary = {"original": original(recall={"original": 0.5}), "saes": [several], "tasks": []}
    found = headline_metrics(summary)
    assert found["embeddings/r10"] == 0.5
    assert found[f"{several['name']}/r10_bimodal"] == 0.4
    assert {name.partition("/")[0] for name in found} == {"embeddings", several["name"]}
    assert len(found) <= 12


def test_agreement_is_that_of_the_measured_pairs_and_the_fitted_ones_are_named() -> None:
    one = sae()
    one["results"]["agreement"] = {"measured_pairs": {"value": 0.93}, "bimodal_energy_share": {"value": 0.98}}
    found = headline_metrics({"original": original(), "saes": [one], "tasks": []})
    agreement = {name.partition("/")[2]: value for name, value in found.items() if "agreement" in name}
    assert agreement == {"agreement": 0.93, "agreement_in_fitted_pairs": 0.98}


def test_the_table_has_every_number_of_every_training() -> None:
    several = seeds(sae(), sae(share=0.3))
    row = {"sae": None, "embeddings": "original", "group": "all", "values": {"accuracy": {"value": 0.5, "low": 0.4}}}
    summary = {"original": original(), "saes": [several], "tasks": [{"name": "zero-shot", "rows": [row]}]}
    table = measures_table(summary)
    other = several["repeats"][0]["name"]
    assert list(table) == ["measure", "embeddings", several["name"], other]
    assert len(set(table["measure"])) == len(table["measure"])

    def read(of: str, measure: str) -> float | None:
        return table[of][table["measure"].index(measure)]

    assert read(other, "intervals/bimodal_energy_share/value") == 0.3
    assert read("embeddings", "zero-shot/original/all/accuracy/low") == 0.4
    assert read(other, "zero-shot/original/all/accuracy/low") is None
    assert read("embeddings", "retrieval/original/r10/value") == 0.2


def test_a_run_has_them_and_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_steps_here(monkeypatch, drawn=True)
    store = write_pairs(tmp_path / "store", *shifted_pairs(80, 6), rows_a_unit=80)
    saes = [write_sae(tmp_path / f"beta-{n}", SaeConfig(6, 12, 2, beta=n / 1000), seed=n) for n in range(2)]
    summary = evaluated(store, saes, tmp_path / "out", sample=40)
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = client.get_experiment_by_name(mlflow_runs.EXPERIMENT)
    assert experiment is not None
    place = f"tags.isoenergy_output = '{tmp_path / 'out'}'"
    (run,) = client.search_runs([experiment.experiment_id], place)
    assert run.data.metrics == pytest.approx(headline_metrics(summary), nan_ok=True)
    assert 15 <= len(run.data.metrics) <= 24
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"evaluation.json", "measures.json", "gaps.png"} <= logged
    assert "measures.json" in run.data.tags["mlflow.loggedArtifacts"]
    assert "path=gaps.png" in run.data.tags["mlflow.note.content"]
    assert Path(client.download_artifacts(run.info.run_id, "gaps.png", str(tmp_path))).read_bytes()[:4] == b"\x89PNG"
