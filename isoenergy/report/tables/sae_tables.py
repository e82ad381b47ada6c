"""The autoencoders side by side: every measure, its interval, and what it is controlled by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoenergy.report.intervals import Interval, bounds, fitting, is_known, number, spread, value_of
from isoenergy.report.saes import Sae, trainings


@dataclass(frozen=True)
class Cell:
    """A number, and its interval or nothing."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Row:
    """A measure of each SAE; a control is shown below what it controls."""

    name: str
    meaning: str
    cells: Sequence[Cell]
    control: bool = False


@dataclass(frozen=True)
class Group:
    """Measures that belong together."""

    heading: str
    rows: Sequence[Row]


@dataclass(frozen=True)
class Measure:
    """A number of an SAE's results: where it lies, what it is called, and how it is written."""

    path: str
    name: str
    meaning: str
    form: str = ".3f"
    control: bool = False


def _control(path: str, name: str, meaning: str, form: str = ".3f") -> Measure:
    return Measure(path, name, meaning, form, control=True)


GROUPS = {
    "Reconstruction and sparsity": (
        Measure("mse", "MSE", "sum over dimensions, mean over rows", ".4f"),
        Measure("r2", "R²", "against the scalar mean: the paper’s", ".4f"),
        Measure("r2_centred", "R², centred", "against each modality’s own means", ".4f"),
        _control("r2_of_means", "R² of the means alone", "each modality’s mean in place of every row", ".4f"),
        Measure("l0", "l0", "atoms in a code", ".2f"),
        Measure("l1", "l1", "sum of coefficients"),
        Measure("dead_atoms", "dead atoms", "never fire on these pairs", ",d"),
    ),
    "Where the energy lies": (
        Measure("bimodal_energy_share", "bimodal energy", "share of the energy, 0.05 ≤ μ ≤ 0.95", ".1%"),
        _control(
            "frequency_matched.bimodal_energy_share",
            "at equal frequencies",
            "had every atom fired as often in both: is it unimodal by how often it fires, or by how strongly?",
            ".1%",
        ),
        Measure("image_only_energy_share", "image-only energy", "μ > 0.95", ".1%"),
        Measure("text_only_energy_share", "text-only energy", "μ < 0.05", ".1%"),
        Measure("always_on_energy_share", "always-on energy", "atoms with f > 0.9", ".1%"),
        Measure("bimodal_not_always_on_energy_share", "bimodal, not always on", "share of the energy", ".1%"),
        Measure("score_spread", "spread of μ", "weighted by energy; 0: all shared evenly, ½: all of one modality"),
        _control(
            "frequency_matched.score_spread", "at equal frequencies", "the same, had every atom fired as often in both"
        ),
        Measure("bimodal_atoms", "bimodal atoms", "0.05 ≤ μ ≤ 0.95", ",d"),
        Measure("image_only_atoms", "image-only atoms", "μ > 0.95", ",d"),
        Measure("text_only_atoms", "text-only atoms", "μ < 0.05", ",d"),
        Measure("tested_atoms", "atoms tested for equal energy", "fire in 20 pairs or more", ",d"),
        Measure("unequal_atoms", "of which it is rejected", "false discovery rate 0.05", ",d"),
    ),
    "The modality in the atoms": (
        Measure("geometry.p_acc", "p_acc", "atoms as probes of the modality, weighted by energy"),
        Measure("modality_bias.image.atoms", "image-bias atoms", "μ > 0.999", ",d"),
        Measure("modality_bias.image.energy_share", "their energy", "share of all energy", ".1%"),
        Measure("modality_bias.image.mean_cosine", "their mean cosine", "near 1: one direction, a bias"),
        Measure("modality_bias.text.atoms", "text-bias atoms", "μ < 0.001", ",d"),
        Measure("modality_bias.text.energy_share", "their energy", "share of all energy", ".1%"),
        Measure("modality_bias.text.mean_cosine", "their mean cosine", "near 1: one direction, a bias"),
    ),
    "Do bimodal atoms connect the modalities?": (
        Measure("bridges.rho", "ρ", "Σ-bridge: mass of blocks with a bimodal side over the rest", ".2f"),
        _control(
            "bridges.rho_shuffled_pairs", "pairs shuffled", "what is left if image and text are not of one pair", ".2f"
        ),
        _control(
            "bridges.rho_shuffled_classes",
            "classes shuffled",
            "atoms of like frequency and energy swap their classes: is it the class, or how much they fire?",
            ".2f",
        ),
        Measure("bridges.fda", "FDA", "Γ-bridge: the same odds over those of the energy", ".2f"),
        _control("bridges.fda_shuffled_classes", "classes shuffled", "as above", ".2f"),
        Measure("bridges.pair_code_cosine", "cosine of a pair’s codes", "image and text of one pair"),
        _control("bridges.shuffled_code_cosine", "pairs shuffled", "an image and the text of another pair"),
        Measure(
            "agreement.measured_pairs",
            "agreement",
            "share of bimodal energy in atoms whose sides go together in the measured pairs beyond chance (q < 0.05)",
            ".1%",
        ),
        Measure(
            "agreement.bimodal_energy_share",
            "… in the fitted pairs",
            "share in atoms that pass the same test there: more pairs find more",
            ".1%",
        ),
        _control("agreement.shuffled_pairs", "fitted pairs shuffled", "what the same test calls agreeing there", ".1%"),
        Measure("agreement.agreeing_atoms", "bimodal atoms that agree in the fitted pairs", "how many", ",d"),
        Measure(
            "agreement.correlation", "correlation of an atom’s sides", "over pairs; of bimodal atoms, by their energy"
        ),
        Measure("bridges.sigma_agreement.atoms", "classes by energy and Σ-bridge agree", "share of atoms", ".1%"),
        Measure("bridges.sigma_agreement.energy", "by energy", "the same, weighted by energy", ".1%"),
        Measure("bridges.sigma_agreement.compared", "could be compared", "share of the energy", ".1%"),
        Measure("bridges.gamma_agreement.atoms", "classes by energy and Γ-bridge agree", "share of atoms", ".1%"),
        Measure("bridges.gamma_agreement.energy", "by energy", "the same, weighted by energy", ".1%"),
        Measure("bridges.gamma_agreement.compared", "could be compared", "share of the energy", ".1%"),
    ),
    "Without the unimodal atoms": (
        Measure(
            "geometry.reconstructed.difference_in_means", "difference in means, all atoms", "of the reconstruction"
        ),
        Measure("geometry.bimodal.difference_in_means", "… without unimodal atoms", "of bimodal atoms alone"),
        _control(
            "geometry.matched_removal.difference_in_means",
            "… without matched atoms",
            "as many random atoms of the same frequency and energy: does removing anything do it?",
        ),
        Measure("retrieval.bimodal.change_r1", "change of R@1 without unimodal atoms", "paired, full gallery", "+.3f"),
        _control("retrieval.matched_removal.change_r1", "… without matched atoms", "as above", "+.3f"),
    ),
    "The dictionary": (
        Measure("dictionary.live_atoms", "live atoms", "fire on these pairs; the measures below are theirs", ",d"),
        Measure("dictionary.stable_rank", "stable rank", "‖D‖²_F / ‖D‖²₂", ".1f"),
        Measure("dictionary.stable_rank_by_energy", "by energy", "rows times their energies", ".1f"),
        Measure("dictionary.effective_rank", "effective rank", "e to the entropy of the singular values", ".1f"),
        Measure("dictionary.effective_rank_by_energy", "by energy", "rows times their energies", ".1f"),
        Measure("dictionary.coherence", "coherence", "largest cosine of two atoms"),
        Measure(
            "dictionary.babel",
            "Babel function",
            "of k: the k largest |cosines| of an atom, summed, at the worst",
            ".2f",
        ),
        Measure("dictionary.connectivity", "connectivity", "share of pairs of atoms that never meet in a code"),
        Measure("dictionary.negative_interference", "negative interference", "how far atoms that meet cancel", ".4f"),
        Measure(
            "dictionary.c_insertion", "C-insertion", "mean R² as atoms are added, strongest first; higher is better"
        ),
        Measure("dictionary.c_deletion", "C-deletion", "mean R² as they are removed; lower is better"),
    ),
}

_STABILITY = (
    Measure("matched_cosine", "cosine of matched atoms", "the best one-to-one matching"),
    Measure("matched_cosine_by_energy", "by energy", "weighted by the first one’s"),
    _control("matched_cosine_of_random", "random directions", "instead of the second dictionary"),
    Measure("transport", "transport of the energy", "cost of moving the first one’s onto the second’s, 1 − cosine"),
    _control("transport_of_permuted", "energies permuted", "over the atoms, in both"),
)


def side_by_side(saes: Sequence[Sae]) -> list[Group]:
    """Return every measure of SAEs in groups, a cell an SAE."""
    return [_group(heading, measures, [trainings(sae) for sae in saes]) for heading, measures in GROUPS.items()]


def stability(pairs: Sequence[Mapping[str, Any]]) -> Group:
    """Return how far the dictionaries of each two SAEs are one, a cell a pair of SAEs."""
    return _group("", _STABILITY, [[pair] for pair in pairs])


def _group(heading: str, measures: Sequence[Measure], columns: Sequence[Sequence[Mapping[str, Any]]]) -> Group:
    return Group(heading, [Row(m.name, m.meaning, [cell(c, m) for c in columns], m.control) for m in measures])


def cell(runs: Sequence[Mapping[str, Any]], measure: Measure) -> Cell:
    """Return a measure of an SAE as text, with its interval if there is one, and its spread over trainings.

    runs: the results of the SAE, and of its repeats, which have not all measures.
    """
    results = runs[0]
    value, interval = reading(results, measure.path)
    if value is None:
        return Cell("–")
    text, values = number(value, measure.form), [reading(each, measure.path)[0] for each in runs]
    of_all = [each for each in values if each is not None]
    form = fitting(interval, measure.form) if interval is not None and is_known(interval) else measure.form
    over_seeds = spread(of_all, form.replace("d", ".0f")) if len(of_all) == len(runs) else ""
    if interval is None:
        return Cell(text, over_seeds.strip())
    if is_known(interval):
        return Cell(value_of(interval, measure.form), bounds(interval, measure.form) + over_seeds)
    if not math.isfinite(value) or no_intervals(results):
        return Cell(text, over_seeds.strip())
    return Cell(text, f"no interval: {results['dictionary']['live_atoms']:,} atoms")


def no_intervals(results: Mapping[str, Any]) -> bool:
    """Return whether an SAE's numbers have no intervals, as images were too few."""
    r2 = reading(results, "r2")[1]
    return r2 is not None and not is_known(r2)


def reading(results: Mapping[str, Any], path: str) -> tuple[float | None, Interval | None]:
    """Return the number that lies at a dotted path, None if it was not measured, and its interval if there is one."""
    value = at_path(results, path)
    if value is None:
        return None, None
    return (value["value"], value) if isinstance(value, Mapping) else (value, _interval(results, path))


def _interval(results: Mapping[str, Any], path: str) -> Interval | None:
    """The interval lies beside the number, or those of the first level in a mapping of their own."""
    interval: Interval | None = at_path(results, f"{path}_interval") or at_path(results, f"intervals.{path}")
    return interval


def at_path(results: Mapping[str, Any], path: str) -> Any:
    """Return what lies at a dotted path; None if it was not measured, as the shape of a dead dictionary."""
    found: Any = results
    for name in path.split("."):
        if name not in found:
            return None
        found = found[name]
    return found
