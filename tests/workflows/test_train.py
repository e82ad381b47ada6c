import shutil
from pathlib import Path

import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.training import TrainingConfig
from tests.conftest import written_rows
from tests.workflows.conftest import files_in, run_until
from workflows import embed, train
from workflows.embed import EmbedConfig
from workflows.train import TrainConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]

TRAINING = TrainingConfig(
    betas=(0.0, 1e-3), expansion=2, k=4, epochs=100, batch_pairs=60, learning_rate=5e-3, checkpoint_every=50
)


@pytest.fixture(scope="module")
def store(
    on_ray: None,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
    bundled_rows: list[dict],
    other_encoder: Path,
) -> Path:
    folder = tmp_path_factory.mktemp("train")
    written_rows(bundled_rows[:300], folder / "pairs.parquet")
    embed.run(
        EmbedConfig(
            output=str(folder / "store"), pairs=str(folder / "pairs.parquet"), encoder=f"open_clip:{other_encoder}"
        )
    )
    return folder / "store"


def dictionaries(folders: list[Path]) -> list[torch.Tensor]:
    return [SparseAutoencoder.load(folder).dictionary.detach() for folder in folders]


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(store: Path, tmp_path: Path) -> None:
    whole = train.run(TrainConfig(store=str(store), output=tmp_path / "whole", training=TRAINING))
    settings = {
        "--store": store,
        "--output": tmp_path / "killed",
        "--epochs": TRAINING.epochs,
        "--expansion": TRAINING.expansion,
        "--k": TRAINING.k,
        "--batch-pairs": TRAINING.batch_pairs,
        "--learning-rate": TRAINING.learning_rate,
        "--checkpoint-every": TRAINING.checkpoint_every,
    }
    arguments = ["train", *(str(word) for setting in settings.items() for word in setting), "--betas", "0.0", "0.001"]
    checkpoints = tmp_path / "killed" / "checkpoints"
    run_until(arguments, lambda: len(files_in(checkpoints, "checkpoint_*/trainer.json")) >= 2)
    assert not files_in(tmp_path / "killed", "beta-*")

    config = TrainConfig(store=str(store), output=tmp_path / "killed", training=TRAINING)
    for a, b in zip(dictionaries(whole), dictionaries(train.run(config)), strict=True):
        assert torch.equal(a, b)


def test_the_number_of_workers_does_not_matter(store: Path, tmp_path: Path) -> None:
    short = TrainingConfig(betas=(0.0, 1e-3), expansion=2, k=4, epochs=2, batch_pairs=50, learning_rate=5e-3)
    trained = [
        dictionaries(train.run(TrainConfig(store=str(store), output=tmp_path / str(n), workers=n, training=short)))
        for n in (1, 3)
    ]
    for one, three in zip(*trained, strict=True):
        torch.testing.assert_close(one, three, atol=1e-5, rtol=0)


def test_an_output_is_not_reused_for_another_training(store: Path, tmp_path: Path) -> None:
    short = TrainingConfig(betas=(0.0,), expansion=2, k=4, epochs=1, batch_pairs=50)
    folders = train.run(TrainConfig(store=str(store), output=tmp_path, workers=1, training=short))
    other = TrainingConfig(betas=(0.0,), expansion=2, k=5, epochs=1, batch_pairs=50)
    with pytest.raises(InputError, match="another training: k is 4 there and 5 here"):
        train.run(TrainConfig(store=str(store), output=tmp_path, workers=1, training=other))
    before = [(folder / "sae.safetensors").stat().st_mtime_ns for folder in folders]
    train.run(TrainConfig(store=str(store), output=tmp_path, workers=1, training=short))
    assert [(folder / "sae.safetensors").stat().st_mtime_ns for folder in folders] == before

    trained = dictionaries(folders)
    shutil.rmtree(folders[0])
    again = train.run(TrainConfig(store=str(store), output=tmp_path, workers=1, training=short))
    assert torch.equal(dictionaries(again)[0], trained[0])
