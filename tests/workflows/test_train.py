"""`isoenergy train` on Ray: exact resume, any number of workers, bad input refused before the first step."""

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.alignments import IsoEnergy
from isoenergy.errors import InputError
from isoenergy.training.beta_search import AutomaticBeta
from isoenergy.training.trainer import TrainingConfig
from isoenergy.training.training_config import parse_beta
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.embedding_stores import spoil_a_train_pair
from tests.workflows.processes import files_in, run_until
from tests.workflows.training.ended_training import EndedAt, kill_this_process
from workflows import train
from workflows.command import causes
from workflows.tracking import mlflow_runs
from workflows.train import TrainConfig
from workflows.training.ray_training import RayTraining
from workflows.training.training_engine import TrainingEngine
from workflows.training.training_placement import Workers

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]

TRAINING = TrainingConfig(
    beta=(0.0, 1e-3), expansion=2, k=4, epochs=100, batch_pairs=60, learning_rate=5e-3, checkpoint_every=50
)
SHORT = dataclasses.replace(TRAINING, epochs=2)
TWO_SEEDS = dataclasses.replace(SHORT, seeds=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_store(tmp_path_factory.mktemp("train") / "store", *planted_pairs(300, 24), pairs_a_shard=100)


@pytest.fixture(scope="module")
def whole(on_ray: None, store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[torch.Tensor]:  # noqa: ARG001
    """What an undisturbed run of `TRAINING` comes to, on two workers."""
    return dictionaries(run(store, tmp_path_factory.mktemp("whole"), TRAINING))


@pytest.fixture(scope="module")
def finished(on_ray: None, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """The output of a run of `TWO_SEEDS` on two workers."""
    output = tmp_path_factory.mktemp("finished")
    run(store, output, TWO_SEEDS)
    return output


def run(
    store: Path,
    output: Path,
    training: TrainingConfig,
    workers: int = 2,
    engine: TrainingEngine | None = None,
    **settings: object,
) -> list[str]:
    config = TrainConfig(
        store=str(store), output=str(output), workers=Workers(workers, workers), training=training, **settings
    )
    return train.run(config, engine=engine)


def dictionaries(places: list[str]) -> list[torch.Tensor]:
    return [SparseAutoencoder.load(place).dictionary.detach() for place in places]


def saes_in(output: Path) -> list[str]:
    return [str(output / name) for name in json.loads((output / "done.json").read_text())["saes"]]


def checkpoints(output: Path) -> set[Path]:
    return files_in(output / "checkpoints", "step-*/complete.json")


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    store: Path, tmp_path: Path, whole: list[torch.Tensor]
) -> None:
    settings = {
        "--store": store,
        "--output": tmp_path,
        "--workers": 2,
        "--epochs": TRAINING.epochs,
        "--expansion": TRAINING.expansion,
        "--k": TRAINING.k,
        "--batch-pairs": TRAINING.batch_pairs,
        "--learning-rate": TRAINING.learning_rate,
        "--checkpoint-every": TRAINING.checkpoint_every,
        "--beta": "0,0.001",
    }
    arguments = ["train", *(str(word) for setting in settings.items() for word in setting)]
    run_until(arguments, lambda: len(checkpoints(tmp_path)) >= 2)
    assert not (tmp_path / "done.json").exists()
    for ours, theirs in zip(dictionaries(run(store, tmp_path, TRAINING)), whole, strict=True):
        assert torch.equal(ours, theirs)


def test_a_worker_that_is_killed_is_replaced_within_the_run(
    store: Path,
    tmp_path: Path,
    whole: list[torch.Tensor],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed = tmp_path / "killed"
    places = run(store, tmp_path, TRAINING, engine=EndedAt(RayTraining(), 120, kill_this_process, killed))
    assert killed.exists()
    assert re.search(r"a worker was lost \(.*\); going on from step 100\n", caplog.text)
    assert "train: going on from step 100 of 400" in capsys.readouterr().err
    for ours, theirs in zip(dictionaries(places), whole, strict=True):
        assert torch.equal(ours, theirs)


def test_workers_and_residence_do_not_matter(store: Path, finished: Path, tmp_path: Path) -> None:
    streamed = dictionaries(run(store, tmp_path, TWO_SEEDS, workers=1, residence="stream"))
    for one, two in zip(streamed, dictionaries(saes_in(finished)), strict=True):
        torch.testing.assert_close(one, two, atol=1e-5, rtol=0)


def test_an_output_is_not_reused_for_another_training(store: Path, finished: Path, tmp_path: Path) -> None:
    output = shutil.copytree(finished, tmp_path / "saes")
    places = saes_in(output)
    with pytest.raises(InputError, match="another training: k is 4 there and 5 here"):
        run(store, output, dataclasses.replace(TWO_SEEDS, k=5))
    before = [Path(place, "sae.safetensors").stat().st_mtime_ns for place in places]
    assert run(store, output, TWO_SEEDS) == places
    assert [Path(place, "sae.safetensors").stat().st_mtime_ns for place in places] == before

    trained = dictionaries(places)
    shutil.rmtree(places[0])
    assert torch.equal(dictionaries(run(store, output, TWO_SEEDS))[0], trained[0])
    assert {path.name for path in output.iterdir()} >= {"curves.png", "done.json", "index.json", "training.json"}
    assert not (output / ".ray").exists()


def test_a_run_leaves_its_metrics_and_curves_in_mlflow(finished: Path) -> None:
    done = json.loads((finished / "done.json").read_text())
    assert done["saes"] == ["beta-0-seed-0", "beta-0.001-seed-0", "beta-0-seed-1", "beta-0.001-seed-1"]
    client = MlflowClient(mlflow_runs.tracking_uri())
    logged = client.get_run(done["mlflow_run"])
    assert logged.info.status == "FINISHED"
    assert logged.data.params["training.sparse_encoder.name"] == "matching-pursuit"
    for key in ("r2_image", "r2_text", "l0", "dead_atoms", "alignment", "always_on_energy", "validation_r2"):
        assert f"beta-0.001-seed-1/{key}" in logged.data.metrics
    assert {"rows_per_second", "waiting_for_data"} <= set(logged.data.metrics)
    assert "curves.png" in {item.path for item in client.list_artifacts(logged.info.run_id)}
    assert "R² on held-out pairs" in (finished / "beta-0-seed-0" / "README.md").read_text()


def test_beta_is_found_and_the_search_is_not_repeated(store: Path, tmp_path: Path) -> None:
    training = dataclasses.replace(SHORT, beta=parse_beta("auto:epochs=2,rounds=1"))
    assert isinstance(training.beta, AutomaticBeta)
    places = run(store, tmp_path, training, workers=1)
    curve = json.loads((tmp_path / "beta-search.json").read_text())
    tried = {item["beta"] for attempt in curve["attempts"].values() for item in attempt}
    assert curve["chosen"] in tried
    assert places[-1].endswith(f"beta-{curve['chosen']:g}")

    (tmp_path / "done.json").unlink()
    shutil.rmtree(tmp_path / "checkpoints")
    before = {name: attempt for name, attempt in curve["attempts"].items()}
    assert run(store, tmp_path, training, workers=1) == places
    assert json.loads((tmp_path / "beta-search.json").read_text())["attempts"] == before


def test_unpaired_stores_train_with_a_penalty_that_needs_no_pairs(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "texts")
    settings = {"texts": str(tmp_path / "texts")}
    with pytest.raises(InputError, match="give --alignment iso-energy"):
        run(store, tmp_path / "saes", SHORT, **settings)
    places = run(store, tmp_path / "saes", dataclasses.replace(SHORT, alignment=IsoEnergy()), **settings)
    assert all(torch.isfinite(dictionary).all() for dictionary in dictionaries(places))


def test_a_null_run_trains_the_aligned_sae_alone_and_says_everywhere_what_it_is(
    store: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    null = dataclasses.replace(SHORT, null=True)
    (two,) = run(store, tmp_path / "two", null)
    assert two.endswith("/null-beta-0.001")
    assert re.search(r"null-beta-0\.001, on \d+ shuffled pairs, .*; beta 0 is left out", caplog.text)
    sae = SparseAutoencoder.load(two)
    assert sae.config.null
    assert Path(two, "README.md").read_text().split("---")[2].startswith("\n\n# A null model")
    done = json.loads((tmp_path / "two" / "done.json").read_text())
    logged = MlflowClient(mlflow_runs.tracking_uri()).get_run(done["mlflow_run"])
    assert logged.data.tags["null"] == "true"
    assert "null-beta-0.001/alignment" in logged.data.metrics

    with pytest.raises(InputError, match="another training: null is true there and false here"):
        run(store, tmp_path / "two", SHORT)
    (streamed,) = run(store, tmp_path / "streamed", null, workers=1, residence="stream")
    torch.testing.assert_close(*dictionaries([two, streamed]), atol=1e-5, rtol=0)
    (true,) = dictionaries([str(finished / "beta-0.001-seed-0")])
    assert not torch.allclose(sae.dictionary, true, atol=1e-3)


def test_a_null_plan_says_what_is_trained_on_what(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(store, tmp_path, dataclasses.replace(SHORT, null=True), dry_run=True)
    printed = capsys.readouterr().out
    assert "shuffled pairs: each image gets the text of another" in printed
    assert "1 (null-beta-0.001) of" in printed


def test_an_output_from_before_there_were_null_runs_is_still_its_own(
    store: Path, finished: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(finished, tmp_path / "saes")
    plan = json.loads((output / "training.json").read_text())
    del plan["null"]
    (output / "training.json").write_text(json.dumps(plan))
    assert run(store, output, TWO_SEEDS) == saes_in(output)


def test_more_workers_than_cpus_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"99 workers need as many CPUs, and the cluster has \d+; give --workers"):
        run(store, tmp_path, dataclasses.replace(SHORT, batch_pairs=200), workers=99)


def test_a_bad_row_is_refused_by_shard_and_row_or_left_out(store: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "store"
    shutil.copytree(store, spoilt)
    shard = spoil_a_train_pair(spoilt)
    with pytest.raises(InputError, match=rf"1 pair cannot be trained on: .*{shard}, row \d+, key .*: image is n"):
        run(spoilt, tmp_path / "saes", SHORT)
    run(spoilt, tmp_path / "saes", SHORT, skip_bad_rows=True)
    index = json.loads((tmp_path / "saes" / "index.json").read_text())
    assert list(index["skipped"]) == [shard]


def test_a_run_that_diverges_says_so_once(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = dataclasses.replace(SHORT, learning_rate=1e30, atom_norm="free", gradient_clip=1e30, log_every=1)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - Ray's own, around ours
        run(store, tmp_path, training, workers=1)
    assert any(isinstance(cause, InputError) for cause in causes(raised.value))
    assert "a worker was lost" not in caplog.text


def test_a_plan_says_what_a_run_would_take_and_writes_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, tmp_path / "saes", SHORT, dry_run=True) == []
    printed = capsys.readouterr().out
    for word in ("pairs ", "SAEs ", "steps ", "workers ", "memory ", "time ", "rows/s"):
        assert word in printed
    assert not (tmp_path / "saes").exists()
