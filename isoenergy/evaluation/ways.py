"""The ways to close the gap that are compared: what each is called, what it is, and where it is shown.

A further linear way is its function in `isoenergy.interventions.gap_closing` and a line here. A further choice of atoms
is a base in `isoenergy.evaluation.embedding_variants` and a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isoenergy import interventions

if TYPE_CHECKING:
    from collections.abc import Callable

    from isoenergy.interventions.gap_closing import GapClosing
    from isoenergy.statistics.pair_moments import PairMoments

ORIGINAL, RECONSTRUCTED = "original", "reconstructed"
_HEADLINE_DIMENSIONS = 8


@dataclass(frozen=True)
class Way:
    """What is done to embeddings."""

    title: str
    definition: str
    linear: Callable[[PairMoments, int], GapClosing] | None = None
    """Fits it to moments with a seed; None: it is a choice of atoms, or nothing."""
    control: bool = False
    """It does not compete."""
    task: str = ""
    """What tasks call it; empty: they are not measured on it."""
    headline: bool = False
    """Whether it is in the overview of the tasks and the lines printed at the end."""
    in_gap_figure: bool = False
    takes_from_embeddings: bool = False
    """Of an SAE, it takes a part of what that rebuilds away from the embeddings themselves; others alter what it
    rebuilds."""


def _without_gap_dimensions(moments: PairMoments, _seed: int) -> GapClosing:
    return interventions.gap_closing.without_gap_dimensions(moments, min(_HEADLINE_DIMENSIONS, moments.dim - 1))


WAYS: dict[str, Way] = {
    ORIGINAL: Way("as they are", "the embeddings, of unit norm", task="as they are", headline=True, in_gap_figure=True),
    RECONSTRUCTED: Way(
        "all atoms",
        "what the SAE rebuilds of them: reconstruction alone",
        task="all atoms",
        headline=True,
        in_gap_figure=True,
    ),
    "bimodal": Way(
        "unimodal atoms removed",
        "rebuilt from the bimodal atoms alone: the paper’s intervention",
        task="bimodal atoms",
        headline=True,
        in_gap_figure=True,
    ),
    "less_unimodal": Way(
        "unimodal part subtracted",
        "the embeddings less what the unimodal atoms rebuild of them: what no atom explains stays",
        task="unimodal part subtracted",
        headline=True,
        in_gap_figure=True,
        takes_from_embeddings=True,
    ),
    "equalised": Way(
        "energies equalised",
        "rebuilt with an atom’s coefficients in a modality times √(min(E_I, E_T) / E_m), E_m its energy there: each "
        "atom then has one energy in both",
        task="energies equalised",
        in_gap_figure=True,
    ),
    "less_unequal": Way(
        "unequal part subtracted",
        "the embeddings less what equalising the energies takes away of their reconstruction",
        task="unequal part subtracted",
        in_gap_figure=True,
        takes_from_embeddings=True,
    ),
    "bimodal_subspace": Way(
        "inside the bimodal subspace",
        "the reconstruction projected to the directions that hold 95% of the bimodal atoms’ energy",
    ),
    "without_unimodal_subspace": Way(
        "outside the unimodal subspace",
        "the reconstruction without the directions that hold 95% of the unimodal atoms’ energy",
    ),
    "centred": Way(
        "centring",
        "each modality minus its mean, the simplest way (GR-CLIP, I0T_post)",
        lambda moments, _seed: interventions.gap_closing.centring(moments),
        task="centred",
        headline=True,
        in_gap_figure=True,
    ),
    "without_own_mean": Way(
        "own mean projected out",
        "each modality projected onto the complement of its own mean’s direction",
        lambda moments, _seed: interventions.gap_closing.without_own_mean(moments),
        task="own mean projected out",
        in_gap_figure=True,
    ),
    "standardised": Way(
        "standardisation",
        "each coordinate minus its modality’s mean, over its standard deviation there (I0T_async’s normalisation, "
        "untrained)",
        lambda moments, _seed: interventions.gap_closing.standardisation(moments),
        task="standardised",
    ),
    "midpoint_shift": Way(
        "midpoint shift",
        "both moved along the gap until their means meet (Liang et al. 2022)",
        lambda moments, _seed: interventions.gap_closing.midpoint_shift(moments),
        in_gap_figure=True,
    ),
    "random_shift": Way(
        "centring + random shift",
        "each minus its mean, plus one random unit vector, the same for both",
        lambda moments, seed: interventions.gap_closing.random_shift(moments, seed),
    ),
    "without_gap_dimensions": Way(
        "without gap dimensions",
        f"the {_HEADLINE_DIMENSIONS} coordinates in which the means differ most set to 0 (Schrodi et al. 2025)",
        _without_gap_dimensions,
        in_gap_figure=True,
    ),
    "without_gap_direction": Way(
        "without the gap direction",
        "projected onto the complement of the gap vector",
        lambda moments, _seed: interventions.gap_closing.without_gap_direction(moments),
        in_gap_figure=True,
    ),
    "canonical_correlation": Way(
        "CCA",
        "each mapped to the directions in which they correlate most, scaled by that",
        lambda moments, _seed: interventions.gap_closing.canonical_correlation(moments, moments.dim),
    ),
    "whitened": Way(
        "whitening",
        "each minus its mean, its covariance brought towards the identity",
        lambda moments, _seed: interventions.gap_closing.whitening(moments),
    ),
    "coral": Way(
        "CORAL",
        "images given the mean and covariance of the texts",
        lambda moments, _seed: interventions.gap_closing.coral(moments),
    ),
    "unimodal": Way(
        "bimodal atoms removed",
        "control: rebuilt from the unimodal atoms alone; should retrieve nothing",
        control=True,
        task="unimodal atoms",
        headline=True,
        in_gap_figure=True,
    ),
    "matched_removal": Way(
        "matched atoms removed",
        "control: without as many random atoms of the unimodal ones’ frequencies and energies",
        control=True,
        in_gap_figure=True,
    ),
}
"""Each of `isoenergy.evaluation.embedding_variants` but the points of sweeps."""

CONTROLS = tuple(name for name, way in WAYS.items() if way.control)
HEADLINE = tuple(name for name, way in WAYS.items() if way.headline and name != ORIGINAL)
FROM_EMBEDDINGS = tuple(way.title for way in WAYS.values() if way.takes_from_embeddings)
"""Titles of the ways of an SAE that begin with the embeddings."""


def beginning(name: str, of_sae: bool) -> str:
    """Return what a way begins with: the gap that it closes, and the recall that it keeps, are that variant's.

    of_sae: it is measured among what an SAE rebuilds; else, on the embeddings. What takes from the embeddings begins
    with these as they are also where the SAE's input is centred: the centring is then a part of it.
    """
    return RECONSTRUCTED if of_sae and not WAYS[name].takes_from_embeddings else ORIGINAL
