"""The figures of one SAE on the page, each with what it shows and how to read it."""

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from isoenergy.evaluation.results import (
    CURVES_FILE,
    DENSITIES_FILE,
    EDGES_FILE,
    PLACES_FILE,
    PROJECTION_FILE,
    SCORES_FILE,
)
from isoenergy.report.figures.atom_map_figure import atom_map
from isoenergy.report.figures.bridge_figure import bridge_mass_by_cut
from isoenergy.report.figures.drawing import Drawing
from isoenergy.report.figures.energy_figures import energy_densities, energy_scatter, modality_score_histogram
from isoenergy.report.figures.projection_figure import PROJECTED, projected_pairs
from isoenergy.report.figures.rival_figures import gap_against_recall, recall_along_sweeps
from isoenergy.report.figures.shared import LABELS
from isoenergy.report.figures.sharedness_figure import sharedness_of_atoms
from isoenergy.report.intervals import number, with_bounds
from isoenergy.report.page.verdict import gap_left
from isoenergy.report.saes import Sae, trainings
from isoenergy.report.tables.rivals import VARIANTS, emptied_of

ReadTable = Callable[[str], pa.Table]
_BANDS = "Bands and bars: 95% intervals of the bootstrap over pairs."


def atom_drawings(sae: Sae, label: str, atoms: pa.Table, table: ReadTable) -> list[Drawing]:
    """Return what there is to see of an SAE's atoms.

    atoms: as `isoenergy.evaluation.exemplars.atoms_table` returns them; table: reads a table of the evaluation.
    """
    results = sae["results"]
    places, edges = (table(f"{sae['atom_map']}/{file}") for file in (PLACES_FILE, EDGES_FILE))
    counts = ", ".join(
        f"{results[f'{name}_atoms']:,} atoms ({kind}) with "
        f"{number(results[f'{name}_energy_share'], '.0%')} of the energy"
        for name, kind in LABELS.items()
    )
    return [
        Drawing.of(
            "energy",
            f"scatter of image energy against text energy on logarithmic axes, an atom a point: {counts}",
            energy_scatter(atoms, "Energy of each atom"),
            caption="Each atom’s mean squared activation on images and on texts; its area is how often it fires. On "
            "the dashed diagonal both are equal, as Iso-Energy asks of a shared concept. Hollow: equal energy is "
            "rejected; filled: it is not, or the atom is too rare to be tested. Lines: where the weaker side of a "
            "tested atom may lie.",
        ),
        Drawing.of(
            "modality-score",
            f"histogram of the energy over the modality score: {counts}",
            modality_score_histogram(table(f"{sae['spectra']}/{SCORES_FILE}"), "Energy by modality score"),
            caption="How much of the energy lies at which modality score μ, an atom’s image energy over both. At the "
            f"left edge text-only atoms, at the right image-only ones, bimodal in between. {_BANDS}",
        ),
        Drawing.of(
            "energy-density",
            f"densities of the energy over the energy of an atom, images above and texts below, by class: {counts}",
            energy_densities(table(f"{sae['spectra']}/{DENSITIES_FILE}"), "Where the energy lies"),
            caption="Whether few strong atoms or many weak ones hold a modality’s energy: the area below a curve is "
            f"its class’s share. {_BANDS}",
        ),
        Drawing.of(
            "bridge-mass",
            "share of both bridges’ mass that has a bimodal side, and of the energy in bimodal atoms, against ε",
            bridge_mass_by_cut(
                table(f"{sae['bridge_curves']}/{CURVES_FILE}"), "Bridges by the cut between the classes"
            ),
            caption="An atom is bimodal if ε ≤ μ ≤ 1 − ε. Where a bridge’s curve lies above the dashed one, bimodal "
            f"atoms connect the modalities by more than the energy that they hold. {_BANDS}",
        ),
        Drawing.of(
            "sharedness",
            "each tested atom’s sharedness with its interval, in order, and how many atoms have how much of it",
            sharedness_of_atoms(atoms, label),
            wide=True,
            narrow=sharedness_of_atoms(atoms, label, narrow=True),
            caption="Sharedness is the smaller energy over the larger: 1 is evenly shared. Many whole intervals in the "
            "grey zone would mean that the cut of μ at 0.05 calls bimodal or unimodal what is neither.",
        ),
        Drawing.of(
            "atom-map",
            f"the {len(places):,} live atoms of the dictionary in two dimensions, by PCA and by UMAP, coloured by "
            f"modality score, with the {len(edges):,} strongest bridges between two atoms as lines",
            atom_map(places, edges, "The dictionary as a map"),
            wide=True,
            caption="An atom a point, coloured from text to image, its area its energy. Lines: the strongest entries "
            "of the Σ-bridge between two atoms, which fire together in pairs and point one way. In UMAP near atoms "
            "are alike; distances between groups mean little.",
        ),
    ]


def projection_drawing(sae: Sae, label: str, table: ReadTable) -> Drawing:
    """Return both modalities before and after the removal of the unimodal atoms."""
    points = table(f"{sae['projection']}/{PROJECTION_FILE}")
    gap = {name: sae["results"]["geometry"][name]["difference_in_means_interval"] for name in PROJECTED}
    title = f"{label}{_of_trainings(sae)}"
    return Drawing.of(
        "projection",
        "images and captions as two clouds of points along the gap and across it: with all atoms the difference in "
        f"means is {with_bounds(gap['reconstructed'])}, without the unimodal atoms {with_bounds(gap['bimodal'])}",
        projected_pairs(points, sae["results"], title),
        wide=True,
        narrow=projected_pairs(points, sae["results"], title, stacked=True),
        caption="Test pairs rebuilt by the autoencoder, and the same without its unimodal atoms, in the same two axes: "
        "the direction of the gap, and the principal one across it. Crosses: the means, whose distance is the gap.",
    )


def _of_trainings(sae: Sae) -> str:
    """Which training a picture is of, and the gap that the verdict tells of all of them; nothing of a single one."""
    runs = trainings(sae)
    if len(runs) == 1:
        return ""
    before, after = (number(gap_left(runs, name)["value"], ".3f") for name in ("reconstructed", "bimodal"))
    return f", the first of {len(runs)} trainings\n(medians of all, as in the verdict: gap {before} → {after})"


def rival_drawing(original: Mapping[str, Any], sae: Sae, label: str) -> Drawing:
    """Return what closing the gap costs or gains at recall."""
    return Drawing.of(
        "rivals",
        "relative modality gap against R@1 of every way to close the gap",
        gap_against_recall(original, sae, label),
        wide=True,
        narrow=gap_against_recall(original, sae, label, narrow=True),
        caption="Upper left is better: a smaller gap and more of the pairs found. Named: nothing done, the winner, "
        f"centring, and the removal of unimodal atoms. Bars: 95% intervals.{_left_out(original, sae)}",
    )


def sweeps_drawing(original: Mapping[str, Any], sae: Sae, label: str) -> Drawing:
    """Return what each further step of closing the gap costs or gains at recall."""
    return Drawing.of(
        "sweeps",
        "difference in means against R@1 along the sweeps of step sizes and of gap dimensions",
        recall_along_sweeps(original, sae, label),
        wide=True,
        narrow=recall_along_sweeps(original, sae, label, narrow=True),
        caption="Each curve starts at 0, nothing moved. The diamond is the removal of the unimodal atoms; a curve "
        f"that passes above or left of it does better. Bars: 95% intervals.{_left_out(original, sae)}",
    )


def _left_out(original: Mapping[str, Any], sae: Sae) -> str:
    """Say which ways have no point as they leave most rows with nothing; nothing of none."""
    titles = dict.fromkeys(VARIANTS[name][0] for part in (original, sae["results"]) for name in emptied_of(part))
    return f" Without a point, since most rows are left with nothing: {', '.join(titles)}." if titles else ""
