"""SAEs against each other, and removing unimodal atoms against its rivals."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isoenergy.evaluation.concepts import load_bootstrap, load_statistics
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_geometry import load_p_acc
from isoenergy.evaluation.measured_retrieval import load_recalls
from isoenergy.evaluation.measured_rows import Inputs, Result, SaeReference
from isoenergy.evaluation.ways import CONTROLS
from isoenergy.metrics.reconstruction import r2_paper
from isoenergy.metrics.stability import energy_transport, match_atoms, permuted_transport, random_matching
from isoenergy.metrics.transport import strongest_atoms
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.bootstrap import Interval
from isoenergy.statistics.concept_statistics import energy_share

MEASURES = ("r1", "in_batches_r1")
_REMOVED = "bimodal"
"""The variant that the others are compared with: unimodal atoms removed."""
_NULL_DRAWS = 3


@dataclass(frozen=True)
class StabilityConfig:
    """Two dictionaries for embeddings of one width."""

    first: SaeReference
    second: SaeReference
    seed: int


def measure_stability(config: StabilityConfig, inputs: Inputs, output: Path) -> Result:
    """Match the live atoms of two dictionaries and move the energy of one to the other; both with their nulls.

    The nulls: random directions instead of the second dictionary, and energies permuted over the atoms (paper 3.7).
    Of more than 16,384 live atoms, the strongest; `energy_compared`: their share of the energy, the smaller of the two.
    """
    del output
    atoms, energies, shares = [], [], []
    for name, reference in (("first", config.first), ("second", config.second)):
        statistics = load_statistics(inputs[name])
        live = strongest_atoms(statistics.energy)
        shares.append(statistics.energy_share(live))
        atoms.append(SparseAutoencoder.load(reference.uri).dictionary.detach().numpy()[live])
        energies.append(statistics.energy[live])
    matching = match_atoms(*atoms)
    null = random_matching(atoms[0], len(atoms[1]), _NULL_DRAWS, config.seed)
    permuted = permuted_transport(atoms[0], atoms[1], energies[0], energies[1], _NULL_DRAWS, config.seed)
    return {
        "energy_compared": min(shares),
        "matched_cosine": matching.mean,
        "matched_cosine_by_energy": matching.weighted_mean(energies[0]),
        "matched_cosine_of_random": float(null.mean()),
        "transport": energy_transport(atoms[0], atoms[1], energies[0], energies[1]),
        "transport_of_permuted": float(permuted.mean()),
    }


def compare_rivals(config: None, inputs: Inputs, output: Path) -> Result:
    """Return, by measure, who wins at recall, and how far each rival is from removing the unimodal atoms.

    Rivals are all variants of the SAE's rows and of the embeddings themselves (`original/…`), but the controls. Pairs
    and bootstrap weights are the same for all, so that differences are paired. The winner is chosen on these very
    pairs, which favours it: its lead may be less on others. A measure that none has (fewer pairs than a batch) has no
    winner.
    """
    del config, output
    rivals = {
        **{f"original/{name}": recalls for name, recalls in load_recalls(inputs["original"]).items()},
        **{name: recalls for name, recalls in load_recalls(inputs["retrieval"]).items() if name not in CONTROLS},
    }
    return {measure: _compare(rivals, measure) for measure in MEASURES}


@dataclass(frozen=True)
class DifferenceConfig:
    """Two SAEs for embeddings of one width."""

    dim: int


def measure_difference(config: DifferenceConfig, inputs: Inputs, output: Path) -> Result:
    """Return how far the first SAE is above the second: R², bimodal energy and p_acc, by the same draws of pairs."""
    del output
    first, second = (_drawn_measures(config.dim, inputs, which) for which in ("first", "second"))
    return {name: asdict(Interval.of_weighted(values - second[name])) for name, values in first.items()}


def _drawn_measures(dim: int, inputs: Inputs, which: str) -> dict[str, npt.NDArray[np.float64]]:
    """`(1 + replicates,)` each, under weights that are the same for all SAEs."""
    sums = load_bootstrap(inputs[f"{which}-statistics"])
    bimodal = Fitted.load(inputs[f"{which}-fit"]).classes.bimodal
    return {
        "r2": r2_paper(*sums.errors_by_modality(dim)),
        "bimodal_energy_share": energy_share(sums.energy, bimodal[:, None]),
        "p_acc": load_p_acc(inputs[f"{which}-geometry"]),
    }


def _compare(rivals: dict[str, dict[str, npt.NDArray[np.float64]]], measure: str) -> Result:
    values = {name: recalls[measure] for name, recalls in rivals.items()}
    ranked = sorted(values, key=lambda name: -values[name][0])
    if np.isnan(values[_REMOVED][0]):
        return {"winner": None, "rivals": len(ranked)}
    return {
        "winner": ranked[0],
        "lead": asdict(_difference(values[ranked[0]], values[ranked[1]])),
        "place_of_bimodal": ranked.index(_REMOVED) + 1,
        "rivals": len(ranked),
        "ahead_of_bimodal": {
            name: asdict(_difference(values[name], values[_REMOVED])) for name in ranked if name != _REMOVED
        },
    }


def _difference(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> Interval:
    """Not `around`: a mean's replicates are not biased, and to move those of a few hits would decide their sign."""
    difference = a - b
    return Interval.of(difference[0], difference[1:])
