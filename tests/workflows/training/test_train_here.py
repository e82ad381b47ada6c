"""What `isoenergy train` does around its steps, in this process: no Ray, a training of 16 steps."""

import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.alignments import GroupSparse, IsoEnergy
from isoenergy.errors import InputError
from isoenergy.evaluation.carried import Carried, carried_by
from isoenergy.sae.sae_config import FITTED_FILE
from isoenergy.sparse_encoders import SparseEncoder
from isoenergy.storage.files import last_part
from isoenergy.store import EmbeddingStore
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.trainer import TrainingConfig
from isoenergy.training.training_config import parse_beta
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.embedding_stores import spoil_a_train_pair
from tests.workflows.training.ended_training import EndedAt
from workflows import presets, train
from workflows.tracking import mlflow_runs
from workflows.train import TrainConfig
from workflows.training.training_engine import TrainingEngine, WorkersLostError
from workflows.training.training_here import TrainingHere
from workflows.training.training_placement import Workers

TRAINING = TrainingConfig(
    beta=(0.0, 1e-3),
    expansion=2,
    k=4,
    epochs=4,
    batch_pairs=60,
    learning_rate=5e-3,
    seeds=2,
    checkpoint_every=4,
    log_every=1,
)
NULL = dataclasses.replace(TRAINING, null=True, seeds=1, epochs=2)
LAST_KEPT = 8
STOPPED_AT = 10
"""Between two checkpoints."""


class Stopped(BaseException):
    """As a user's Ctrl-C: nothing that the program catches."""


def stop() -> NoReturn:
    raise Stopped


def lose_the_worker() -> NoReturn:
    raise WorkersLostError("its node is gone")


@pytest.fixture(autouse=True)
def told_on_the_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_store(tmp_path_factory.mktemp("here") / "store", *planted_pairs(300, 24), pairs_a_shard=100)


@pytest.fixture(scope="module")
def finished(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run of `TRAINING` that nothing disturbed."""
    output = tmp_path_factory.mktemp("finished")
    run(store, output)
    return output


def run(
    store: Path,
    output: Path,
    training: TrainingConfig = TRAINING,
    engine: TrainingEngine | None = None,
    **settings: Any,
) -> list[str]:
    config = TrainConfig(store=str(store), output=str(output), training=training, **settings)
    return train.run(config, engine=engine or TrainingHere())


def dictionaries(places: list[str]) -> list[torch.Tensor]:
    return [SparseAutoencoder.load(place).dictionary.detach() for place in places]


def saes_in(output: Path) -> list[str]:
    return [str(output / name) for name in json.loads((output / "done.json").read_text())["saes"]]


def assert_equal_bits(output: Path, finished: Path) -> None:
    for ours, theirs in zip(dictionaries(saes_in(output)), dictionaries(saes_in(finished)), strict=True):
        assert torch.equal(ours, theirs)


def kept(output: Path) -> list[int]:
    return sorted(record.step for record in CheckpointFolder(f"{output}/checkpoints").records())


def logged_in(output: Path) -> Any:
    done = json.loads((output / "done.json").read_text())
    return MlflowClient(mlflow_runs.tracking_uri()).get_run(done["mlflow_run"])


def test_a_stopped_run_goes_on_from_its_last_checkpoint_to_the_same_weights(
    store: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "saes"
    with pytest.raises(Stopped):
        run(store, output, engine=EndedAt(TrainingHere(), STOPPED_AT, stop, tmp_path / "ended"))
    assert kept(output)[-1] == LAST_KEPT
    assert not (output / "done.json").exists()
    (begun,) = {record.run for record in CheckpointFolder(f"{output}/checkpoints").records()}
    assert MlflowClient(mlflow_runs.tracking_uri()).get_run(begun).info.status == "KILLED"

    run(store, output)
    assert f"going on from step {LAST_KEPT} of " in capsys.readouterr().err
    assert_equal_bits(output, finished)
    logged = logged_in(output)
    assert (logged.info.run_id, logged.info.status) == (begun, "FINISHED")


def test_a_lost_worker_is_replaced_within_the_run(
    store: Path,
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(store, tmp_path / "saes", engine=EndedAt(TrainingHere(), STOPPED_AT, lose_the_worker, tmp_path / "ended"))
    assert f"a worker was lost (its node is gone); going on from step {LAST_KEPT}" in caplog.text
    assert f"going on from step {LAST_KEPT} of " in capsys.readouterr().err
    assert_equal_bits(tmp_path / "saes", finished)


def test_workers_that_are_lost_again_and_again_without_a_new_checkpoint_end_the_run(
    store: Path, tmp_path: Path
) -> None:
    class Losing(TrainingHere):
        runs = 0

        def train(self, *_: object) -> NoReturn:
            Losing.runs += 1
            lose_the_worker()

    with pytest.raises(WorkersLostError, match="its node is gone"):
        run(store, tmp_path, engine=Losing())
    assert Losing.runs == 3


def test_a_spoilt_checkpoint_is_passed_over(
    store: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "saes"
    with pytest.raises(Stopped):
        run(store, output, engine=EndedAt(TrainingHere(), STOPPED_AT, stop, tmp_path / "ended"))
    weights = output / f"checkpoints/step-{LAST_KEPT:08d}/beta-0-seed-0/sae.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    run(store, output)
    assert f"going on from step 4 of 16; the checkpoint of step {LAST_KEPT} is spoilt" in capsys.readouterr().err
    assert_equal_bits(output, finished)


def test_residence_does_not_matter(store: Path, finished: Path, tmp_path: Path) -> None:
    for residence in ("stream", "memory"):
        run(store, tmp_path / residence, residence=residence)
        assert_equal_bits(tmp_path / residence, finished)


def test_an_output_is_not_reused_for_another_training(
    store: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = shutil.copytree(finished, tmp_path / "saes")
    places = saes_in(output)
    with pytest.raises(InputError, match="another training: k is 4 there and 5 here"):
        run(store, output, dataclasses.replace(TRAINING, k=5))
    before = [Path(place, "sae.safetensors").stat().st_mtime_ns for place in places]
    assert run(store, output) == places
    assert "done before" in caplog.text
    assert [Path(place, "sae.safetensors").stat().st_mtime_ns for place in places] == before

    trained = dictionaries(places)
    shutil.rmtree(places[0])
    assert torch.equal(dictionaries(run(store, output))[0], trained[0])
    assert {path.name for path in output.iterdir()} >= {"curves.png", "done.json", "index.json", "training.json"}
    plan = json.loads((output / "training.json").read_text())
    del plan["null"]  # as before there were null runs
    (output / "training.json").write_text(json.dumps(plan))
    assert run(store, output) == places


def test_a_run_that_was_killed_after_its_work_is_finished_in_mlflow_by_the_same_command(
    store: Path, tmp_path: Path
) -> None:
    places = run(store, tmp_path, NULL)
    trained = logged_in(tmp_path).info
    MlflowClient(mlflow_runs.tracking_uri()).update_run(trained.run_id, status="RUNNING")
    assert run(store, tmp_path, NULL) == places
    assert logged_in(tmp_path).info.run_id == trained.run_id
    assert logged_in(tmp_path).info.status == "FINISHED"


def test_it_ends_with_what_came_of_it_and_the_command_that_measures_the_rest(
    store: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.start(TrainConfig(store=str(store), output=str(finished), training=TRAINING))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("SAE-A (β = 0.001) rebuilds the validation pairs at R² ")
    rows = [line.split("  ")[0] for line in lines]
    assert rows.index("SAE (β = 0)") + 1 == rows.index("SAE-A (β = 0.001)")  # two seeds, a row
    assert sum(line.startswith(("✓", "✗", "?", "≠")) for line in lines) == 4
    assert f"measure    isoenergy evaluate --store {store} --saes {finished}" in lines


def test_its_run_says_what_it_is_of_and_what_is_unusual_of_it(store: Path, tmp_path: Path) -> None:
    odd = dataclasses.replace(
        TRAINING, beta=(0.0,), seeds=1, epochs=1, sparse_encoder=SparseEncoder.parse("batch-top-k")
    )
    run(store, tmp_path / "out", odd)
    manifest = EmbeddingStore.open(str(store)).manifest
    called = logged_in(tmp_path / "out").info.run_name
    assert called == f"{manifest.encoder or last_part(manifest.source)} · batch-top-k · β 0 · 48 atoms · seed 0"


def test_a_run_leaves_its_metrics_and_curves_in_mlflow(finished: Path) -> None:
    done = json.loads((finished / "done.json").read_text())
    assert done["saes"] == ["beta-0-seed-0", "beta-0.001-seed-0", "beta-0-seed-1", "beta-0.001-seed-1"]
    logged = logged_in(finished)
    assert logged.info.status == "FINISHED"
    assert logged.data.params["training.sparse_encoder.name"] == "matching-pursuit"
    for key in ("r2_image", "r2_text", "l0", "dead_atoms", "alignment", "always_on_energy", "validation_r2"):
        assert f"beta-0.001-seed-1/{key}" in logged.data.metrics
    assert {"rows_per_second", "waiting_for_data"} <= set(logged.data.metrics)
    client = MlflowClient(mlflow_runs.tracking_uri())
    history = client.get_metric_history(logged.info.run_id, "beta-0-seed-0/l0")
    assert sorted(point.step for point in history) == list(range(1, done["steps"] + 1))
    assert "curves.png" in {item.path for item in client.list_artifacts(logged.info.run_id)}
    models = client.search_logged_models(
        [logged.info.experiment_id], f"source_run_id = '{logged.info.run_id}' AND tags.sae = 'beta-0.001-seed-1'"
    )
    digests = [model.tags["digest"] for model in models]
    assert digests == [SparseAutoencoder.load(finished / "beta-0.001-seed-1").digest]
    card = (finished / "beta-0-seed-0" / "README.md").read_text()
    assert "R² against the mean of all entries, on held-out pairs" in card


def test_each_sae_carries_the_sums_of_its_train_split(store: Path, finished: Path) -> None:
    opened = EmbeddingStore.open(str(store))
    for name in json.loads((finished / "done.json").read_text())["saes"]:
        assert carried_by(str(finished / name)) == Carried(opened.fingerprint, opened.pairs_in("train"))


def test_beta_is_found_and_the_search_is_not_repeated(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = dataclasses.replace(TRAINING, beta=parse_beta("auto:epochs=2,rounds=1"), seeds=1)
    places = run(store, tmp_path, training)
    curve = json.loads((tmp_path / "beta-search.json").read_text())
    tried = {item["beta"] for attempt in curve["attempts"].values() for item in attempt}
    assert curve["chosen"] in tried
    assert places[-1].endswith(f"beta-{curve['chosen']:g}")
    told = capsys.readouterr().err
    first = told.index("looking for beta: a short training of each of 0,1e-05,0.0001,0.001,0.01")
    assert first < told.index("looking for beta among 0,1e-05") < told.index("by short trainings:")

    (tmp_path / "done.json").unlink()
    shutil.rmtree(tmp_path / "checkpoints")
    for attempt in curve["attempts"].values():
        attempt[0]["r2"] += 1e-9  # to be seen again, if it is what is read
    (tmp_path / "beta-search.json").write_text(json.dumps(curve))
    assert run(store, tmp_path, training) == places
    assert json.loads((tmp_path / "beta-search.json").read_text())["attempts"] == curve["attempts"]


def test_unpaired_stores_train_with_a_penalty_that_needs_no_pairs(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store, tmp_path / "texts")
    texts = str(tmp_path / "texts")
    with pytest.raises(InputError, match="give --alignment iso-energy"):
        run(store, tmp_path / "saes", texts=texts)
    unpaired = dataclasses.replace(TRAINING, alignment=IsoEnergy(), seeds=1, epochs=2)
    places = run(store, tmp_path / "saes", unpaired, texts=texts)
    assert all(torch.isfinite(dictionary).all() for dictionary in dictionaries(places))
    assert {path.name for path in (tmp_path / "saes").glob("index*")} == {"index-images.json", "index-texts.json"}


def test_a_null_run_trains_the_aligned_sae_alone_and_says_everywhere_what_it_is(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place,) = run(store, tmp_path / "null", NULL)
    assert place.endswith("/null-beta-0.001")
    assert re.search(r"null-beta-0\.001, on \d+ shuffled pairs, .*; beta 0 is left out", caplog.text)
    sae = SparseAutoencoder.load(place)
    assert sae.config.null
    assert Path(place, "README.md").read_text().split("---")[2].startswith("\n\n# A null model")
    logged = logged_in(tmp_path / "null")
    assert logged.data.tags["null"] == "true"
    assert "null-beta-0.001/alignment" in logged.data.metrics

    true = dataclasses.replace(NULL, null=False)
    with pytest.raises(InputError, match="another training: null is true there and false here"):
        run(store, tmp_path / "null", true)
    aligned = dictionaries(run(store, tmp_path / "true", true))[-1]
    assert not torch.allclose(sae.dictionary, aligned, atol=1e-3)


def test_a_null_plan_says_what_is_trained_on_what(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, tmp_path / "saes", NULL, dry_run=True) == []
    printed = capsys.readouterr().out
    assert "shuffled pairs: each image gets the text of another" in printed
    assert "1 (null-beta-0.001) of" in printed


def test_a_plan_says_what_a_run_would_take_and_writes_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, tmp_path / "saes", dry_run=True) == []
    printed = capsys.readouterr().out
    for word in ("pairs ", "SAEs ", "steps ", "workers ", "memory ", "time ", "rows/s"):
        assert word in printed
    assert not (tmp_path / "saes").exists()


def test_a_plan_warns_of_a_beta_beyond_its_alignment_s_scale(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    too_much = dataclasses.replace(TRAINING, alignment=GroupSparse(), beta=(0.0, 0.05), seeds=1)
    assert run(store, tmp_path / "saes", too_much, dry_run=True) == []
    assert "beta 0.05 is a lot for group-sparse" in caplog.text


def test_a_bad_row_is_refused_by_shard_and_row_or_left_out(
    store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = shutil.copytree(store, tmp_path / "store")
    shard = spoil_a_train_pair(spoilt)
    with pytest.raises(InputError, match=rf"1 pair cannot be trained on: .*{shard}, row \d+, key .*: image is n"):
        run(spoilt, tmp_path / "saes")
    run(spoilt, tmp_path / "saes", skip_bad_rows=True)
    assert "1 bad pairs of " in caplog.text
    index = json.loads((tmp_path / "saes" / "index.json").read_text())
    assert list(index["skipped"]) == [shard]
    assert f"carries no {FITTED_FILE}: the store holds embeddings that are not finite" in caplog.text
    assert carried_by(f"{tmp_path}/saes/beta-0-seed-0") is None


def test_a_run_that_diverges_says_so_once(store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = dataclasses.replace(TRAINING, learning_rate=1e30, atom_norm="free", gradient_clip=1e30)
    with pytest.raises(InputError, match=r"not finite within 1 steps before step \d+; give a smaller --learning-rate"):
        run(store, tmp_path, training)
    assert "a worker was lost" not in caplog.text


def test_one_process_is_one_worker(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --workers 1 or auto"):
        run(store, tmp_path, workers=Workers(2, 2))


def test_a_preset_gives_what_options_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TrainConfig] = []
    monkeypatch.setattr(train, "run", lambda config: asked.append(config) or [])
    train.main(["siglip2", "--store", "s", "--k", "7"])
    (config,) = asked
    assert config.training == dataclasses.replace(presets.TRAINING["siglip2"], k=7)
    assert config.training.beta == (0.0, 7e-5)
