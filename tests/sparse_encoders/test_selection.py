"""What TopK, ReLU and BatchTopK select, and what it costs them."""

import pytest
import torch
from torch import Tensor

from isoenergy import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import BatchTopK, ReLU, SparseEncoder, TopK

DIM, ATOMS, K = 6, 20, 4


def sae_of(encoder: SparseEncoder, seed: int = 0, k: int = K) -> SparseAutoencoder:
    """An SAE whose encoder differs from its dictionary."""
    generator = torch.Generator().manual_seed(seed)
    sae = SparseAutoencoder(SaeConfig(dim=DIM, atoms=ATOMS, k=k, beta=0.0, sparse_encoder=encoder), generator)
    with torch.no_grad():
        sae.encoder.weight.add_(0.2 * torch.randn(ATOMS, DIM, generator=generator))
        sae.encoder.bias.add_(0.2 * torch.randn(ATOMS, generator=generator))
    return sae


def batch(seed: int = 1, rows: int = 30) -> Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed))


def scores_of(sae: SparseAutoencoder, x: Tensor) -> Tensor:
    return x @ sae.encoder.weight.T + sae.encoder.bias


def test_an_encoder_starts_as_the_dictionary_without_a_bias() -> None:
    for encoder in (TopK(), ReLU(), BatchTopK()):
        sae = SparseAutoencoder(SaeConfig(dim=DIM, atoms=ATOMS, k=K, beta=0.0, sparse_encoder=encoder))
        assert torch.equal(sae.encoder.weight, sae.dictionary)
        assert sae.encoder.weight.data_ptr() != sae.dictionary.data_ptr()
        assert not sae.encoder.bias.any()


def test_top_k_takes_the_k_largest_scores_of_each_row() -> None:
    sae, x = sae_of(TopK()), batch()
    codes = sae(x)
    expected = torch.zeros(30, ATOMS)
    for row, scores in enumerate(scores_of(sae, x)):
        best = scores.sort(descending=True).indices[:K]
        expected[row, best] = scores[best].clamp_min(0)
    torch.testing.assert_close(codes.to_dense(ATOMS), expected)
    torch.testing.assert_close(codes.residual, x - expected @ sae.dictionary)


def test_top_k_does_not_take_negative_scores() -> None:
    sae = sae_of(TopK())
    with torch.no_grad():
        sae.encoder.bias.fill_(-100)
    codes = sae(batch())
    assert not codes.values.any()
    assert torch.equal(codes.residual, batch())


def test_relu_takes_every_positive_score_and_pays_for_their_sum_by_the_atoms_norms() -> None:
    sae, x = sae_of(ReLU(l1=0.3)), batch()
    with torch.no_grad():
        sae.dictionary.mul_(torch.linspace(0.5, 2, ATOMS).unsqueeze(1))
    codes = sae(x)
    torch.testing.assert_close(codes.values, scores_of(sae, x).clamp_min(0))
    l1 = (codes.values * sae.dictionary.norm(dim=1)).sum(1).mean()
    torch.testing.assert_close(sae.encoder.penalty(codes, sae.dictionary), 0.3 * l1 / DIM)


def test_growing_atoms_do_not_lower_the_price_of_a_reconstruction() -> None:
    sae, x = sae_of(ReLU()), batch()
    before = sae(x), sae.encoder.penalty(sae(x), sae.dictionary)
    with torch.no_grad():
        sae.dictionary.mul_(2)
        for parameter in (sae.encoder.weight, sae.encoder.bias):
            parameter.div_(2)
    torch.testing.assert_close(sae(x).residual, before[0].residual)
    torch.testing.assert_close(sae.encoder.penalty(sae(x), sae.dictionary), before[1])


def test_batch_top_k_takes_k_scores_a_row_on_average() -> None:
    sae, x = sae_of(BatchTopK()), batch()
    codes = sae(x)
    scores = scores_of(sae, x).flatten()
    kept = scores.sort(descending=True).indices[: K * 30]
    expected = torch.zeros_like(scores)
    expected[kept] = scores[kept]
    torch.testing.assert_close(codes.values, expected.view(30, ATOMS))
    assert len((codes.values != 0).sum(1).unique()) > 1
    torch.testing.assert_close(codes.residual, x - codes.values @ sae.dictionary)


def test_batch_top_k_takes_only_positive_scores_where_there_are_too_few() -> None:
    sae = sae_of(BatchTopK(), k=ATOMS)
    x = batch()
    torch.testing.assert_close(sae(x).values, scores_of(sae, x).clamp_min(0))


def test_in_evaluation_a_row_is_encoded_alike_in_any_company() -> None:
    sae = sae_of(BatchTopK())
    for seed in range(5):
        sae(batch(seed))
    sae.eval()
    threshold = sae.encoder.threshold.clone()
    x = batch(9)
    whole = sae(x).values
    assert torch.equal(whole, torch.where(scores_of(sae, x) >= threshold, scores_of(sae, x), 0.0))
    alone = torch.cat([sae(row[None]).values for row in x])
    torch.testing.assert_close(alone, whole)
    assert torch.equal(sae.encoder.threshold, threshold)


def test_the_threshold_of_evaluation_follows_those_of_training() -> None:
    sae = sae_of(BatchTopK())
    thresholds = []
    for seed in range(4):
        x = batch(seed)
        sae(x)
        thresholds.append(scores_of(sae, x).relu().flatten().topk(K * 30).values.min().item())
    expected = thresholds[0]
    for threshold in thresholds[1:]:
        expected += 0.01 * (threshold - expected)
    assert sae.encoder.threshold.item() == pytest.approx(expected)


def test_before_any_training_there_is_no_threshold_to_evaluate_with() -> None:
    sae = sae_of(BatchTopK()).eval()
    with pytest.raises(ValueError, match=r"no threshold yet: train it, or .*calibration\.calibrate\(sae"):
        sae(batch())
