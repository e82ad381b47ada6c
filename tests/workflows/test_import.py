"""`isoenergy import`: what it says, what it leaves in MLflow, and that `train` and `tune` take what it takes."""

import importlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore
from isoenergy.training.trainer import TrainingConfig
from tests.store.given_vectors import WIDTH, write_clip_retrieval
from tune.search_config import SearchConfig
from workflows import apply, evaluate, train, tune
from workflows.applying.applying_engines import ApplyingHere
from workflows.evaluate import EvaluateConfig
from workflows.settings.apply_settings import ApplyConfig
from workflows.settings.import_settings import ImportConfig, parse
from workflows.tracking import mlflow_runs
from workflows.train import TrainConfig
from workflows.training.training_here import TrainingHere

stage = importlib.import_module("workflows.import")  # whose name is a word of Python's


def test_it_imports_once_and_tells_mlflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_clip_retrieval(tmp_path / "theirs", [30, 20]))
    config = parse([source, "--output", str(tmp_path / "store")])
    assert stage.run(ImportConfig(source, str(tmp_path / "store"), dry_run=True)) is None
    assert f"modality    text: {WIDTH} numbers a row" in capsys.readouterr().out
    assert not (tmp_path / "store").exists()
    store = stage.run(config)
    assert re.search(r"imported    50 of 50 rows: \d+ train, \d+ validation, \d+ test", capsys.readouterr().out)
    times = [shard.stat().st_mtime_ns for shard in (tmp_path / "store/shards").iterdir()]
    assert stage.run(config).fingerprint == store.fingerprint
    assert "2 of 2 units there" in capsys.readouterr().out
    assert [shard.stat().st_mtime_ns for shard in (tmp_path / "store/shards").iterdir()] == times
    client = MlflowClient(mlflow_runs.tracking_uri())
    experiment = mlflow_runs.experiment_id(mlflow_runs.tracking_uri())
    runs = client.search_runs([experiment], f"tags.store_fingerprint = '{store.fingerprint}'")
    ours = [run for run in runs if run.data.params.get("source") == source]
    assert [run.info.status for run in ours] == ["FINISHED"]
    assert (ours[0].data.metrics["rows"], ours[0].data.params["source"]) == (50, source)


def test_what_holds_no_vectors_is_sent_to_embed(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds no vectors, or is a store already.*isoenergy embed"):
        stage.run(ImportConfig(str(tmp_path), str(tmp_path / "store")))


def test_a_store_does_not_lie_among_the_files_that_it_is_made_of(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path, [9])
    with pytest.raises(InputError, match=r"store lies in .*, and the next run would take what is written there"):
        stage.run(ImportConfig(str(source), str(tmp_path / "store")))
    assert not (tmp_path / "store").exists()


def test_a_place_that_cannot_be_written_is_said_before_the_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_clip_retrieval(tmp_path, [9]))
    with pytest.raises(InputError, match="/proc/x cannot be written"):
        stage.run(ImportConfig(source, "/proc/x"))
    assert capsys.readouterr().out == ""


def test_training_takes_the_same_source(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [150, 90], "float32")
    training = TrainingConfig(beta=(0.0,), expansion=2, k=2, epochs=1, batch_pairs=32)
    config = TrainConfig(store=str(source), output=str(tmp_path / "saes"), training=training)
    (place,) = train.run(config, engine=TrainingHere())
    assert place == f"{tmp_path}/saes/beta-0"
    store = EmbeddingStore.open(f"{tmp_path}/saes/store")
    assert len(store) == 240
    found = store.read_unit_vectors(store.commits[0].unit)["image"]
    np.testing.assert_array_equal(found, np.load(source / "img_emb/img_emb_0.npy"))


def test_a_search_takes_the_same_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [40])
    with pytest.raises(InputError, match="a plan needs a store of the vectors of"):
        tune.run(SearchConfig(store=str(source), output=str(tmp_path / "searches"), dry_run=True))
    assert not capsys.readouterr().out


def test_one_modality_is_trained_on_without_alignment_and_applied_to(tmp_path: Path) -> None:
    np.save(tmp_path / "text_emb.npy", np.random.default_rng(0).normal(size=(300, WIDTH)).astype(np.float32))
    source = str(tmp_path / "text_emb.npy")
    training = TrainingConfig(beta=(0.0,), expansion=2, k=2, epochs=1, batch_pairs=32)
    config = TrainConfig(store=source, output=str(tmp_path / "saes"), training=training)
    aligned = replace(config, training=replace(training, beta=(0.0, 1e-3)), output=str(tmp_path / "aligned"))
    with pytest.raises(InputError, match="holds text alone, and β weighs how modalities align: give --beta 0"):
        train.run(aligned, engine=TrainingHere())
    (place,) = train.run(config, engine=TrainingHere())
    sae = SparseAutoencoder.load(place)
    assert sae.config.modalities == ("text",)
    store = f"{tmp_path}/saes/store"
    made = apply.run(ApplyConfig(place, store, str(tmp_path / "out"), "codes,reconstructed"), engine=ApplyingHere())
    rows = np.load(source)
    table = made.read_unit(made.commits[0].unit)
    assert (len(made), [*made.manifest.widths]) == (300, ["text_reconstructed"])
    assert [max(row) < sae.config.atoms for row in table["text_atoms"].to_pylist()] == [True] * 300
    rebuilt = sae.decode(sae.encode(sae.prepare(rows, "text"))).numpy()
    np.testing.assert_allclose(np.stack(table["text_reconstructed"].to_pylist()), rebuilt, atol=1e-3)
    with pytest.raises(InputError, match="holds text alone, and an evaluation compares modalities"):
        evaluate.run(EvaluateConfig(store, (place,), str(tmp_path / "evaluation")))
