from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from isoenergy import SparseAutoencoder
from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.metrics.energy import score_spread
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.reconstruction import ReconstructionSums, mean_squared_error, r2_paper
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.bootstrap import Interval, poisson_weights
from isoenergy.statistics.concept_statistics import ConceptStatistics, classes_of_scores, energy_share
from isoenergy.statistics.weighted_sums import BootstrapSums

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
    errors = [ReconstructionSums.zeros(DIM) for _ in range(2)]
    for error, x, codes in zip(errors, rows, (image, text), strict=True):
        error.update(x, codes.residual)
    classes = statistics.classes()
    weighted = list(sums.errors_by_modality(DIM))
    assert r2_paper(*weighted)[0] == pytest.approx(r2_paper(*errors), rel=1e-12)
    assert mean_squared_error(*weighted)[0] == pytest.approx(mean_squared_error(*errors), rel=1e-12)
    shares = energy_share(sums.energy, classes_of_scores(sums.modality_score).bimodal)
    assert shares[0] == pytest.approx(statistics.energy_share(classes.bimodal))
    spread = score_spread(sums.modality_score, sums.energy)
    assert spread[0] == pytest.approx(score_spread(statistics.modality_score, statistics.energy))
    rebuilt = [sae.decode(codes.keep(torch.from_numpy(classes.bimodal))).detach() for codes in (image, text)]
    gap = (rebuilt[0].mean(0) - rebuilt[1].mean(0)).norm().item()
    dictionary = sae.dictionary.detach().double().numpy()
    means = sums.rebuilt_means(dictionary, classes.bimodal)
    assert difference_in_means(*means)[0] == pytest.approx(gap, rel=1e-5)
    z, w = (part.to_dense(20).double().numpy() for part in (image, text))
    for atom in np.flatnonzero(np.isfinite(sums.correlation[:, 0])):
        assert sums.correlation[atom, 0] == pytest.approx(np.corrcoef(z[:, atom], w[:, atom])[0, 1])
    assert sums.l0[0] == pytest.approx((statistics.image.l0 + statistics.text.l0) / 2)
    assert sums.l1[0] == pytest.approx((statistics.image.l1 + statistics.text.l1) / 2)


def test_parts_add_up_in_any_order(sae: SparseAutoencoder, tmp_path: Path) -> None:
    first, second = sums_of(sae, encoded(sae, 300, 1), 0), sums_of(sae, encoded(sae, 200, 2), 1)
    first.save(tmp_path / "first.safetensors")
    there, back = BootstrapSums.load(tmp_path / "first.safetensors").merge(second), second.merge(first)
    for name, value in vars(there).items():
        np.testing.assert_allclose(getattr(back, name), value, rtol=1e-12)
    assert there.pairs[0] == 500
    assert 400 < there.pairs[1:].mean() < 600


def test_intervals_are_as_wide_as_the_numbers_vary_over_samples(sae: SparseAutoencoder) -> None:
    by_sample = [r2_paper(*sums_of(sae, encoded(sae, seed=seed)).errors_by_modality(DIM))[0] for seed in range(40)]
    interval = Interval.of_weighted(r2_paper(*sums_of(sae, encoded(sae)).errors_by_modality(DIM)))
    width = (interval.high - interval.low) / (2 * 1.96)
    assert width == pytest.approx(np.std(by_sample), rel=0.5)
    assert interval.low < interval.value < interval.high
    inside = [interval.low <= value <= interval.high for value in by_sample]
    assert np.mean(inside) > 0.7
