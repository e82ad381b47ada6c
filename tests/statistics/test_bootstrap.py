from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.metrics import reconstruction
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import (
    BootstrapSums,
    Interval,
    class_energy_share,
    l0,
    l1,
    mean_squared_error,
    norm_of_difference,
    poisson_weights,
    r2,
    rebuilt_means,
)
from isoenergy.statistics.concept_statistics import ConceptStatistics

DIM, PAIRS, REPLICATES = 6, 900, 100
Encoded = tuple[tuple[SparseCodes, SparseCodes], tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture(scope="module")
def sae() -> SparseAutoencoder:
    return SparseAutoencoder(SaeConfig(DIM, 20, 3, 0.0), torch.Generator().manual_seed(0))


def encoded(sae: SparseAutoencoder, pairs: int = PAIRS, seed: int = 1) -> Encoded:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(pairs, DIM, generator=generator)
    offset = torch.zeros(DIM)
    offset[0] = 1.0
    rows = tuple(
        normalize(shared + sign * offset + 0.3 * torch.randn(pairs, DIM, generator=generator), dim=1)
        for sign in (1, -1)
    )
    with torch.no_grad():
        return (sae.encode(rows[0]), sae.encode(rows[1])), (rows[0], rows[1])


def sums_of(sae: SparseAutoencoder, data: Encoded, part: int = 0) -> BootstrapSums:
    sums = BootstrapSums.zeros(sae.config.atoms, REPLICATES)
    sums.update(*data, poisson_weights(len(data[1][0]), REPLICATES, 0, part))
    return sums


def test_the_first_column_is_what_the_metrics_say(sae: SparseAutoencoder) -> None:
    (image, text), rows = encoded(sae)
    sums = sums_of(sae, ((image, text), rows))
    statistics = ConceptStatistics.zeros(20)
    statistics.update(image, text)
    errors = [reconstruction.ReconstructionSums.zeros(DIM) for _ in range(2)]
    for error, x, codes in zip(errors, rows, (image, text), strict=True):
        error.update(x, codes.residual)
    classes = statistics.classes()
    assert r2(sums, DIM)[0] == pytest.approx(reconstruction.r2_paper(*errors))
    assert mean_squared_error(sums)[0] == pytest.approx(reconstruction.mean_squared_error(*errors))
    assert class_energy_share(sums, "bimodal")[0] == pytest.approx(statistics.energy_share(classes.bimodal))
    rebuilt = [sae.decode(codes.keep(torch.from_numpy(classes.bimodal))).detach() for codes in (image, text)]
    gap = (rebuilt[0].mean(0) - rebuilt[1].mean(0)).norm().item()
    dictionary = sae.dictionary.detach().double().numpy()
    means = rebuilt_means(sums, dictionary, classes.bimodal)
    assert norm_of_difference(means)[0] == pytest.approx(gap, rel=1e-5)
    assert l0(sums)[0] == pytest.approx((statistics.image.l0 + statistics.text.l0) / 2)
    assert l1(sums)[0] == pytest.approx((statistics.image.l1 + statistics.text.l1) / 2)


def test_parts_add_up_in_any_order(sae: SparseAutoencoder, tmp_path: Path) -> None:
    first, second = sums_of(sae, encoded(sae, 300, 1), 0), sums_of(sae, encoded(sae, 200, 2), 1)
    first.save(tmp_path / "first.safetensors")
    there, back = BootstrapSums.load(tmp_path / "first.safetensors").merge(second), second.merge(first)
    for name, value in vars(there).items():
        np.testing.assert_allclose(getattr(back, name), value, rtol=1e-12)
    assert there.pairs[0] == 500
    assert 400 < there.pairs[1:].mean() < 600


def test_intervals_are_as_wide_as_the_numbers_vary_over_samples(sae: SparseAutoencoder) -> None:
    by_sample = [r2(sums_of(sae, encoded(sae, seed=seed)), DIM)[0] for seed in range(40)]
    interval = sums_of(sae, encoded(sae)).interval(lambda sums: r2(sums, DIM))
    width = (interval.high - interval.low) / (2 * 1.96)
    assert width == pytest.approx(np.std(by_sample), rel=0.5)
    assert interval.low < interval.value < interval.high
    inside = [interval.low <= value <= interval.high for value in by_sample]
    assert np.mean(inside) > 0.7


def test_weights_follow_from_seed_and_part() -> None:
    assert np.array_equal(poisson_weights(50, 10, 3, 7), poisson_weights(50, 10, 3, 7))
    assert not np.array_equal(poisson_weights(50, 10, 3, 7), poisson_weights(50, 10, 3, 8))
    assert (poisson_weights(50, 10, 3, 7)[:, 0] == 1).all()


def test_infinite_replicates_count_and_those_that_are_unknown_do_not() -> None:
    interval = Interval.of(np.inf, np.array([1.0, 2.0, np.inf, np.inf, np.nan]))
    assert (interval.low, interval.high) == (1, np.inf)
    interval = Interval.of(np.inf, np.full(200, np.inf))
    assert (interval.low, interval.high) == (np.inf, np.inf)


def test_an_interval_around_a_number_holds_it_and_ends_where_the_measure_does() -> None:
    rare = np.zeros(200)
    rare[:2] = 0.5  # two draws of 200 in which an atom changes its class
    assert Interval.around(0.0, rare, least=0.0, most=1.0) == Interval(0.0, 0.0, 0.0)
    assert Interval.around(1.0, 1 - rare, least=0.0, most=1.0) == Interval(1.0, 1.0, 1.0)
    spread = np.linspace(0.5, 1, 200)
    interval = Interval.around(0.9, spread, least=0.0, most=1.0)
    assert 0.6 < interval.low < 0.9
    assert interval.high == 1


def test_an_interval_of_nothing_is_unknown() -> None:
    interval = Interval.of(1.0, np.array([np.nan]))
    assert interval.value == 1
    assert np.isnan([interval.low, interval.high]).all()
