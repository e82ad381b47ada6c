"""`isoenergy train` on Ray: exact resume, any number of workers, bad input refused before the first step."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.training.trainer import TrainingConfig
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.processes import files_in, run_until
from tests.workflows.training.ended_training import EndedAt, kill_this_process
from tests.workflows.training.standing_training import STANDS_AT, TRAINING
from workflows import train
from workflows.command import causes
from workflows.train import TrainConfig
from workflows.training.ray_training import RayTraining
from workflows.training.training_engine import TrainingEngine
from workflows.training.training_placement import Workers

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]

SHORT = dataclasses.replace(TRAINING, epochs=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_planted_store(tmp_path_factory.mktemp("train") / "store", *planted_pairs(300, 24), pairs_a_shard=100)


@pytest.fixture(scope="module")
def whole(on_ray: None, store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[torch.Tensor]:  # noqa: ARG001
    """What an undisturbed run of `TRAINING` comes to, on two workers."""
    return dictionaries(run(store, tmp_path_factory.mktemp("whole"), TRAINING))


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


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    store: Path, tmp_path: Path, whole: list[torch.Tensor]
) -> None:
    output, stands = tmp_path / "saes", tmp_path / "stands"
    arguments = [str(store), str(output), str(stands)]
    run_until(arguments, stands.exists, "tests.workflows.training.standing_training")
    assert not (output / "done.json").exists()
    assert files_in(output / "checkpoints", "step-*/complete.json")
    for ours, theirs in zip(dictionaries(run(store, output, TRAINING)), whole, strict=True):
        assert torch.equal(ours, theirs)


def test_a_worker_that_is_killed_is_replaced_within_the_run(
    store: Path,
    tmp_path: Path,
    whole: list[torch.Tensor],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed = tmp_path / "killed"
    places = run(store, tmp_path, TRAINING, engine=EndedAt(RayTraining(), STANDS_AT, kill_this_process, killed))
    assert killed.exists()
    assert re.search(r"a worker was lost \(.*\); going on from step 8\n", caplog.text)
    assert "train: going on from step 8 of 16" in capsys.readouterr().err
    for ours, theirs in zip(dictionaries(places), whole, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("null", [False, True])
def test_workers_and_residence_do_not_matter(store: Path, tmp_path: Path, null: bool) -> None:
    training = dataclasses.replace(SHORT, null=null, seeds=1 if null else 2)
    two = dictionaries(run(store, tmp_path / "two", training))
    streamed = dictionaries(run(store, tmp_path / "streamed", training, workers=1, residence="stream"))
    for one, other in zip(streamed, two, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_more_workers_than_cpus_are_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"99 workers need as many CPUs, and the cluster has \d+; give --workers"):
        run(store, tmp_path, dataclasses.replace(SHORT, batch_pairs=200), workers=99)


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
