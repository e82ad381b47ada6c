"""JumpReLU against the formulas of Rajamanoharan et al. 2024 (2407.14435), in float64."""

import torch
from torch import Tensor

from isoenergy.sparse_encoders import JumpReLU

DIM, ATOMS, ROWS, K = 5, 11, 400, 3
SETTINGS = JumpReLU(l0=0.7, threshold=0.4, bandwidth=0.3)


def case() -> tuple[torch.nn.Module, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    dictionary = torch.nn.functional.normalize(torch.randn(ATOMS, DIM, dtype=torch.float64, generator=generator), dim=1)
    encoder = SETTINGS.build(dictionary, K)
    with torch.no_grad():
        encoder.bias.add_(0.1 * torch.randn(ATOMS, generator=generator))
        encoder.log_threshold.add_(0.3 * torch.randn(ATOMS, generator=generator))
    return encoder, dictionary, torch.randn(ROWS, DIM, dtype=torch.float64, generator=generator)


def test_scores_above_their_atoms_threshold_stay_as_they_are() -> None:
    encoder, dictionary, x = case()
    scores, threshold = x @ encoder.weight.T + encoder.bias, encoder.log_threshold.exp()
    codes = encoder(x, dictionary)
    expected = torch.where(scores > threshold, scores, 0.0)
    torch.testing.assert_close(codes.values, expected)
    torch.testing.assert_close(codes.residual, x - expected @ dictionary)
    assert len(threshold.unique()) == ATOMS


def test_a_fresh_threshold_is_that_of_the_settings() -> None:
    fresh = SETTINGS.build(torch.eye(3), K)
    torch.testing.assert_close(fresh.log_threshold.exp(), torch.full((3,), 0.4))


def test_the_reconstructions_gradients_are_the_published_ones() -> None:
    encoder, dictionary, x = case()
    codes = encoder(x, dictionary)
    codes.values.retain_grad()
    codes.residual.square().sum().backward()
    by_code = codes.values.grad
    scores, threshold = (x @ encoder.weight.T + encoder.bias).detach(), encoder.log_threshold.detach().exp()
    window = ((scores - threshold) / 0.3).abs() < 0.5
    by_threshold = -(threshold / 0.3) * (window * by_code).sum(0)
    torch.testing.assert_close(encoder.log_threshold.grad, by_threshold * threshold)
    by_score = by_code * (scores > threshold)
    torch.testing.assert_close(encoder.bias.grad, by_score.sum(0))
    torch.testing.assert_close(encoder.weight.grad, by_score.T @ x)
    assert (window & (scores < threshold)).any()


def test_the_penalty_is_the_number_of_atoms_and_moves_thresholds_alone() -> None:
    encoder, dictionary, x = case()
    codes = encoder(x, dictionary)
    penalty = encoder.penalty(codes, dictionary)
    l0 = (codes.values != 0).sum(1).double().mean()
    torch.testing.assert_close(penalty, 0.7 * l0 / K / DIM)
    penalty.backward()
    scores, threshold = (x @ encoder.weight.T + encoder.bias).detach(), encoder.log_threshold.detach().exp()
    window = ((scores - threshold) / 0.3).abs() < 0.5
    expected = -(window.sum(0) / 0.3) * threshold * 0.7 / (ROWS * K * DIM)
    torch.testing.assert_close(encoder.log_threshold.grad, expected)
    assert encoder.weight.grad is None or not encoder.weight.grad.any()
    assert encoder.bias.grad is None or not encoder.bias.grad.any()


def test_the_straight_through_gradient_is_that_of_the_expected_loss() -> None:
    """Its point: the derivative of the mean l0 by a threshold is minus the scores' density there."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200_000, 1, dtype=torch.float64, generator=generator)
    encoder = SETTINGS.build(torch.ones(1, 1, dtype=torch.float64), 1)
    encoder.penalty(encoder(x, torch.ones(1, 1, dtype=torch.float64)), torch.ones(1, 1)).backward()
    density = torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.4)).exp().item()
    assert abs(encoder.log_threshold.grad.item() / (-0.7 * 0.4 * density) - 1) < 0.02


def test_a_penalty_is_paid_once_and_not_in_evaluation() -> None:
    encoder, dictionary, x = case()
    codes = encoder(x, dictionary)
    assert encoder.penalty(codes, dictionary) > 0
    assert encoder.penalty(codes, dictionary) == 0
    encoder.eval()
    assert encoder.penalty(encoder(x, dictionary), dictionary) == 0
