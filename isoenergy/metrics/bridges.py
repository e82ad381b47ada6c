"""Bridges: which atoms connect the modalities, and whether those are the bimodal ones (paper 1.8)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from isoenergy.metrics.gram_panels import gram_at, gram_parts_at, gram_quantile, quantile_rank
from isoenergy.metrics.transport import TransportPlans, strongest_atoms
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics, classes_of_scores, modality_score
from isoenergy.statistics.thresholds import EPSILON

Floats = npt.NDArray[np.float64]

_ROUNDING = 1e-12


@dataclass(frozen=True)
class BridgeThresholds:
    """Below which quantile entries are cut; the defaults are the paper's.

    They depend on the number of atoms: ρ and FDA of dictionaries of different sizes do not compare.
    """

    gram: float = 0.9
    """Of all atoms² entries of A = D Dᵀ, in [0, 1]: entries with |A| below the quantile become 0."""
    cross: float = 0.999
    """Of all atoms² entries of the cross moments C, zeros included, in [0, 1]: likewise."""
    magnitudes: bool = False
    """Take the quantiles of |A| and |C|; the paper takes them of the signed entries and cuts the magnitudes."""


PAPER_THRESHOLDS = BridgeThresholds()


def gram_cut(dictionary: npt.NDArray[np.floating], thresholds: BridgeThresholds = PAPER_THRESHOLDS) -> float:
    """Return below what size entries of A = D Dᵀ are cut from bridges: time grows with atoms², so of several ask once.

    dictionary: `(atoms, dim)`.
    """
    if thresholds.gram == 0:
        return 0.0  # the quantile is an entry, and none is smaller
    # the order of additions moves the last digits: an entry at the threshold is not below it
    slack = _ROUNDING * float(np.square(dictionary).sum(1, dtype=np.float64).max())
    return gram_quantile(dictionary, thresholds.gram, thresholds.magnitudes) - slack


def sigma_bridge(
    statistics: ConceptStatistics,
    dictionary: npt.NDArray[np.floating],
    thresholds: BridgeThresholds = PAPER_THRESHOLDS,
    normalised: bool = False,
    cut: float | None = None,
) -> sparse.csr_array:
    """Return B_Σ = C ∘ A: what fires together in a pair and points the same way (paper 1.8).

    C = 1/n Σ over pairs of z_image z_textᵀ, not centred; A = D Dᵀ; both cut at `thresholds`. Rows are the image side,
    columns the text side; entries in [-1, 1] for unit rows and atoms.
    dictionary: `(atoms, dim)`, unit rows. normalised: C[j, l] divided by √(E_image[j] E_text[l]), where the paper's
    code divides a copy and loses it. cut: the `gram_cut` of these, where it is known.
    """
    cross = _canonical(statistics.cross)
    counts = np.diff(cross.indptr)
    weights = cross.data / max(statistics.image.rows, 1)
    if normalised:
        weights /= np.repeat(_positive_root(statistics.image.energy), counts)
        weights /= _positive_root(statistics.text.energy)[cross.indices]
    strong = _strongest(sparse.csr_array((weights, cross.indices, cross.indptr), cross.shape), thresholds)
    return _times_gram(strong, dictionary, gram_cut(dictionary, thresholds) if cut is None else cut)


def _strongest(weights: sparse.csr_array, thresholds: BridgeThresholds) -> sparse.csr_array:
    """Return the entries that are not 0 nor below the threshold; the matrix itself if those are all."""
    if thresholds.cross == 0 and weights.data.all():  # the quantile is an entry, and none is smaller
        return weights
    threshold = _quantile(weights.data, weights.shape[0] ** 2, thresholds.cross, thresholds.magnitudes)
    is_strong = (weights.data >= threshold) | (weights.data <= -threshold)
    kept = np.flatnonzero(is_strong & (weights.data != 0))
    starts = np.searchsorted(kept, weights.indptr)
    return sparse.csr_array((weights.data[kept], weights.indices[kept], starts), weights.shape)


def sigma_bridge_at(
    entries: sparse.csr_array, statistics: ConceptStatistics, dictionary: npt.NDArray[np.floating]
) -> sparse.csr_array:
    """Return B_Σ = C ∘ A of some pairs at the entries that are kept of the Σ-bridge of others (paper 1.8).

    Entries that are chosen on the pairs on which they are measured are those that chance has made large there.
    entries: as `sigma_bridge` returns it of the other pairs.
    """
    kept = sparse.csr_array((np.ones(entries.nnz), entries.indices, entries.indptr), entries.shape)
    bridge = _canonical(statistics.cross).multiply(kept).tocsr()
    bridge.data *= gram_at(dictionary, bridge) / max(statistics.image.rows, 1)
    return bridge


def gamma_bridge(
    statistics: ConceptStatistics,
    dictionary: npt.NDArray[np.floating],
    thresholds: BridgeThresholds = PAPER_THRESHOLDS,
) -> sparse.csr_array:
    """Return B_Γ = P ∘ A: how the image energies must move over the dictionary to become the text energies (paper 1.8).

    P is the exact transport plan, cost 1 - cosine, from E_image / ΣE_image to E_text / ΣE_text; A = D Dᵀ, cut at
    `thresholds.gram`. Entries in [-1, 1], as in `sigma_bridge`. Minutes at 4,096 atoms; of more than 16,384 that have
    energy, the strongest alone have bridges (`transport.strongest_atoms`).
    """
    return next(gamma_bridges([(statistics.image.energy, statistics.text.energy)], dictionary, thresholds))


def gamma_bridges(
    energies: Iterable[tuple[Floats, Floats]],
    dictionary: npt.NDArray[np.floating],
    thresholds: BridgeThresholds = PAPER_THRESHOLDS,
    cut: float | None = None,
) -> Iterator[sparse.csr_array]:
    """Yield the Γ-bridge of each of several `(atoms,)` energies of images and of texts: see `gamma_bridge`.

    Those that follow the first take a third of its time where they are like it. cut: as `sigma_bridge` takes it.
    """
    plans, cut = TransportPlans(dictionary, dictionary), gram_cut(dictionary, thresholds) if cut is None else cut
    for image, text in energies:
        kept = strongest_atoms(image + text)
        plan, _ = plans.cheapest(image * kept, text * kept)
        yield _times_gram(plan, dictionary, cut)


def shuffled_bridge(
    statistics: ConceptStatistics,
    dictionary: npt.NDArray[np.floating],
    thresholds: BridgeThresholds = PAPER_THRESHOLDS,
    cut: float | None = None,
) -> sparse.csr_array:
    """Return the Σ-bridge of shuffled pairs, in expectation: C[j, l] = E[z_image[j]] E[z_text[l]].

    What is left of `sigma_bridge` when image and text have nothing to do with each other: its null. The quantile of C
    is of magnitudes, which is the paper's for coefficients that are not negative. Cost grows with the entries kept,
    not with atoms². cut: as `sigma_bridge` takes it.
    """
    image, text = statistics.image.mean, statistics.text.mean
    order = np.argsort(-np.abs(text), kind="stable")
    falling = np.abs(text)[order]
    entries = statistics.atoms**2
    count = _leading_counts(np.abs(image), falling, entries - quantile_rank(thresholds.cross, entries) + 1)
    rows = np.repeat(np.arange(statistics.atoms), count)
    columns = order[np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)]
    strong = sparse.csr_array((image[rows] * text[columns], (rows, columns)), (statistics.atoms,) * 2)
    return _times_gram(strong, dictionary, gram_cut(dictionary, thresholds) if cut is None else cut)


def _leading_counts(row: Floats, falling: Floats, wanted: int) -> npt.NDArray[np.int64]:
    """How many entries of each row of the product row · fallingᵀ are among the `wanted` largest, and above 0.

    Bisects for the threshold; entries equal to it count.
    """
    rising = falling[::-1]

    def counts(threshold: float) -> npt.NDArray[np.int64]:
        least = np.divide(threshold, row, out=np.full(len(row), np.inf), where=row > 0)
        counted: npt.NDArray[np.int64] = len(rising) - np.searchsorted(rising, least)
        return counted

    above_zero = int((row > 0).sum() * (falling > 0).sum())
    wanted = min(wanted, above_zero)
    low, high = 0.0, float(row.max(initial=0) * falling.max(initial=0))
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if counts(middle).sum() >= wanted else (low, middle)
    found = counts(high if counts(high).sum() >= wanted else low)
    leading: npt.NDArray[np.int64] = np.minimum(found, (falling > 0).sum())
    return leading


@dataclass(frozen=True)
class RegionMasses:
    """|B| summed over the blocks of a bridge; rows are the image side, columns the text side."""

    masses: Floats
    """`(3, 3)`: image-only, text-only, bimodal."""

    @property
    def through_bimodal(self) -> float:
        """Mass of blocks with a bimodal side."""
        return float(self.masses[2].sum() + self.masses[:2, 2].sum())

    @property
    def unimodal(self) -> float:
        """Mass of blocks between unimodal atoms."""
        return float(self.masses[:2, :2].sum())


def region_masses(bridge: sparse.csr_array, classes: AtomClasses) -> RegionMasses:
    """Return the masses of the blocks of `bridge`; dead atoms have none (paper 1.8)."""
    members = np.stack([classes.image_only, classes.text_only, classes.bimodal]).astype(np.float64)
    return RegionMasses(members @ (abs(bridge) @ members.T))


def rho(masses: RegionMasses) -> float:
    """Return ρ, on the Σ-bridge: mass of blocks with a bimodal side over mass of those without (paper 1.8).

    From 0 (no bimodal atom bridges) to infinity (none but those do); NaN of an empty bridge.
    """
    return _ratio(masses.through_bimodal, masses.unimodal)


def fda(masses: RegionMasses, bimodal_share: float) -> float:
    """Return FDA, on the Γ-bridge: good / bad · (1 - e) / e, e the bimodal atoms' share of the energy (paper 1.8).

    From 0 to infinity; 1 if bimodal blocks have the odds of their energy; NaN where e is 0 or 1.
    """
    return _ratio(masses.through_bimodal, masses.unimodal) * _ratio(1 - bimodal_share, bimodal_share)


def bridge_energy(bridge: sparse.csr_array) -> Floats:
    """Return `(atoms,)` E_B: half the sum of an atom's row and column of |B|; 0 and up (paper 1.8)."""
    image, text = _sides(bridge)
    return (image + text) / 2


def bridge_modality_score(bridge: sparse.csr_array) -> Floats:
    """Return `(atoms,)` μ_B: an atom's row of |B| as a share of its row and column; in [0, 1], NaN without any."""
    return modality_score(*_sides(bridge))


@dataclass(frozen=True)
class ScoreAgreement:
    """How far the classes by energy, μ, are those by bridges, μ_B; shares in [0, 1], NaN where nothing compares."""

    atoms: float
    """Share of the atoms with energy and a bridge whose two classes are one."""
    energy: float
    """The same, atoms weighted by their energy."""
    compared: float
    """Share of all energy that those atoms hold."""


def score_agreement(
    bridge: sparse.csr_array,
    statistics: ConceptStatistics,
    epsilon: float = EPSILON,
    classes: AtomClasses | None = None,
) -> ScoreAgreement:
    """Compare μ and μ_B, both cut at `epsilon` and 1 - `epsilon` (paper 1.8).

    classes: those by μ of other pairs, in place of a cut on these.
    """
    score, energy = bridge_modality_score(bridge), statistics.energy
    classes = classes or statistics.classes(epsilon)
    by_bridge = classes_of_scores(score, epsilon)
    both = ~(by_bridge.dead | classes.dead)
    same = (by_bridge.image_only == classes.image_only) & (by_bridge.text_only == classes.text_only)
    return ScoreAgreement(
        atoms=_ratio((same & both).sum(), both.sum()),
        energy=_ratio(energy[same & both].sum(), energy[both].sum()),
        compared=_ratio(energy[both].sum(), energy.sum()),
    )


def _times_gram(weights: sparse.csr_array, dictionary: npt.NDArray[np.floating], cut: float) -> sparse.csr_array:
    """Return the weights times A; their numbers are overwritten, and where they are is not: it may be another's."""
    for entries, gram in gram_parts_at(dictionary, weights):
        gram[np.abs(gram) < cut] = 0
        weights.data[entries] *= gram
    if weights.data.all():
        return weights
    bridge = weights.copy()
    bridge.eliminate_zeros()
    return bridge


def _quantile(nonzeros: Floats, entries: int, quantile: float, magnitudes: bool) -> float:
    """Quantile of `entries` numbers of which all but `nonzeros` are 0."""
    values = nonzeros if nonzeros.all() else nonzeros[nonzeros != 0]
    if magnitudes:
        values = np.abs(values)
    place = quantile_rank(quantile, entries) - 1
    negative, zeros = int((values < 0).sum()), entries - len(values)
    if negative <= place < negative + zeros:
        return 0.0
    place -= 0 if place < negative else zeros
    return float(np.partition(values, place)[place])


def _canonical(matrix: sparse.csr_array) -> sparse.csr_array:
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()
    matrix.sum_duplicates()
    return matrix


def _sides(bridge: sparse.csr_array) -> tuple[Floats, Floats]:
    magnitude = abs(bridge)
    return np.asarray(magnitude.sum(axis=1)), np.asarray(magnitude.sum(axis=0))


def _positive_root(energy: Floats) -> Floats:
    return np.sqrt(np.where(energy > 0, energy, 1))


def _ratio(numerator: float, denominator: float) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(numerator, denominator))
