import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.sae import SaeConfig
from isoenergy.store import PairArrays
from isoenergy.store.batches import PairBatches
from isoenergy.training import Metrics, SaeGroup, SaveCheckpoint, Trainer, TrainingConfig

CONFIG = TrainingConfig(
    betas=(0.0, 1e-2), expansion=3, k=3, epochs=3, batch_pairs=20, learning_rate=2e-2, log_every=2, checkpoint_every=4
)


@pytest.fixture(scope="module")
def pairs() -> PairArrays:
    """Pairs of four shared concepts and a constant of each modality."""
    generator = np.random.default_rng(0)
    concepts = generator.normal(size=(4, 8))
    mixture = generator.dirichlet([0.3] * 4, size=130) @ concepts
    noise = 0.05 * generator.normal(size=(2, 130, 8))
    images, texts = mixture + noise[0] + [2, 0, 0, 0, 0, 0, 0, 0], mixture + noise[1] - [2, 0, 0, 0, 0, 0, 0, 0]
    return PairArrays(np.array([str(n) for n in range(130)], object), images.astype("f2"), texts.astype("f2"))


def train(pairs: PairArrays, config: TrainingConfig, folder: Path, resume: Path | None = None) -> Trainer:
    trainer = Trainer(config, PairBatches(pairs, config.batch_pairs, config.seed))
    if resume is not None:
        trainer.load(resume)

    def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        assert all(np.isfinite(list(metrics.values())))
        if save is not None:
            save(folder / str(step))

    trainer.run(report)
    return trainer


@pytest.mark.parametrize("step", [4, 8, 12])
@pytest.mark.parametrize("revival", [0.0, 0.1])
def test_a_resumed_run_equals_an_uninterrupted_one(
    pairs: PairArrays, tmp_path: Path, step: int, revival: float
) -> None:
    config = dataclasses.replace(CONFIG, revival=revival, dead_after=2)
    whole = train(pairs, config, tmp_path / "whole")
    resumed = train(pairs, config, tmp_path / "resumed", tmp_path / "whole" / str(step))
    for a, b in zip(whole.group.parameters(), resumed.group.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (tmp_path / "whole" / "18" / "trainer.json").read_text() == (
        tmp_path / "resumed" / "18" / "trainer.json"
    ).read_text()


def test_dead_atoms_are_counted_and_revived(pairs: PairArrays) -> None:
    ends = []
    for revival in (0.0, 0.1):
        config = dataclasses.replace(CONFIG, betas=(0.0,), expansion=16, k=2, epochs=25, dead_after=30, revival=revival)
        history: list[tuple[int, Metrics]] = []
        trainer = Trainer(config, PairBatches(pairs, config.batch_pairs, config.seed))
        trainer.run(lambda step, metrics, _save, history=history: history.append((step, metrics)))
        assert all(metrics["beta-0/dead_atoms"] == 0 for step, metrics in history if step < 30)
        ends.append(history[-1][1])
    without, revived = ends
    assert revived["beta-0/dead_atoms"] < 0.8 * without["beta-0/dead_atoms"]
    assert revived["beta-0/reconstruction_loss"] < without["beta-0/reconstruction_loss"]


@pytest.mark.parametrize("revival", [0.0, 0.1])
def test_a_training_step_keeps_nothing_of_the_size_of_dense_codes(pairs: PairArrays, revival: float) -> None:
    config = dataclasses.replace(CONFIG, expansion=400, revival=revival, alignment="masked-cosine")
    group = SaeGroup(config, 8)
    images, texts = (torch.from_numpy(rows).float() for rows in (pairs.images, pairs.texts))
    dead = torch.zeros(2, 3200, dtype=torch.bool)
    dead[:, ::2] = True
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        group(images, texts, dead)
    for parameter in group.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    dense_row = 4 * 3200
    assert sum(kept.values()) < 2 * len(images) * dense_row / 10
    assert max(kept.values()) < len(images) * dense_row / 10


def test_training_lowers_the_loss_and_alignment_aligns(pairs: PairArrays) -> None:
    history: list[Metrics] = []
    trainer = Trainer(dataclasses.replace(CONFIG, epochs=30), PairBatches(pairs, 20, 0))
    trainer.run(lambda _step, metrics, _save: history.append(metrics))
    assert history[-1]["beta-0/reconstruction_loss"] < 0.5 * history[0]["beta-0/reconstruction_loss"]
    assert history[-1]["beta-0.01/alignment"] < history[-1]["beta-0/alignment"]


def test_all_saes_start_alike_and_a_zero_beta_ignores_alignment(pairs: PairArrays, tmp_path: Path) -> None:
    both, alone = (
        train(pairs, dataclasses.replace(CONFIG, betas=betas), tmp_path / str(len(betas)))
        for betas in ((0.0, 1e-2), (0.0,))
    )
    fresh = Trainer(CONFIG, PairBatches(pairs, 20, 0)).group.saes
    assert torch.equal(fresh[0].dictionary, fresh[1].dictionary)
    assert torch.equal(both.group.saes[0].dictionary, alone.group.saes[0].dictionary)
    assert not torch.equal(both.group.saes[0].dictionary, both.group.saes[1].dictionary)


def test_saved_atoms_have_unit_norm(pairs: PairArrays, tmp_path: Path) -> None:
    train(pairs, CONFIG, tmp_path)
    sae = SparseAutoencoder.load(tmp_path / "18" / "beta-0.01")
    assert sae.config == SaeConfig(dim=8, atoms=24, k=3, beta=1e-2)
    torch.testing.assert_close(sae.dictionary.norm(dim=1), torch.ones(24))


def test_resuming_with_other_settings_names_them(pairs: PairArrays, tmp_path: Path) -> None:
    train(pairs, CONFIG, tmp_path)
    with pytest.raises(InputError, match="k is 3 there and 4 here; seed is 0 there and 1 here"):
        train(pairs, dataclasses.replace(CONFIG, k=4, seed=1), tmp_path / "other", tmp_path / "4")
    (tmp_path / "4" / "trainer.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(InputError, match="is not a training checkpoint"):
        train(pairs, CONFIG, tmp_path / "other", tmp_path / "4")


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"epochs": -1}, {"learning_rate": 0.0}, {"betas": ()}, {"betas": (1.0, 1.0)}]
)
def test_impossible_settings_are_named(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        TrainingConfig(**wrong)
