"""The autoencoders side by side: every measure, its interval, and what it is controlled by."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isoenergy.report.intervals import bounds, is_known, number
from isoenergy.report.saes import Sae


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
class _Measure:
    path: str
    name: str
    meaning: str
    form: str
    control: bool = False


def _of(path: str, name: str, meaning: str, form: str = ".3f") -> _Measure:
    return _Measure(path, name, meaning, form)


def _control(path: str, name: str, meaning: str, form: str = ".3f") -> _Measure:
    return _Measure(path, name, meaning, form, control=True)


_GROUPS = {
    "Reconstruction and sparsity": (
        _of("mse", "MSE", "sum over dimensions, mean over rows", ".4f"),
        _of("r2", "R²", "against the scalar mean: the paper’s", ".4f"),
        _of("r2_centred", "R², centred", "against each modality’s own means", ".4f"),
        _of("l0", "l0", "atoms in a code", ".2f"),
        _of("l1", "l1", "sum of coefficients"),
        _of("dead_atoms", "dead atoms", "never fire on these pairs", ",d"),
    ),
    "Where the energy lies": (
        _of("bimodal_energy_share", "bimodal energy", "share of the energy, 0.05 ≤ μ ≤ 0.95", ".1%"),
        _control(
            "frequency_matched.bimodal_energy_share",
            "at equal frequencies",
            "had every atom fired as often in both: is it unimodal by how often it fires, or by how strongly?",
            ".1%",
        ),
        _of("image_only_energy_share", "image-only energy", "μ > 0.95", ".1%"),
        _of("text_only_energy_share", "text-only energy", "μ < 0.05", ".1%"),
        _of("always_on_energy_share", "always-on energy", "atoms with f > 0.9", ".1%"),
        _of("bimodal_not_always_on_energy_share", "bimodal, not always on", "share of the energy", ".1%"),
        _of("score_spread", "spread of μ", "weighted by energy; 0: all shared evenly, ½: all of one modality"),
        _control(
            "frequency_matched.score_spread", "at equal frequencies", "the same, had every atom fired as often in both"
        ),
        _of("bimodal_atoms", "bimodal atoms", "0.05 ≤ μ ≤ 0.95", ",d"),
        _of("image_only_atoms", "image-only atoms", "μ > 0.95", ",d"),
        _of("text_only_atoms", "text-only atoms", "μ < 0.05", ",d"),
        _of("tested_atoms", "atoms tested for equal energy", "fire in 20 pairs or more", ",d"),
        _of("unequal_atoms", "of which it is rejected", "false discovery rate 0.05", ",d"),
    ),
    "The modality in the atoms": (
        _of("geometry.p_acc", "p_acc", "atoms as probes of the modality, weighted by energy"),
        _of("modality_bias.image.atoms", "image-bias atoms", "μ > 0.999", ",d"),
        _of("modality_bias.image.energy_share", "their energy", "share of all energy", ".1%"),
        _of("modality_bias.image.mean_cosine", "their mean cosine", "near 1: one direction, a bias"),
        _of("modality_bias.text.atoms", "text-bias atoms", "μ < 0.001", ",d"),
        _of("modality_bias.text.energy_share", "their energy", "share of all energy", ".1%"),
        _of("modality_bias.text.mean_cosine", "their mean cosine", "near 1: one direction, a bias"),
    ),
    "Do bimodal atoms connect the modalities?": (
        _of("bridges.rho", "ρ", "Σ-bridge: mass of blocks with a bimodal side over the rest", ".2f"),
        _control(
            "bridges.rho_shuffled_pairs", "pairs shuffled", "what is left if image and text are not of one pair", ".2f"
        ),
        _control(
            "bridges.rho_shuffled_classes",
            "classes shuffled",
            "atoms of like frequency and energy swap their classes: is it the class, or how much they fire?",
            ".2f",
        ),
        _of("bridges.fda", "FDA", "Γ-bridge: the same odds over those of the energy", ".2f"),
        _control("bridges.fda_shuffled_classes", "classes shuffled", "as above", ".2f"),
        _of("bridges.pair_code_cosine", "cosine of a pair’s codes", "image and text of one pair"),
        _control("bridges.shuffled_code_cosine", "pairs shuffled", "an image and the text of the next pair"),
        _of("bridges.sigma_agreement.atoms", "classes by energy and Σ-bridge agree", "share of atoms", ".1%"),
        _of("bridges.sigma_agreement.energy", "by energy", "the same, weighted by energy", ".1%"),
        _of("bridges.sigma_agreement.compared", "could be compared", "share of the energy", ".1%"),
        _of("bridges.gamma_agreement.atoms", "classes by energy and Γ-bridge agree", "share of atoms", ".1%"),
        _of("bridges.gamma_agreement.energy", "by energy", "the same, weighted by energy", ".1%"),
        _of("bridges.gamma_agreement.compared", "could be compared", "share of the energy", ".1%"),
    ),
    "Without the unimodal atoms": (
        _of("geometry.reconstructed.difference_in_means", "difference in means, all atoms", "of the reconstruction"),
        _of("geometry.bimodal.difference_in_means", "… without unimodal atoms", "of bimodal atoms alone"),
        _control(
            "geometry.matched_removal.difference_in_means",
            "… without matched atoms",
            "as many random atoms of the same frequency and energy: does removing anything do it?",
        ),
        _of("retrieval.bimodal.change_r1", "change of R@1 without unimodal atoms", "paired, full gallery", "+.3f"),
        _control("retrieval.matched_removal.change_r1", "… without matched atoms", "as above", "+.3f"),
    ),
    "The dictionary": (
        _of("dictionary.live_atoms", "live atoms", "fire on these pairs; the measures below are theirs", ",d"),
        _of("dictionary.stable_rank", "stable rank", "‖D‖²_F / ‖D‖²₂", ".1f"),
        _of("dictionary.stable_rank_by_energy", "by energy", "rows times their energies", ".1f"),
        _of("dictionary.effective_rank", "effective rank", "e to the entropy of the singular values", ".1f"),
        _of("dictionary.effective_rank_by_energy", "by energy", "rows times their energies", ".1f"),
        _of("dictionary.coherence", "coherence", "largest cosine of two atoms"),
        _of(
            "dictionary.babel",
            "Babel function",
            "of k: the k largest |cosines| of an atom, summed, at the worst",
            ".2f",
        ),
        _of("dictionary.connectivity", "connectivity", "share of pairs of atoms that never meet in a code"),
        _of("dictionary.negative_interference", "negative interference", "how far atoms that meet cancel", ".4f"),
        _of("dictionary.c_insertion", "C-insertion", "mean R² as atoms are added, strongest first; higher is better"),
        _of("dictionary.c_deletion", "C-deletion", "mean R² as they are removed; lower is better"),
    ),
}

_STABILITY = (
    _of("matched_cosine", "cosine of matched atoms", "the best one-to-one matching"),
    _of("matched_cosine_by_energy", "by energy", "weighted by the first one’s"),
    _control("matched_cosine_of_random", "random directions", "instead of the second dictionary"),
    _of("transport", "transport of the energy", "cost of moving the first one’s onto the second’s, 1 − cosine"),
    _control("transport_of_permuted", "energies permuted", "over the atoms, in both"),
)


def side_by_side(saes: Sequence[Sae]) -> list[Group]:
    """Return every measure of SAEs in groups, a cell an SAE."""
    return [_group(heading, measures, [sae["results"] for sae in saes]) for heading, measures in _GROUPS.items()]


def stability(pairs: Sequence[Mapping[str, Any]]) -> Group:
    """Return how far the dictionaries of each two SAEs are one, a cell a pair of SAEs."""
    return _group("", _STABILITY, pairs)


def _group(heading: str, measures: Sequence[_Measure], columns: Sequence[Mapping[str, Any]]) -> Group:
    return Group(heading, [Row(m.name, m.meaning, [_cell(c, m) for c in columns], m.control) for m in measures])


def _cell(results: Mapping[str, Any], measure: _Measure) -> Cell:
    value = _at(results, measure.path)
    if value is None:
        return Cell("–")
    interval = value if isinstance(value, Mapping) else _interval(results, measure.path)
    if interval is None:
        return Cell(number(value, measure.form))
    value = interval["value"] if isinstance(value, Mapping) else value
    text = number(value, measure.form)
    if is_known(interval):
        return Cell(text, bounds(interval, measure.form))
    atoms = results["dictionary"]["live_atoms"]
    return Cell(text, f"no interval: {atoms:,} atoms" if math.isfinite(value) else "")


def _interval(results: Mapping[str, Any], path: str) -> Mapping[str, float] | None:
    """The interval lies beside the number, or those of the first level in a mapping of their own."""
    return _at(results, f"{path}_interval") or _at(results, f"intervals.{path}")


def _at(results: Mapping[str, Any], path: str) -> Any:
    """What lies at a dotted path; None if it was not measured, as the shape of a dictionary without live atoms."""
    found: Any = results
    for name in path.split("."):
        if name not in found:
            return None
        found = found[name]
    return found
