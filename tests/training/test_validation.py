import math

import numpy as np
import pytest
import torch

from isoenergy.metrics.retrieval import recall_at
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.training.validation import ValidationMeasures, validation_measures
from tests.training.planted_pairs import planted


def drawn(atoms: int = 24, k: int = 3) -> SparseAutoencoder:
    return SparseAutoencoder(SaeConfig(dim=8, atoms=atoms, k=k, beta=0.0), torch.Generator().manual_seed(0))


def pairs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    held = planted(count, gap=4)
    return torch.from_numpy(held.images), torch.from_numpy(held.texts)


def plainly(sae: SparseAutoencoder, images: torch.Tensor, texts: torch.Tensor) -> ValidationMeasures:
    """The same from dense float64 codes, as the paper defines them."""
    dictionary = sae.dictionary.detach().double().numpy()
    rows = [torch.nn.functional.normalize(part.float(), dim=1) for part in (images, texts)]
    codes = [sae.encode(part).to_dense(sae.config.atoms).detach().double().numpy() for part in rows]
    x = [part.double().numpy() for part in rows]
    energies = [(z**2).mean(0) for z in codes]
    total = sum(energies) / 2
    score = np.divide(energies[0], energies[0] + energies[1], out=np.full(len(total), np.nan), where=total > 0)
    bimodal, always = (score >= 0.05) & (score <= 0.95), (np.vstack(codes) != 0).mean(0) > 0.9
    errors = [((part - z @ dictionary) ** 2).sum(1) for part, z in zip(x, codes, strict=True)]
    r2 = [1 - (e.mean() / 8) / (part.var() + 1e-6) for e, part in zip(errors, x, strict=True)]
    bias = total @ dictionary / total.sum()
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
    sae, (images, texts) = drawn(atoms, k), pairs(count)
    ours, plain = vars(validation_measures(sae, images, texts)), vars(plainly(sae, images, texts))
    for name, value in plain.items():
        rounding = 2 / count if name == "delta_r1" else 2e-6  # neighbours that are as near but for rounding
        assert ours[name] == pytest.approx(value, abs=rounding), name


def test_one_pair_and_training_mode_are_no_trouble() -> None:
    sae = drawn().train()
    measures = validation_measures(sae, *pairs(1))
    assert sae.training
    assert math.isfinite(measures.r2)
    assert measures.delta_r1 == 0
