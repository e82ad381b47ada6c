import numpy as np
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.interventions.removal import (
    ATOM_CLASSES,
    INTERVENTIONS,
    AtomSubspace,
    atoms_of,
    composed_query,
    equalising_gains,
    intervene,
    kept_atoms,
    matched_atoms,
    permuted_classes,
)
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics
from tests.metrics.cases import random_dictionary

CLASSES = AtomClasses(*np.eye(4, dtype=bool)[[0, 0, 0, 1, 1, 2, 2, 3]].T)


def small_sae() -> SparseAutoencoder:
    return SparseAutoencoder(SaeConfig(dim=5, atoms=8, k=3, beta=0.0), torch.Generator().manual_seed(0))


def some_rows(seed: int) -> torch.Tensor:
    return torch.randn(20, 5, generator=torch.Generator().manual_seed(seed))


def test_bimodal_and_unimodal_parts_add_up_to_the_reconstruction() -> None:
    sae = small_sae()
    codes = sae.encode(some_rows(1))
    whole, bimodal, unimodal = (intervene(sae, codes, kept_atoms(name, CLASSES)) for name in INTERVENTIONS)
    torch.testing.assert_close(bimodal + unimodal, whole)
    dense = codes.to_dense(8)
    expected = (dense * torch.from_numpy(CLASSES.bimodal)) @ sae.dictionary
    torch.testing.assert_close(bimodal, expected)


def test_equalised_atoms_have_one_energy_in_both_modalities_the_lesser() -> None:
    sae = small_sae()
    codes = sae.encode(some_rows(1)), sae.encode(2 * some_rows(2) + 1)
    before, after = ConceptStatistics.zeros(8), ConceptStatistics.zeros(8)
    before.update(*codes)
    image, text = equalising_gains(before)
    after.update(codes[0].scaled(image), codes[1].scaled(text))
    least = np.minimum(before.image.energy, before.text.energy)
    assert (least > 0).sum() >= 4
    np.testing.assert_allclose(after.image.energy, least, rtol=1e-5)
    np.testing.assert_allclose(after.text.energy, least, rtol=1e-5)
    assert torch.maximum(image, text).tolist() == pytest.approx([1.0] * 8)


def test_gains_of_atoms_without_energy_are_known() -> None:
    gains = equalising_gains(ConceptStatistics.zeros(3))
    assert [gain.tolist() for gain in gains] == [[1.0] * 3] * 2


def test_any_classes_make_a_mask_and_the_classes_stay_as_they_were() -> None:
    assert atoms_of(CLASSES, ("image_only", "dead")).tolist() == [False] * 3 + [True] * 2 + [False] * 2 + [True]
    assert atoms_of(CLASSES, ATOM_CLASSES).all()
    assert not atoms_of(CLASSES, ()).any()
    atoms_of(CLASSES, ("bimodal",))[0] = False
    kept_atoms("bimodal", CLASSES)[0] = False
    assert CLASSES.bimodal[0]


def test_always_on_atoms_can_be_left_out_of_a_class() -> None:
    always_on = np.arange(8) % 2 == 0
    assert atoms_of(CLASSES, ("bimodal", "text_only"), without=always_on).nonzero().flatten().tolist() == [1, 5]


def test_a_name_that_is_no_class_is_refused() -> None:
    with pytest.raises(InputError, match="unimodal: choose from bimodal, image_only"):
        atoms_of(CLASSES, ("bimodal", "unimodal"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no class"):
        atoms_of(CLASSES, "bimodal")  # type: ignore[arg-type]


def test_a_query_adds_the_kept_part_of_the_change_to_the_whole_source() -> None:
    sae = small_sae()
    source, codes = some_rows(1), sae.encode(some_rows(2))
    bimodal = kept_atoms("bimodal", CLASSES)
    expected = source + (codes.to_dense(8) * bimodal) @ sae.dictionary
    torch.testing.assert_close(composed_query(sae, source, codes, bimodal), expected)
    naive = composed_query(sae, source, codes, None)
    torch.testing.assert_close(naive, source + codes.to_dense(8) @ sae.dictionary)
    assert not naive.requires_grad


ATOMS, DIM = 40, 6
DICTIONARY = random_dictionary(0, ATOMS, DIM)
ENERGY = np.random.default_rng(1).gamma(0.5, size=ATOMS)
MASK = np.arange(ATOMS) % 2 == 0


def weighted_sum(mask: np.ndarray) -> np.ndarray:
    return sum(e * np.outer(d, d) for e, d in zip(ENERGY[mask], DICTIONARY[mask], strict=True))


@pytest.mark.parametrize("rank", range(DIM + 1))
def test_the_subspace_holds_the_most_energy_that_its_rank_can(rank: int) -> None:
    found = AtomSubspace.of(DICTIONARY, ENERGY, MASK, rank=rank)
    values = np.sort(np.linalg.eigvalsh(weighted_sum(MASK)))[::-1]
    assert found.rank == rank
    assert found.share == pytest.approx(values[:rank].sum() / values.sum(), abs=1e-9)
    projector = found.projector().matrix.double().numpy()
    assert np.trace(projector @ weighted_sum(MASK)) == pytest.approx(found.share * ENERGY[MASK].sum(), abs=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.95, 1.0])
def test_a_share_takes_the_smallest_rank_that_holds_it(share: float) -> None:
    found = AtomSubspace.of(DICTIONARY, ENERGY, MASK, share=share)
    assert found.share >= share - 1e-9
    assert AtomSubspace.of(DICTIONARY, ENERGY, MASK, rank=found.rank - 1).share < share


def test_a_share_that_one_rank_holds_exactly_needs_no_more() -> None:
    energy = np.array([3.0, 1.0, 0.0])
    assert AtomSubspace.of(np.eye(3), energy, np.ones(3, bool), share=0.75).rank == 1
    assert AtomSubspace.of(np.eye(3), energy, np.ones(3, bool), share=0.76).rank == 2
    assert AtomSubspace.of(np.eye(3), energy, np.ones(3, bool), share=1).rank == 2


def test_projection_and_rejection_are_orthogonal_complements() -> None:
    found = AtomSubspace.of(DICTIONARY, ENERGY, MASK, rank=2)
    rows = torch.randn(9, DIM, generator=torch.Generator().manual_seed(0))
    inside, outside = found.project(rows), found.reject(rows)
    torch.testing.assert_close(inside + outside, rows)
    torch.testing.assert_close(found.project(inside), inside)
    torch.testing.assert_close((inside * outside).sum(1), torch.zeros(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(2))
    torch.testing.assert_close(outside @ found.basis, torch.zeros(9, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("other", range(4, 14))
def test_rows_of_few_atoms_lie_in_their_subspace(other: int) -> None:
    two = np.isin(np.arange(ATOMS), [3, other])
    found = AtomSubspace.of(
        torch.from_numpy(DICTIONARY).float().requires_grad_(), ENERGY, torch.from_numpy(two), share=1
    )
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 2)) @ DICTIONARY[two]).float()
    assert found.rank == 2
    torch.testing.assert_close(found.project(rows), rows)
    torch.testing.assert_close(found.reject(rows), torch.zeros(5, DIM), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mask", [np.zeros(ATOMS, bool), np.ones(ATOMS, bool)])
def test_atoms_without_energy_span_nothing(mask: np.ndarray) -> None:
    energy = np.where(mask, 0, ENERGY)
    found = AtomSubspace.of(DICTIONARY, energy, mask)
    rows = torch.randn(4, DIM)
    assert found.rank == 0
    assert np.isnan(found.share)
    assert not found.project(rows).any()
    torch.testing.assert_close(found.reject(rows), rows)


@pytest.mark.parametrize("wanted", [{"rank": -1}, {"rank": DIM + 1}, {"share": 0.0}, {"share": 1.1}])
def test_a_rank_or_share_out_of_range_is_refused(wanted: dict[str, float]) -> None:
    with pytest.raises(InputError, match=rf"of {next(iter(wanted.values()))}|{next(iter(wanted.values()))}"):
        AtomSubspace.of(DICTIONARY, ENERGY, MASK, **wanted)  # type: ignore[arg-type]


def live_atoms(seed: int, atoms: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Energies and frequencies that go together; every tenth atom is dead, and many are equally rare."""
    generator = np.random.default_rng(seed)
    frequency = np.round(10 ** generator.uniform(-4, 0, atoms), 3)
    energy = frequency * generator.gamma(2, size=atoms) + 1e-6
    energy[::10] = frequency[::10] = 0
    return energy, frequency


@pytest.mark.parametrize("seed", range(3))
def test_matched_atoms_are_as_many_as_frequent_and_as_strong(seed: int) -> None:
    energy, frequency = live_atoms(seed)
    generator = np.random.default_rng(seed + 10)
    mask = (frequency > 0.05) & (generator.random(1000) < 0.3)
    mask[:20] = True  # dead ones among them
    live = mask & (energy > 0)
    matched = matched_atoms(mask, energy, frequency, seed).numpy()
    assert matched.sum() == live.sum()
    assert (energy[matched] > 0).all()
    assert 0 < (matched & mask).sum() < live.sum() / 2
    for of_atoms, slack in ((np.log(frequency + 1e-4), 0.1), (np.log(energy + 1e-6), 0.15)):
        ordered = np.sort(of_atoms[matched]), np.sort(of_atoms[live])
        assert np.abs(ordered[0] - ordered[1]).mean() < slack
        unmatched = np.random.default_rng(seed).choice(of_atoms[energy > 0], live.sum(), replace=False)
        assert np.abs(np.sort(unmatched) - ordered[1]).mean() > 10 * slack


def test_matched_atoms_are_random_and_follow_the_seed() -> None:
    energy, frequency = live_atoms(0)
    mask = torch.from_numpy(np.arange(1000) % 3 == 0)
    before = mask.clone()
    first, again, other = (matched_atoms(mask, energy, frequency, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(mask, before)


def test_over_many_seeds_every_atom_of_a_stratum_is_drawn_alike() -> None:
    energy = frequency = np.linspace(0.1, 0.9, 8)
    mask = np.arange(8) < 2
    drawn = sum(matched_atoms(mask, energy, frequency, seed).numpy().astype(int) for seed in range(2000))
    np.testing.assert_allclose(drawn / 2000, 0.25, atol=0.05)


def test_a_stratum_of_the_mask_alone_takes_from_its_neighbours() -> None:
    frequency = np.linspace(0.01, 1, 160)
    mask = frequency > 0.8
    counts = sum(matched_atoms(mask, frequency, frequency, seed).numpy().astype(int) for seed in range(50))
    # the last strata lie in the mask as a whole: they are drawn from together with the one that does not
    assert counts[~mask].sum() > 0
    assert np.flatnonzero(counts).min() >= 160 - 16 * 4
    assert (counts[-16:] < 50).all()


@pytest.mark.parametrize("live", [0, 1, 7, 17])
def test_few_live_atoms_have_a_control_too(live: int) -> None:
    energy = frequency = np.where(np.arange(20) < live, 0.5, 0)
    for mask in (np.ones(20, bool), np.arange(20) % 2 == 0, np.zeros(20, bool)):
        matched = matched_atoms(mask, energy, frequency, 0).numpy()
        assert matched.sum() == (mask & (energy > 0)).sum()
        assert not matched[live:].any()


def some_classes(seed: int, energy: np.ndarray) -> AtomClasses:
    kind = np.random.default_rng(seed).choice(3, size=len(energy), p=[0.5, 0.3, 0.2])
    kind[energy == 0] = 3
    return AtomClasses(*np.eye(4, dtype=bool)[kind].T)


def test_permuted_classes_keep_their_sizes_and_the_dead_and_cover_the_atoms_once() -> None:
    energy, frequency = live_atoms(0)
    classes = some_classes(5, energy)
    permuted, again, other = permuted_classes(classes, frequency, energy, [0, 0, 1])
    masks = np.stack([getattr(permuted, name) for name in ATOM_CLASSES])
    np.testing.assert_array_equal(masks.sum(0), np.ones(1000))
    np.testing.assert_array_equal(permuted.dead, classes.dead)
    for name in ATOM_CLASSES:
        assert getattr(permuted, name).sum() == getattr(classes, name).sum()
    agree = (permuted.bimodal == classes.bimodal)[energy > 0].mean()
    assert agree == pytest.approx(0.5, abs=0.08)
    np.testing.assert_array_equal(again.bimodal, permuted.bimodal)
    assert (other.bimodal != permuted.bimodal).any()


def test_classes_that_follow_from_the_frequency_are_not_permuted_away() -> None:
    energy, frequency = live_atoms(1)
    live = energy > 0
    common = frequency > np.median(frequency[live])
    classes = AtomClasses(live & common, live & ~common, np.zeros(1000, bool), ~live)
    (permuted,) = permuted_classes(classes, frequency, energy, [0])
    assert (permuted.bimodal == classes.bimodal).mean() > 0.9


@pytest.mark.parametrize("live", [0, 1, 9])
def test_few_live_atoms_can_be_permuted(live: int) -> None:
    energy = np.where(np.arange(12) < live, np.arange(12) + 1.0, 0)
    classes = some_classes(2, energy)
    (permuted,) = permuted_classes(classes, energy, energy, [0])
    assert permuted.bimodal.sum() == classes.bimodal.sum()
    np.testing.assert_array_equal(permuted.dead, classes.dead)
