"""`isoenergy train` and `isoenergy evaluate` on Parquet with columns of vectors, with no conversion by the user."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.report.page.page import write_report
from isoenergy.sae.joint import load_autoencoder
from isoenergy.storage import strict_json
from isoenergy.training.trainer import TrainingConfig
from tests.benchmarks.planted_store import planted_pairs
from workflows import evaluate, train
from workflows.evaluate import EvaluateConfig
from workflows.tracking import mlflow_runs
from workflows.train import TrainConfig
from workflows.training.training_placement import Workers

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]

TRAINING = TrainingConfig(beta=(0.0, 1e-2), expansion=2, k=4, epochs=2, batch_pairs=60, learning_rate=5e-3)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two columns of one width, and a third of another."""
    audio, text = planted_pairs(500, 24)
    layer = np.random.default_rng(1).normal(size=(24, 30)).astype(np.float16)
    columns = {"audio": audio, "text": text, "layer": audio @ layer}
    lists = {name: pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1]) for name, rows in columns.items()}
    place = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
    pq.write_table(pa.table({**lists, "title": [f"song {row}" for row in range(500)]}), place)
    return place


def trained(vectors: Path, output: Path, modalities: str, **settings: object) -> list[str]:
    config = TrainConfig(
        store=str(vectors),
        output=str(output),
        modalities=modalities,
        workers=Workers(1, 1),
        training=TRAINING,
        **settings,
    )
    return train.run(config)


@pytest.mark.usefixtures("undrawn")
def test_two_columns_of_one_width_have_the_papers_evaluation_under_their_names(
    vectors: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    places = trained(vectors, tmp_path / "saes", "audio,text")
    assert "500 rows in 1 file" in caplog.text
    assert "modality    text: 24 numbers a row" in caplog.text
    assert trained(vectors, tmp_path / "saes", "audio,text") == places
    assert SparseAutoencoder.load(places[0]).config.modalities == ("audio", "text")
    done = json.loads((tmp_path / "saes/done.json").read_text())
    run = MlflowClient(mlflow_runs.tracking_uri()).get_run(done["mlflow_run"])
    assert {"beta-0/r2_audio", "beta-0/r2_text"} <= run.data.metrics.keys()
    assert "R² against the mean of all entries of audio" in (Path(places[0]) / "README.md").read_text()

    settings = {"sample": 40, "in_batches": 40, "queries": 40}
    file = evaluate.run(
        EvaluateConfig(str(vectors), tuple(places), str(tmp_path / "evaluation"), modalities="audio,text", **settings)
    )
    assert file is not None
    summary = strict_json.loads(Path(file).read_text())
    assert summary["store"]["modalities"] == {"audio": 24, "text": 24}
    assert summary["saes"][0]["results"]["pairs"] == summary["pairs"]["pairs"]
    page = Path(write_report(file, str(tmp_path / "report.html"))[0]).read_text()
    assert "Which concepts do audio vectors and text vectors share?" in page
    for said in ("audio → text", "audio-only energy", "song "):
        assert said in page
    words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", "", page, flags=re.DOTALL)
    assert "embedded by" not in words
    assert re.findall(r"\bimages?\b|\bcaptions?\b", words) == []


def test_three_columns_train_with_a_dictionary_each_and_the_copy_is_not_made_again(
    vectors: Path, tmp_path: Path
) -> None:
    places = trained(vectors, tmp_path / "saes", "")
    sae = load_autoencoder(places[1])
    assert (sae.config.modalities, sae.config.widths) == (("audio", "text", "layer"), (24, 24, 30))
    shard = next((tmp_path / "saes/store/shards").iterdir())
    before = shard.stat().st_mtime_ns
    (tmp_path / "saes/done.json").unlink()
    assert trained(vectors, tmp_path / "saes", "") == places
    assert shard.stat().st_mtime_ns == before
    assert load_autoencoder(places[1]).digest == sae.digest
    with pytest.raises(InputError, match=r"was made by encoder 'given vectors \(audio, text, layer\)'"):
        trained(vectors, tmp_path / "saes", "audio,text")


def test_a_plan_of_vectors_copies_nothing(vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"a plan needs a store of the vectors of .*: make one by"):
        trained(vectors, tmp_path / "saes", "", dry_run=True)
    assert not capsys.readouterr().out
    assert not (tmp_path / "saes").exists()
