import math

import numpy as np
import pytest
import torch

from isoenergy.metrics.retrieval import recall_at
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.training.validation import ValidationMeasures, validation_measures
from tests.training.planted_pairs import planted

Pairs = tuple[torch.Tensor, torch.Tensor]


def drawn(atoms: int = 24, k: int = 3) -> SparseAutoencoder:
    return SparseAutoencoder(SaeConfig(dim=8, atoms=atoms, k=k, beta=0.0), torch.Generator().manual_seed(0))


def pairs(count: int, seed: int = 0) -> Pairs:
    held = planted(count, gap=4, seed=seed)
    return torch.from_numpy(held.images), torch.from_numpy(held.texts)


def densely(sae: SparseAutoencoder, pairs: Pairs) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Float64 rows and codes."""
    rows = [torch.nn.functional.normalize(part.float(), dim=1) for part in pairs]
    codes = [sae.encode(part).to_dense(sae.config.atoms).detach().double().numpy() for part in rows]
    return [part.double().numpy() for part in rows], codes


def plainly(sae: SparseAutoencoder, measured: Pairs, fitting: Pairs) -> ValidationMeasures:
    """The same from dense float64 codes, as the paper defines them."""
    dictionary = sae.dictionary.detach().double().numpy()
    x, codes = densely(sae, measured)
    energies = [(z**2).mean(0) for z in codes]
    total = sum(energies) / 2
    there = [(z**2).mean(0) for z in densely(sae, fitting)[1]]
    fitted = sum(there) / 2
    score = np.divide(there[0], there[0] + there[1], out=np.full(len(total), np.nan), where=fitted > 0)
    bimodal, always = (score >= 0.05) & (score <= 0.95), (np.vstack(codes) != 0).mean(0) > 0.9
    errors = [((part - z @ dictionary) ** 2).sum(1) for part, z in zip(x, codes, strict=True)]
    r2 = [1 - (e.mean() / 8) / (part.var() + 1e-6) for e, part in zip(errors, x, strict=True)]
    bias = fitted @ dictionary / fitted.sum()
    positive = [((part - bias) @ dictionary.T > 0).mean(0) for part in x]
    accuracy = (positive[0] + 1 - positive[1]) / 2
    unseparated = 1.5 - np.maximum(accuracy, 1 - accuracy)
    probe = np.where(score > 0.95, accuracy, np.where(score < 0.05, 1 - accuracy, unseparated))
    full, kept = ([torch.from_numpy((z * mask) @ dictionary) for z in codes] for mask in (1.0, bimodal))
    recall = [np.mean([recall_at(a, b, (1,))[1], recall_at(b, a, (1,))[1]]) for a, b in (full, kept)]
    return ValidationMeasures(
        r2=float(np.mean(r2)),
        mse=float(np.concatenate(errors).mean()),
        bimodal_energy=float(total[bimodal & ~always].sum() / total.sum()),
        p_acc=float((total * np.nan_to_num(probe)).sum() / total.sum()),
        delta_r1=float(recall[1] - recall[0]),
        always_on_energy=float(total[always].sum() / total.sum()),
        dead_atom_share=float((total == 0).mean()),
    )


@pytest.mark.parametrize(("atoms", "k", "count"), [(24, 3, 300), (16, 4, 41), (64, 5, 260)])
def test_the_measures_are_those_of_dense_codes(atoms: int, k: int, count: int) -> None:
    sae, measured, fitting = drawn(atoms, k), pairs(count), pairs(2 * count, seed=1)
    ours, plain = vars(validation_measures(sae, measured, fitting)), vars(plainly(sae, measured, fitting))
    for name, value in plain.items():
        rounding = 2 / count if name == "delta_r1" else 2e-6  # neighbours that are as near but for rounding
        assert ours[name] == pytest.approx(value, abs=rounding), name


def test_one_pair_and_training_mode_are_no_trouble() -> None:
    sae = drawn().train()
    measures = validation_measures(sae, pairs(1), pairs(300))
    assert sae.training
    assert math.isfinite(measures.r2)
    assert measures.delta_r1 == -1  # none of its atoms is bimodal: rows of zeros are no hits


def test_an_atom_that_is_rare_in_the_measured_pairs_keeps_its_class() -> None:
    held = planted(300, gap=0, seed=2)
    many = torch.from_numpy(held.images), torch.from_numpy(held.texts)
    few = many[0][:2], many[1][:2]
    by_many, by_few = (validation_measures(drawn(), few, fitting).bimodal_energy for fitting in (many, few))
    assert by_many > by_few
