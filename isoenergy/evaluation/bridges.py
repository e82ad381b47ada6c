"""ρ and FDA: whether bimodal atoms are those that connect the modalities, with intervals and controls."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from scipy import sparse

from isoenergy.bootstrap import REPLICATES, BootstrapSums, Interval, poisson_weights
from isoenergy.codes import SparseCodes
from isoenergy.evaluation.concepts import load_bootstrap, load_codes, load_statistics
from isoenergy.evaluation.rows import READ_ROWS, Inputs, Result, SaeReference
from isoenergy.interventions import permuted_classes
from isoenergy.metrics.bridges import (
    fda,
    gamma_bridge,
    region_masses,
    rho,
    score_agreement,
    shuffled_bridge,
    sigma_bridge,
    transport_bridge,
)
from isoenergy.sae import SparseAutoencoder
from isoenergy.statistics import AtomClasses, ConceptStatistics, merged_code_matrix

_PATTERN_FILE = "pattern.safetensors"
_MASSES_FILE = "masses.safetensors"
_PERMUTATIONS = 200
_TRANSPORT_REPLICATES = 50
_TRANSPORT_BUDGET = 3e7
"""Replicates times live atoms²: each is an exact transport problem; 4,096 atoms take half a minute."""
_FEWEST_REPLICATES = 8


@dataclass(frozen=True)
class BridgesConfig:
    """The SAE whose atoms are connected."""

    sae: SaeReference
    sample: int
    seed: int


@dataclass(frozen=True)
class BridgePartConfig:
    """A part of the pairs, for the interval of ρ."""

    first_pair: int
    seed: int


def measure_bridges(config: BridgesConfig, inputs: Inputs, output: Path) -> Result:
    """Measure ρ and FDA, both also of what should show nothing: shuffled pairs, and shuffled classes.

    Shuffled classes: live atoms of like frequency and energy swap their labels, 200 times.
    """
    statistics, bootstrap = load_statistics(inputs["statistics"]), load_bootstrap(inputs["statistics"])
    dictionary = SparseAutoencoder.load(config.sae.place).dictionary.detach().numpy()
    classes, share = statistics.classes(), statistics.energy_share(statistics.classes().bimodal)
    sigma, gamma = sigma_bridge(statistics, dictionary), gamma_bridge(statistics, dictionary)
    _save_pattern(sigma, statistics, classes, output / _PATTERN_FILE)
    permuted = [
        permuted_classes(classes, statistics.frequency, statistics.energy, config.seed + number)
        for number in range(_PERMUTATIONS)
    ]
    shares = [statistics.energy_share(each.bimodal) for each in permuted]
    rho_permuted = np.array([rho(region_masses(sigma, each)) for each in permuted])
    fda_permuted = np.array(
        [fda(region_masses(gamma, each), part) for each, part in zip(permuted, shares, strict=True)]
    )
    return {
        "rho": rho(region_masses(sigma, classes)),
        "rho_shuffled_pairs": rho(region_masses(shuffled_bridge(statistics, dictionary), classes)),
        "rho_shuffled_classes": asdict(Interval.of(float(np.median(rho_permuted)), rho_permuted)),
        "fda": fda(region_masses(gamma, classes), share),
        "fda_interval": asdict(_fda_interval(gamma, classes, dictionary, bootstrap, share)),
        "fda_shuffled_classes": asdict(Interval.of(float(np.median(fda_permuted)), fda_permuted)),
        "sigma_agreement": asdict(score_agreement(sigma, statistics)),
        "gamma_agreement": asdict(score_agreement(gamma, statistics)),
        **_code_cosines(load_codes(inputs["held"]), config.sample),
    }


def sum_bridge_part(config: BridgePartConfig, inputs: Inputs, output: Path) -> Result:
    """Sum what each pair adds to the masses of the Σ-bridge, under every bootstrap weight.

    The entries that are kept and their signs are those of the whole, so that a mass is a sum over pairs.
    """
    image, text = load_codes(inputs["codes"])
    patterns = _load_pattern(inputs["bridges"] / _PATTERN_FILE)
    masses = np.zeros((2, 1 + REPLICATES))
    for start in range(0, len(image), READ_ROWS):
        rows = slice(start, start + READ_ROWS)
        both = [
            merged_code_matrix(SparseCodes(c.indices[rows], c.values[rows], c.residual[rows]), patterns[0].shape[0])
            for c in (image, text)
        ]
        weights = poisson_weights(both[0].shape[0], REPLICATES, config.seed, config.first_pair + start)
        for number, pattern in enumerate(patterns):
            masses[number] += (both[0] @ pattern).multiply(both[1]).sum(axis=1) @ weights
    save_file({"masses": masses}, output / _MASSES_FILE)
    return {"pairs": len(image)}


def merge_bridge_parts(config: None, inputs: Inputs, output: Path) -> Result:
    """Return the interval of ρ."""
    del config, output
    through, unimodal = np.sum([load_file(folder / _MASSES_FILE)["masses"] for folder in inputs.values()], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = through / unimodal
    return {"rho_interval": asdict(Interval.around(values[0], values[1:]))}


def _save_pattern(sigma: sparse.csr_array, statistics: ConceptStatistics, classes: AtomClasses, file: Path) -> None:
    """Write, for the masses with and without a bimodal side, what a unit of z_image z_text at an entry adds to it."""
    pattern = sigma.copy()
    pattern.data = np.ones_like(pattern.data)
    cross = (statistics.cross.multiply(pattern) / statistics.image.rows).tocsr()
    for matrix in (cross, sigma):
        matrix.sort_indices()
    row = np.repeat(np.arange(statistics.atoms), np.diff(cross.indptr))
    column = cross.indices.astype(np.int64)
    save_file(
        {
            "atoms": np.array(statistics.atoms),
            "row": row,
            "column": column,
            "weight": np.abs(sigma.data) / cross.data,
            "bimodal": classes.bimodal[row] | classes.bimodal[column],
        },
        file,
    )


def _load_pattern(file: Path) -> tuple[sparse.csr_array, sparse.csr_array]:
    part = load_file(file)
    shape = (int(part["atoms"]),) * 2
    through, unimodal = (
        sparse.csr_array((part["weight"][chosen], (part["row"][chosen], part["column"][chosen])), shape)
        for chosen in (part["bimodal"], ~part["bimodal"])
    )
    return through, unimodal


def _fda_interval(
    gamma: sparse.csr_array,
    classes: AtomClasses,
    dictionary: npt.NDArray[np.floating],
    sums: BootstrapSums,
    share: float,
) -> Interval:
    """Return the interval of FDA from the energies of some replicates, normal in log FDA; none for too many atoms.

    Each replicate is a transport problem of its own, whose cost grows faster than the square of the live atoms.
    """
    value = fda(region_masses(gamma, classes), share)
    live = int((~classes.dead).sum())
    replicates = int(min(_TRANSPORT_REPLICATES, _TRANSPORT_BUDGET // max(live, 1) ** 2, sums.pairs.shape[0] - 1))
    if replicates < _FEWEST_REPLICATES or not (np.isfinite(value) and value > 0):
        return Interval(value, float("nan"), float("nan"))
    logs = []
    for column in range(1, 1 + replicates):
        image, text = (second[:, column] for second in (sums.image_second, sums.text_second))
        energy = image + text
        part = energy[classes.bimodal].sum() / energy.sum()
        logs.append(np.log(fda(region_masses(transport_bridge(dictionary, image, text), classes), part)))
    if not np.isfinite(logs).all():
        return Interval(value, float("nan"), float("nan"))
    spread = Interval.normal(float(np.log(value)), float(np.std(logs, ddof=1)))
    return Interval(value, float(np.exp(spread.low)), float(np.exp(spread.high)))


def _code_cosines(codes: tuple[SparseCodes, SparseCodes], sample: int) -> Result:
    """Return the mean cosine of the codes of a pair, and of an image and the text of the next pair."""
    image, text = (
        SparseCodes(part.indices[:sample], part.merged_values()[:sample], part.residual[:sample]) for part in codes
    )
    norms = [part.values.double().norm(dim=1) for part in (image, text)]
    count = len(image)
    order = np.roll(np.arange(count), 1)
    other = SparseCodes(text.indices[order], text.values[order], text.residual[order])
    real = image.inner(text).double() / (norms[0] * norms[1]).clamp(min=1e-12)
    shuffled = image.inner(other).double() / (norms[0] * norms[1][order]).clamp(min=1e-12)
    return {
        name: asdict(Interval.normal(float(values.mean()), float(values.std()) / max(count, 2) ** 0.5))
        for name, values in (("pair_code_cosine", real), ("shuffled_code_cosine", shuffled))
    }
