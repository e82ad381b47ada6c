from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from scipy.stats import pearson3

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.metrics.agreement import Agreement, agreeing_share, agreement, agrees_in_replicates, mean_correlation
from isoenergy.statistics.bootstrap import poisson_weights
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.statistics.weighted_sums import BootstrapSums


def codes_of(dense: np.ndarray) -> SparseCodes:
    """Codes with an atom twice in a row, whose values add, and places that hold nothing."""
    width = max(int((dense != 0).sum(1).max()), 1)
    indices, values = np.zeros((len(dense), width + 1), np.int32), np.zeros((len(dense), width + 1))
    for row, coefficients in enumerate(dense):
        atoms = np.flatnonzero(coefficients)
        indices[row, : len(atoms)], values[row, : len(atoms)] = atoms, coefficients[atoms]
        if len(atoms):
            indices[row, -1], values[row, -1] = atoms[0], coefficients[atoms[0]] / 4
            values[row, 0] *= 3 / 4
    return SparseCodes(torch.from_numpy(indices), torch.from_numpy(values), torch.empty(len(dense), 0))


def sums_of(image: np.ndarray, text: np.ndarray) -> PairAgreement:
    sums = PairAgreement.zeros(image.shape[1])
    sums.update(codes_of(image), codes_of(text))
    return sums


def found_in(image: np.ndarray, text: np.ndarray) -> Agreement:
    return agreement(sums_of(image, text))


def sparse_rows(generator: np.random.Generator, pairs: int, frequency: np.ndarray) -> np.ndarray:
    fires = generator.random((pairs, len(frequency))) < frequency
    return fires * generator.gamma(3, 1 / 3, fires.shape)


def sharing(generator: np.random.Generator, pairs: int, frequency: np.ndarray, shared: float) -> list[np.ndarray]:
    """Images and texts that have a share of their concepts in common, with strengths of their own."""
    common = generator.random((pairs, len(frequency))) < frequency
    sides = []
    for _ in range(2):
        own = generator.random(common.shape) < frequency
        fires = np.where(generator.random(common.shape) < shared, common, own)
        sides.append(fires * generator.gamma(3, 1 / 3, fires.shape))
    return sides


def test_measures_are_those_of_dense_float64_codes() -> None:
    generator = np.random.default_rng(0)
    image, text = sharing(generator, 500, np.array([0.5, 0.2, 0.05, 0.9]), 0.4)
    found = found_in(image, text)
    for atom in range(4):
        z, w = image[:, atom], text[:, atom]
        assert found.correlation[atom] == pytest.approx(np.corrcoef(z, w)[0, 1], rel=1e-9)
        together = ((z != 0) & (w != 0)).mean()
        assert found.lift[atom] == pytest.approx(together / ((z != 0).mean() * (w != 0).mean()), rel=1e-12)
    assert (found.correlation_low < found.correlation).all()
    assert (found.correlation < found.correlation_high).all()


def test_parts_merge_into_the_whole() -> None:
    generator = np.random.default_rng(1)
    image, text = sharing(generator, 300, np.array([0.3, 0.1]), 0.5)
    whole = sums_of(image, text)
    merged = sums_of(image[:77], text[:77]).merge(sums_of(image[77:], text[77:]))
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(merged, name), value, rtol=1e-12)


def test_the_null_has_the_mean_variance_and_skewness_of_all_ways_to_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    z, w = np.array([0.0, 0, 0, 1, 0, 2, 0]), np.array([0.0, 3, 0, 0, 0, 1, 0])
    every = np.array([np.corrcoef(z, w[list(order)])[0, 1] for order in permutations(range(7))])
    skewness = ((every - every.mean()) ** 3).mean() / every.std() ** 3
    assert every.mean() == pytest.approx(0, abs=1e-12)
    assert every.var() == pytest.approx(1 / 6)
    image, text = z[:, None], w[:, None]
    monkeypatch.setattr("isoenergy.metrics.agreement._FEWEST_FIRES", 1)
    found = found_in(image, text)
    assert found.agreement_p_value[0] == pytest.approx(
        pearson3.sf(found.correlation[0] * np.sqrt(6), skewness), rel=1e-9
    )


def test_modalities_that_have_nothing_in_common_do_not_agree() -> None:
    """Of 4,000 atoms, most of them rare, those below p = 0.05 are about that many, and next to none is found."""
    generator = np.random.default_rng(2)
    frequency = np.geomspace(0.004, 0.6, 4000)
    found = found_in(sparse_rows(generator, 3000, frequency), sparse_rows(generator, 3000, frequency))
    tested = found.agreement_p_value[np.isfinite(found.agreement_p_value)]
    assert len(tested) > 3500
    assert (tested < 0.05).mean() < 0.06
    assert (tested < 0.001).mean() < 0.004
    assert found.agrees.sum() <= 4
    assert np.nanmedian(found.lift[frequency > 0.05]) == pytest.approx(1, abs=0.02)
    always_on = found_in(np.ones((50, 1)), np.ones((50, 1)))
    assert np.isnan(always_on.correlation[0])
    assert not always_on.agrees[0]


def test_concepts_that_both_share_agree() -> None:
    generator = np.random.default_rng(3)
    frequency = np.full(200, 0.03)
    shared, apart = sharing(generator, 3000, frequency, 0.6), sharing(generator, 3000, frequency, 0.0)
    found = found_in(*(np.hstack(both) for both in zip(shared, apart, strict=True)))
    assert found.agrees[:200].all()
    assert found.agrees[200:].sum() < 0.1 * found.agrees.sum()  # a false discovery rate of 5%
    assert (found.lift_low[:200] > 1).all()
    energy = np.ones(400)
    share = agreeing_share(energy, np.ones(400, bool), found.agrees)
    assert share == pytest.approx(found.agrees.mean())
    assert mean_correlation(energy, found.correlation, np.arange(400) < 200) > 0.2


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(4)
    frequency = np.array([0.05, 0.3])
    many = sharing(generator, 400_000, frequency, 0.5)
    truth = agreement(sums_of(*many))
    held = []
    for start in range(0, 400_000, 2000):
        found = found_in(*(side[start : start + 2000] for side in many))
        held.append(
            [
                (found.correlation_low <= truth.correlation) & (truth.correlation <= found.correlation_high),
                (found.lift_low <= truth.lift) & (truth.lift <= found.lift_high),
            ]
        )
    coverage = np.mean(held, axis=0)
    assert (coverage > 0.9).all()
    assert (coverage <= 0.99).all()


def test_atoms_that_never_meet_are_bounded_by_what_may_be_unseen() -> None:
    image, text = np.zeros((1000, 1)), np.zeros((1000, 1))
    image[:30], text[30:60] = 1, 1
    found = found_in(image, text)
    assert found.lift[0] == found.lift_low[0] == 0
    assert found.lift_high[0] == pytest.approx(3 * 1000 / 900)
    assert found.correlation[0] < 0 < found.correlation_high[0]
    assert not found.agrees[0]


def test_the_rarest_atoms_that_never_meet_do_not_agree() -> None:
    """A skewed distribution has next to all of its mass at its edge, and a correlation there is no wonder."""
    image, text = np.zeros((8000, 3)), np.zeros((8000, 3))
    image[:25] = [1, 1, 1]
    image[0] = [9, 1, 30]
    text[100], text[200:202, 1] = [1, 1, 1], 1
    found = found_in(image, text)
    assert (found.correlation < 0).all()
    assert found.agreement_p_value.tolist() == [1, 1, 1]
    assert not found.agrees.any()


def test_atoms_of_one_modality_and_dead_ones_have_nothing_to_say() -> None:
    image, text = np.zeros((100, 2)), np.zeros((100, 2))
    image[::2, 0] = 1
    found = found_in(image, text)
    assert np.isnan(found.correlation).all()
    assert np.isnan(found.agreement_p_value).all()
    assert not found.agrees.any()
    assert np.isnan(agreeing_share(np.zeros(2), np.ones(2, bool), found.agrees))


def captioned(images: int, captions: int, seed: int) -> PairAgreement:
    """Captions that say one thing of the picture they are of, each in its own strength, beside images of others."""
    generator = np.random.default_rng(seed)
    frequency = np.geomspace(0.02, 0.4, 100)
    shown, said = (generator.random((images, 100)) < frequency for _ in range(2))
    image = np.repeat(shown * generator.gamma(3, 1 / 3, shown.shape), captions, axis=0)
    text = np.repeat(said, captions, axis=0)
    sums = PairAgreement.zeros(100)
    labels = np.repeat(np.arange(images, dtype=np.uint64), captions)
    sums.update(codes_of(image), codes_of(text * generator.gamma(3, 1 / 3, text.shape)), labels)
    return sums


def test_many_captions_of_an_image_that_are_of_another_picture_do_not_agree() -> None:
    sums = captioned(80, 25, 0)
    assert sums.effective_pairs == 80
    assert agreement(sums).agrees.mean() < 0.02
    alone = replace(sums, of_one_image=0)
    assert agreement(alone).agrees.mean() > 0.1


def test_effective_pairs_follow_the_captions_of_each_image_and_merge() -> None:
    codes = codes_of(np.ones((4, 1)))
    sums = PairAgreement.zeros(1)
    sums.update(codes, codes, np.array([3, 1, 3, 3], np.uint64))
    assert sums.effective_pairs == pytest.approx(16 / 10)
    assert sums.merge(sums).effective_pairs == pytest.approx(64 / 20)


def test_images_that_occur_once_are_tested_bit_for_bit_as_pairs() -> None:
    generator = np.random.default_rng(4)
    image, text = (codes_of(side) for side in sharing(generator, 300, np.array([0.5, 0.1, 0.05]), 0.3))
    labelled, plain = PairAgreement.zeros(3), PairAgreement.zeros(3)
    labelled.update(image, text, np.arange(300, dtype=np.uint64))
    plain.update(image, text)
    for name, values in vars(agreement(plain)).items():
        np.testing.assert_array_equal(vars(agreement(labelled))[name], values)


def test_sums_of_before_repeats_were_counted_are_read(tmp_path: Path) -> None:
    sums = captioned(10, 2, 0)
    sums.save(tmp_path / "now")
    arrays = load_file(tmp_path / "now")
    assert PairAgreement.load(tmp_path / "now").effective_pairs == 10
    save_file({name: array for name, array in arrays.items() if name != "of_one_image"}, tmp_path / "before")
    assert PairAgreement.load(tmp_path / "before").effective_pairs == 20


def test_each_replicate_decides_by_itself_which_atoms_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    both = sharing(generator, 600, np.geomspace(0.01, 0.4, 60), 0.35)
    image, text = map(codes_of, both)
    weights = poisson_weights(600, 40, 0)
    sums, together = BootstrapSums.zeros(60, 40), PairAgreement.zeros(60)
    sums.update((image, text), (torch.zeros(600, 3), torch.zeros(600, 3)), weights)
    together.update(image, text)
    found = agrees_in_replicates(together, sums.correlation)
    monkeypatch.setattr("isoenergy.metrics.agreement._AT_ONCE", 1)
    np.testing.assert_array_equal(agrees_in_replicates(together, sums.correlation), found)
    here = agreement(together)
    np.testing.assert_array_equal(found[:, 0], here.agrees)
    same = np.repeat(here.correlation[:, None], 3, axis=1)
    np.testing.assert_array_equal(agrees_in_replicates(together, same), np.repeat(here.agrees[:, None], 3, axis=1))
    again = agreement(sums_of(*(np.repeat(side, weights[:, 1].astype(int), axis=0) for side in both)))
    assert (found[:, 1] != again.agrees).mean() < 0.05
    assert (found[:, 1:] != found[:, :1]).any(axis=0).mean() > 0.5
    energy = sums.energy
    share = agreeing_share(energy, np.arange(60) > 5, found)
    assert share[7] == pytest.approx(energy[6:, 7][found[6:, 7]].sum() / energy[6:, 7].sum())


def test_of_fewer_pairs_than_twenty_there_are_no_intervals() -> None:
    image, text = sharing(np.random.default_rng(7), 20, np.array([0.4, 0.6]), 0.6)
    assert np.isfinite(found_in(image, text).correlation_low).all()
    few = found_in(image[:19], text[:19])
    assert np.isfinite([few.correlation, few.lift]).all()
    bounds = [few.correlation_low, few.correlation_high, few.lift_low, few.lift_high]
    assert np.isnan(bounds).all()
