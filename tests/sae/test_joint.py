"""Training on any modalities: a dictionary for each or one for all, resumed bit for bit; planted atoms are found."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.alignments import Cosine
from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.joint import JointAutoencoder, load_autoencoder
from isoenergy.sparse_encoders import JumpReLU
from isoenergy.statistics.modality_shares import modality_shares, sharing_modalities, subset_name, subset_numbers
from isoenergy.store.batches import Batches, PairBatches, UnpairedBatches
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows
from isoenergy.training.trainer import Metrics, SaveCheckpoint, Trainer, TrainingConfig

CONFIG = TrainingConfig(
    beta=(0.0, 1e-2), atoms=16, k=3, epochs=3, batch_pairs=20, learning_rate=1e-2, log_every=2, checkpoint_every=4
)
THREE = {"sight": 8, "sound": 8, "words": 6}


def vectors(widths: dict[str, int], rows: int = 130) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shared = generator.exponential(size=(rows, 4)) * (generator.random((rows, 4)) < 0.4)
    found = {}
    for name, width in widths.items():
        atoms = generator.normal(size=(4, width))
        found[name] = (shared @ atoms + 0.3 + 0.05 * generator.normal(size=(rows, width))).astype(np.float32)
    return found


def batches_of(rows: dict[str, np.ndarray], config: TrainingConfig) -> Batches:
    pairs = len(next(iter(rows.values())))
    order = PairOrder(np.array([0, pairs]), config.batch_pairs, 0, pairs)
    if config.null:
        return UnpairedBatches.shuffled(order, *(ArrayRows({name: part}) for name, part in rows.items()))
    return PairBatches(order, ArrayRows(rows))


def trained(widths: dict[str, int], config: TrainingConfig, folder: Path, resume: Path | None = None) -> Trainer:
    rows = vectors(widths)
    means = {name: torch.full((width,), 0.01) for name, width in widths.items()}
    validation = tuple(torch.from_numpy(part[:20]) for part in rows.values())
    trainer = Trainer(config, batches_of(rows, config), widths, means=means, validation=validation)
    if resume is not None:
        trainer.load(resume)

    def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        assert all(np.isfinite(list(metrics.values())))
        first = next(iter(config.names))
        assert [key for key in metrics if key.startswith(f"{first}/r2_")] == [f"{first}/r2_{name}" for name in widths]
        if save is not None:
            save(folder / str(step))

    trainer.run(report)
    return trainer


CASES = {
    "a dictionary each": (THREE, CONFIG),
    "centred, revived": (THREE, dataclasses.replace(CONFIG, input="centred", revival=0.1, dead_after=2, seeds=2)),
    "another encoder": (THREE, dataclasses.replace(CONFIG, sparse_encoder=JumpReLU())),
    "one dictionary for three": (dict.fromkeys(THREE, 8), CONFIG),
    "a dictionary each, of one width": ({"a": 8, "b": 8}, dataclasses.replace(CONFIG, dictionaries="own")),
    "shuffled": (THREE, dataclasses.replace(CONFIG, null=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_resumed_run_equals_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    widths, config = CASES[name]
    whole = trained(widths, config, tmp_path / "whole")
    resumed = trained(widths, config, tmp_path / "resumed", tmp_path / "whole" / "8")
    for file in ("trainer.json", "trainer.safetensors"):
        assert (tmp_path / "whole" / "18" / file).read_bytes() == (tmp_path / "resumed" / "18" / file).read_bytes()
    for sae, one, other in zip(whole.group.names, whole.group.saes, resumed.group.saes, strict=True):
        assert one.digest == other.digest == load_autoencoder(tmp_path / "whole" / "18" / sae).digest
        assert one.config.modalities == tuple(widths)
        assert isinstance(one, SparseAutoencoder if name == "one dictionary for three" else JointAutoencoder)
        for part in one.dictionaries:
            torch.testing.assert_close(part.dictionary.norm(dim=1), torch.ones(16))


def test_two_dictionaries_of_one_start_and_codes_are_each_what_a_single_one_is() -> None:
    joint = Trainer(dataclasses.replace(CONFIG, beta=(0.0,)), batches_of(vectors(THREE), CONFIG), THREE).group
    rows = [torch.from_numpy(part) for part in vectors(THREE).values()]
    output = joint(rows, torch.zeros(1, 16, dtype=torch.bool))
    assert output.sums is not None
    (sae,) = joint.saes
    errors, entries = 0.0, 0
    for name, part in zip(THREE, rows, strict=True):
        alone = sae.part(name)
        codes = alone.encode(alone.prepare(part, name))
        errors += codes.residual.detach().square().sum().item()
        entries += codes.residual.numel()
    assert output.losses[0, 0].item() == pytest.approx(errors / entries, rel=1e-5)


def test_alignment_makes_dictionaries_of_two_widths_share_their_atoms() -> None:
    widths, found = {"vision": 12, "language": 20}, []
    rows = vectors(widths, 600)
    config = dataclasses.replace(CONFIG, epochs=20, batch_pairs=60, beta=(0.0, 1e-1), alignment=Cosine())
    trainer = Trainer(config, batches_of(rows, config), widths)
    trainer.run(None)
    for sae in trainer.group.saes:
        codes = [sae.part(m).encode(sae.prepare(torch.from_numpy(x), m)).to_dense(16) for m, x in rows.items()]
        found.append(torch.nn.functional.cosine_similarity(*codes, dim=1).mean().item())
    assert found[1] > 2 * found[0]


@pytest.mark.parametrize("null", [False, True])
def test_atoms_of_one_number_begin_as_one_pair_whatever_the_number_of_workers(null: bool) -> None:
    config, rows = dataclasses.replace(CONFIG, null=null), vectors(THREE)
    groups = []
    for rank, workers in ((0, 1), (2, 3)):
        batches = batches_of(rows, config)
        parts = batches.parts if isinstance(batches, UnpairedBatches) else (batches,)
        shared = tuple(dataclasses.replace(part, rank=rank, workers=workers) for part in parts)  # type: ignore[type-var]
        if isinstance(batches, UnpairedBatches):
            batches = dataclasses.replace(batches, parts=shared)
        else:
            (batches,) = shared
        groups.append(Trainer(config, batches, THREE).group)
    for one, other in zip(groups[0].saes, groups[1].saes, strict=True):
        assert one.digest == other.digest
    place = {}
    for name, part in rows.items():
        unit = torch.nn.functional.normalize(torch.from_numpy(part), dim=1)
        cosine, place[name] = (groups[0].saes[-1].part(name).dictionary.detach() @ unit.T).max(dim=1)
        torch.testing.assert_close(cosine, torch.ones(16))
    same = place["sight"] == place["sound"]
    assert not same.any() if null else same.all()


def test_three_modalities_with_one_dictionary_learn_which_of_them_share_what() -> None:
    names = ("sight", "sound", "words")
    sets = ["sight+sound+words"] * 3 + ["sight+sound", "sound+words", "words"]
    generator = np.random.default_rng(0)
    active = (generator.random((600, 6)) < 0.3) * generator.uniform(0.5, 1.5, (600, 6))
    active[:, 0] += 0.7
    atoms = np.linalg.qr(generator.normal(size=(12, 12)))[0][:6]
    rows = {}
    for name in names:
        clean = (active * [name in its.split("+") for its in sets]) @ atoms
        rows[name] = (clean + 0.03 * generator.normal(size=(600, 12))).astype(np.float32)
    config = dataclasses.replace(CONFIG, beta=(1e-3,), atoms=12, epochs=15, batch_pairs=50)
    trainer = Trainer(config, batches_of(rows, config), dict.fromkeys(names, 12))
    trainer.run(None)
    (sae,) = trainer.group.saes
    assert isinstance(sae, SparseAutoencoder)
    with torch.no_grad():
        codes = [sae.encode(sae.prepare(torch.from_numpy(x), name)) for name, x in rows.items()]
    energies = np.stack([code.energy(12).double().numpy() for code in codes])
    numbers = subset_numbers(sharing_modalities(modality_shares(energies)))
    nearest = (atoms @ sae.dictionary.detach().numpy().T).argmax(axis=1)
    assert [subset_name(int(numbers[atom]), names) for atom in nearest] == sets


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one dictionary cannot serve vectors of widths 8, 8, 6; give --dict"):
        dataclasses.replace(CONFIG, dictionaries="shared").saes(THREE)
    trained(THREE, dataclasses.replace(CONFIG, epochs=1), tmp_path)
    folder = tmp_path / "4" / "beta-0"
    with pytest.raises(InputError, match=r"a dictionary for each modality: JointAutoencoder\.load takes it"):
        SparseAutoencoder.load(folder)
    assert JointAutoencoder.load(folder).config.widths == (8, 8, 6)
    config = json.loads((folder / "config.json").read_text())
    for spoilt in ({"widths": [8, 8]}, {"widths": [8, 7, 7]}, {"modalities": ["a.b", "c", "d"]}, {"atoms": 10**9}):
        (folder / "config.json").write_text(json.dumps(config | spoilt))
        with pytest.raises(InputError, match="is not a checkpoint"):
            JointAutoencoder.load(folder)
