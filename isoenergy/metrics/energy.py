"""How the energy lies over atoms and modalities (paper 1.5, 3.5 and 3.6)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoenergy.metrics.gap import mean_cosine_within
from isoenergy.statistics.concept_statistics import (
    AtomClasses,
    ConceptStatistics,
    Mask,
    ModalityStatistics,
    modality_score,
)
from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY, EPSILON

Floats = npt.NDArray[np.float64]


def first_moment(statistics: ModalityStatistics) -> Floats:
    """Return `(atoms,)` mean |z| of one modality: the energy of Papadimitriou et al. (2025); 0 and up.

    Their codes are not negative; |z| keeps the score below in [0, 1] for those that are. The paper's energy, the
    second moment, is `statistics.energy`.
    """
    return statistics.absolute / max(statistics.rows, 1)


def first_moment_score(statistics: ConceptStatistics) -> Floats:
    """Return `(atoms,)` modality scores of first moments (Papadimitriou et al. 2025); in [0, 1], 1 image, NaN dead."""
    return modality_score(first_moment(statistics.image), first_moment(statistics.text))


def frequency_matched_energies(statistics: ConceptStatistics) -> tuple[Floats, Floats]:
    """Return `(atoms,)` image and text energies if each atom fired as often in the one as in the other.

    Rows of the modality that fires an atom more are left out until both fire it alike, in expectation: its energy there
    falls in proportion. A score of these tells whether an atom fires more strongly, not whether it fires more often:
    the frequency-matched sub-sampling that a reviewer of the paper asked for (7), without drawing anything.
    """
    frequencies = modality_frequency(statistics.image), modality_frequency(statistics.text)
    least = np.minimum(*frequencies)
    image, text = (
        part.energy * np.divide(least, frequency, out=np.zeros(len(least)), where=frequency > 0)
        for part, frequency in zip((statistics.image, statistics.text), frequencies, strict=True)
    )
    return image, text


def modality_frequency(statistics: ModalityStatistics) -> Floats:
    """Return `(atoms,)` shares of one modality's rows in which each atom fires; in [0, 1] (paper 1.5)."""
    return statistics.fires / max(statistics.rows, 1)


def score_spread(score: Floats, energy: Floats) -> Floats:
    """Return √(Σ E (μ - ½)² / Σ E): 0 if all energy is shared evenly, ½ if all is of one modality (paper 1.5, 3.5).

    score: `(atoms, …)` μ or μ_B, NaN where undefined; energy: `(atoms, …)` E or E_B. NaN where no atom with a score
    has energy.
    """
    known = np.where(np.isnan(score), 0.0, energy)
    total = known.sum(axis=0)
    squares = (known * np.square(np.nan_to_num(score, nan=0.5) - 0.5)).sum(axis=0)
    spread: Floats = np.sqrt(np.divide(squares, total, out=np.full(np.shape(total), np.nan), where=total > 0))
    return spread


def crossed_score_spread(image: Floats, text: Floats, score: Floats) -> Floats:
    """Return `score_spread` as half of it is seen in other pairs: √(Σ (E_I - E_T)(μ - ½) / 2 Σ E); in [0, ½].

    image, text: `(atoms, …)` energies of some pairs; score: `(atoms,)` μ of others of the same kind, NaN where
    undefined, which counts as ½. E (μ - ½) is (E_I - E_T) / 2: of the square, one factor is of these pairs and one of
    the others. What noise adds to a square is not there then, as the noise of both has nothing in common (the
    cross-validated distance of Walther et al. 2016): μ of an atom that fires once is 0 or 1, whatever it is in truth.
    0 where the mean is below 0, NaN without energy.
    """
    away = np.nan_to_num(score, nan=0.5) - 0.5
    total = (image + text).sum(axis=0)
    squares = np.tensordot(away, image - text, 1) / 2
    mean = np.divide(squares, total, out=np.full(np.shape(total), np.nan), where=total > 0)
    spread: Floats = np.sqrt(np.maximum(mean, 0))
    return spread


@dataclass(frozen=True)
class EnergyShares:
    """Shares of all energy, each in [0, 1]; the first three add up to 1, unless there is no energy."""

    image_only: float
    text_only: float
    bimodal: float
    always_on: float
    """Of atoms that fire in nearly every input, whichever class they are of (paper 3.6)."""
    bimodal_not_always_on: float
    """Of bimodal atoms that are not always on: what the paper's sweep of β maximises (3.6)."""


def energy_shares(
    statistics: ConceptStatistics,
    epsilon: float = EPSILON,
    always_on_frequency: float = ALWAYS_ON_FREQUENCY,
    classes: AtomClasses | None = None,
) -> EnergyShares:
    """Return the shares of the classes cut at `epsilon`, and of atoms whose frequency exceeds `always_on_frequency`.

    classes: those of other pairs, in place of a cut on these.
    """
    classes = classes or statistics.classes(epsilon)
    always_on = statistics.frequency > always_on_frequency
    return EnergyShares(
        image_only=statistics.energy_share(classes.image_only),
        text_only=statistics.energy_share(classes.text_only),
        bimodal=statistics.energy_share(classes.bimodal),
        always_on=statistics.energy_share(always_on),
        bimodal_not_always_on=statistics.energy_share(classes.bimodal & ~always_on),
    )


@dataclass(frozen=True)
class ModalityBias:
    """The few strong atoms of one modality alone that make the gap (paper 3.5)."""

    atoms: int
    energy_share: float
    """In [0, 1]."""
    mean_cosine: float
    """Between different atoms of them, in [-1, 1]; NaN of fewer than two."""


def modality_bias(
    statistics: ConceptStatistics, dictionary: npt.NDArray[np.floating], members: Mask, least_energy: float = 1e-3
) -> ModalityBias:
    """Return what the atoms of `members` with more than `least_energy` amount to.

    dictionary: `(atoms, dim)`; members: `(atoms,)`, one modality's atoms, `classes(1e-3).text_only` say (paper 1.5).
    """
    strong = members & (statistics.energy > least_energy)
    return ModalityBias(
        int(strong.sum()), statistics.energy_share(strong), mean_cosine_within(np.asarray(dictionary)[strong])
    )
