"""Bias atoms: the modalities' mean directions as atoms, held where they are, and left out of the alignment."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from isoenergy import pursuit
from isoenergy.alignments import Alignment, GroupSparse, IsoEnergy
from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.group import SaeGroup
from isoenergy.sae.sae_config import CONFIG_FILE, MODALITIES, SaeConfig
from isoenergy.sparse_encoders import TopK
from isoenergy.store.batches import PairBatches
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows
from isoenergy.training.trainer import Trainer, TrainingConfig

DIM = 8
CONFIG = TrainingConfig(
    beta=(0.0, 1e-2), atoms=24, k=3, epochs=3, batch_pairs=20, learning_rate=1e-2, bias_atoms="means", log_every=1
)


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Pairs in two cones."""
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(120, DIM))
    return tuple((shared + 2 * side).astype(np.float32) for side in np.eye(DIM)[:2])  # type: ignore[return-value]


def means() -> dict[str, torch.Tensor]:
    both = zip(MODALITIES, rows(), strict=True)
    return {name: normalize(torch.from_numpy(x), dim=1).mean(0) for name, x in both}


def trainer(config: TrainingConfig = CONFIG) -> Trainer:
    return Trainer(config, PairBatches.of_arrays(*rows(), config.batch_pairs, seed=0), DIM, means=means())


def directions() -> torch.Tensor:
    return normalize(torch.stack(list(means().values())), dim=1)


def test_they_begin_as_the_means_and_stay_so_to_the_bit() -> None:
    begun = trainer()
    before = [sae.dictionary.detach().clone() for sae in begun.group.saes]
    begun.run(None)
    for sae, was in zip(begun.group.saes, before, strict=True):
        torch.testing.assert_close(was[:2], directions())
        assert torch.equal(sae.dictionary[:2], was[:2])
        assert not torch.equal(sae.dictionary[2:], was[2:])
        torch.testing.assert_close(sae.dictionary.norm(dim=1), torch.ones(24))


def test_learned_ones_begin_there_and_move() -> None:
    begun = trainer(dataclasses.replace(CONFIG, bias_learned=True))
    torch.testing.assert_close(begun.group.saes[0].dictionary[:2].detach(), directions())
    begun.run(None)
    assert not torch.allclose(begun.group.saes[0].dictionary[:2], directions(), atol=1e-3)


@pytest.mark.parametrize("alignment", ["masked-cosine", "cosine"])
def test_the_alignment_leaves_them_out_whatever_their_rank(alignment: str) -> None:
    config = dataclasses.replace(CONFIG, alignment=Alignment.parse(alignment))
    group = trainer(config).group
    batch = [torch.from_numpy(x[:30]) for x in rows()]
    losses = group(batch, torch.zeros(2, 24, dtype=torch.bool)).losses
    for sae, (_, term, *_) in zip(group.saes, losses, strict=True):
        codes = [sae.encode(sae.prepare(x, m)) for x, m in zip(batch, MODALITIES, strict=True)]
        dense = [each.to_dense(24).double() for each in codes]
        expected = -cosine_similarity(*(code[:, 2:] for code in dense), eps=1e-12)
        torch.testing.assert_close(term.double(), expected.mean(), rtol=0, atol=1e-6)


def test_other_terms_leave_them_out_too() -> None:
    for alignment in (IsoEnergy(), GroupSparse()):
        group = SaeGroup(dataclasses.replace(CONFIG, alignment=alignment).saes(DIM))
        for sae in group.saes:
            sae.start_bias_atoms(means())
        batch = [torch.from_numpy(x[:30]) for x in rows()]
        losses = group(batch, torch.zeros(2, 24, dtype=torch.bool)).losses
        sae = group.saes[0]
        bare = [sae(sae.prepare(x, m)) for x, m in zip(batch, ("image", "text"), strict=True)]
        bare = [codes.keep(torch.arange(24) >= 2) for codes in bare]
        torch.testing.assert_close(losses[0, 1], alignment(*bare, 24))


def test_a_frozen_atom_is_never_revived() -> None:
    begun = trainer(dataclasses.replace(CONFIG, revival=0.3, dead_after=1))
    begun._idle_steps += 5
    assert not begun._dead_atoms()[:, :2].any()
    assert begun._dead_atoms()[:, 2:].all()


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    def report(step: int, _metrics: object, save: object) -> None:
        if save is not None:
            (tmp_path / str(step)).mkdir()
            save(tmp_path / str(step))  # type: ignore[operator]

    config = dataclasses.replace(CONFIG, checkpoint_every=6)
    whole = trainer(config)
    whole.run(report)
    later = trainer(config)
    later.load(tmp_path / "6")
    later.run(lambda *_: None)
    for one, other in zip(whole.group.saes, later.group.saes, strict=True):
        assert torch.equal(one.dictionary, other.dictionary)
    loaded = SparseAutoencoder.load(tmp_path / "18" / "beta-0.01")
    assert (loaded.config.bias_atoms, loaded.config.bias_count, loaded.config.frozen_count) == ("means", 2, 2)
    assert torch.equal(loaded.dictionary, whole.group.saes[1].dictionary)


def test_what_has_no_mean_to_begin_from_is_refused() -> None:
    plain = SaeConfig(dim=DIM, atoms=24, k=3, beta=0.0)
    assert (plain.bias_count, plain.frozen_count) == (0, 0)
    for other in ({"input": "centred"}, {"widths": (4, 4)}, {"sparse_encoder": TopK()}):
        with pytest.raises(InputError, match="bias_atoms means needs one dictionary"):
            dataclasses.replace(plain, bias_atoms="means", **other)
    with pytest.raises(InputError, match="more than the 2 bias atoms"):
        dataclasses.replace(plain, bias_atoms="means", atoms=2, k=2)
    with pytest.raises(InputError, match="bias_atoms must be one of none, means"):
        dataclasses.replace(plain, bias_atoms="mean")
    with pytest.raises(InputError, match="bias atoms need the mean"):
        Trainer(CONFIG, PairBatches.of_arrays(*rows(), CONFIG.batch_pairs, seed=0), DIM)
    sae = SparseAutoencoder(dataclasses.replace(plain, bias_atoms="means"))
    with pytest.raises(InputError, match="the mean of text is 0"):
        sae.start_bias_atoms({"image": torch.ones(DIM), "text": torch.zeros(DIM)})


def test_without_them_all_is_as_if_there_were_none(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, bias_atoms="none")
    knows_means = trainer(config)
    knows_none = Trainer(config, PairBatches.of_arrays(*rows(), config.batch_pairs, seed=0), DIM)
    for each in (knows_means, knows_none):
        each.run(None)
    sae = knows_none.group.saes[1]
    assert [s.digest for s in knows_means.group.saes] == [s.digest for s in knows_none.group.saes]
    sae.save(tmp_path)
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    of_before = {name: value for name, value in values.items() if not name.startswith("bias_")}
    (tmp_path / CONFIG_FILE).write_text(json.dumps(of_before))
    loaded = SparseAutoencoder.load(tmp_path)
    assert (loaded.config, loaded.digest) == (sae.config, sae.digest)


def test_every_backend_trains_the_same_and_leaves_them_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = {}
    for backend in ("oracle", "cpu", "residual"):
        monkeypatch.setattr(pursuit, "_form", lambda *_, form=backend: form)
        begun = trainer(dataclasses.replace(CONFIG, epochs=1))
        begun.run(None)
        trained[backend] = begun.group.saes[1].dictionary.detach()
        torch.testing.assert_close(trained[backend], trained["oracle"], rtol=0, atol=2e-5)
        torch.testing.assert_close(trained[backend][:2], directions(), rtol=0, atol=1e-6)


def test_each_of_three_modalities_has_its_own() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(size=(120, DIM))
    vectors = {name: (shared + 2 * np.eye(DIM)[n]).astype(np.float32) for n, name in enumerate("abc")}
    there = {name: normalize(torch.from_numpy(x), dim=1).mean(0) for name, x in vectors.items()}
    batches = PairBatches(PairOrder(np.array([0, 120]), CONFIG.batch_pairs, 0), ArrayRows(vectors))
    begun = Trainer(CONFIG, batches, dict.fromkeys(vectors, DIM), means=there)
    begun.run(None)
    for sae in begun.group.saes:
        assert (sae.config.bias_count, sae.config.frozen_count) == (3, 3)
        torch.testing.assert_close(sae.dictionary[:3].detach(), normalize(torch.stack([*there.values()]), dim=1))
        assert sae.dictionary[3:].isfinite().all()
