"""ρ and FDA: whether bimodal atoms are those that connect the modalities, with intervals and controls."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file
from scipy import sparse

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.evaluation.concepts import load_bootstrap, load_codes, load_images, load_statistics
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.interval_columns import interval_columns
from isoenergy.evaluation.measured_rows import READ_ROWS, Inputs, Result, SaeReference
from isoenergy.evaluation.results import CURVES_FILE
from isoenergy.interventions.removal import permuted_classes
from isoenergy.metrics.bridges import (
    fda,
    gamma_bridges,
    gram_cut,
    region_masses,
    rho,
    score_agreement,
    shuffled_bridge,
    sigma_bridge,
    sigma_bridge_at,
)
from isoenergy.metrics.class_thresholds import THRESHOLDS, mass_with_bimodal_side
from isoenergy.metrics.gram_panels import gram_at
from isoenergy.metrics.transport import strongest_atoms
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.bootstrap import REPLICATES, Interval, image_weights
from isoenergy.statistics.concept_statistics import energy_share, merged_code_matrix
from isoenergy.statistics.thresholds import EPSILON
from isoenergy.statistics.weighted_sums import BootstrapSums

_GAMMA_FILE = "gamma.npy"
_PATTERN_FILE = "pattern.safetensors"
_SUMS_FILE = "sums.safetensors"
_PERMUTATIONS = 200
_TRANSPORT_REPLICATES = 50
_TRANSPORT_BUDGET = 3e7
"""Replicates times live atoms²: each is an exact transport problem; 4,096 atoms take half a minute."""
_FEWEST_REPLICATES = 8
_SUMS_BUDGET = 2e7
"""Replicates times entries of the Σ-bridge, 8 bytes each."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BridgesConfig:
    """The SAE whose atoms are connected."""

    sae: SaeReference
    sample: int
    seed: int


@dataclass(frozen=True)
class BridgePartConfig:
    """A part of the pairs, for the interval of ρ."""

    seed: int
    """As that under which the energies were summed."""


def measure_bridges(config: BridgesConfig, inputs: Inputs, output: Path) -> Result:
    """Measure ρ and FDA, both also of what should show nothing: shuffled pairs, and shuffled classes.

    Shuffled classes: live atoms of like frequency and energy swap their labels, 200 times. Written for the step that
    gives ρ its interval: where the Σ-bridge has entries, and the Γ-bridge's curve (see `merge_bridge_parts`). Which
    entries the Σ-bridge keeps, and the classes, are those fitted. `fda_energy`: the share of all energy that the
    Γ-bridge is about, 1 up to 16,384 atoms.
    """
    dictionary = SparseAutoencoder.load(config.sae.uri).dictionary.detach().numpy()
    cut = gram_cut(dictionary)
    sigma = _sigma(inputs, dictionary, cut, output)  # before the transport, which needs no cross-moments beside it
    statistics, bootstrap = load_statistics(inputs["statistics"]), load_bootstrap(inputs["statistics"])
    known = Fitted.load(inputs["fit"]).known
    classes = known.classes()
    share = statistics.energy_share(classes.bimodal)
    energies = [(statistics.image.energy, statistics.text.energy), *_replicated_energies(bootstrap)]
    has_interval = bootstrap.has_replicates
    del bootstrap  # before the transport, which takes more than all else
    gamma, *replicates = gamma_bridges(energies, dictionary, cut=cut)
    seeds = range(config.seed, config.seed + _PERMUTATIONS)
    permuted = list(permuted_classes(classes, statistics.frequency, statistics.energy, seeds))
    shares = [statistics.energy_share(each.bimodal) for each in permuted]
    rho_permuted = np.array([rho(region_masses(sigma, each)) for each in permuted])
    fda_permuted = np.array(
        [fda(region_masses(gamma, each), part) for each, part in zip(permuted, shares, strict=True)]
    )
    found_fda = fda(region_masses(gamma, classes), share)
    fda_replicates = [
        fda(region_masses(bridge, classes), float(energy_share(image + text, classes.bimodal)))
        for bridge, (image, text) in zip(replicates, energies[1:], strict=True)
    ]
    curves = [_curve(bridge, known.modality_score) for bridge in (gamma, *replicates)]
    np.save(output / _GAMMA_FILE, np.concatenate(curves, axis=1))
    return {
        "rho": rho(region_masses(sigma, classes)),
        "rho_shuffled_pairs": rho(region_masses(shuffled_bridge(statistics, dictionary, cut=cut), classes)),
        "rho_shuffled_classes": asdict(Interval.of(float(np.median(rho_permuted)), rho_permuted)),
        "fda": found_fda,
        "fda_energy": statistics.energy_share(strongest_atoms(statistics.energy)),
        "fda_interval": asdict(_fda_interval(found_fda, fda_replicates)),
        "fda_shuffled_classes": asdict(Interval.of(float(np.median(fda_permuted)), fda_permuted)),
        "sigma_agreement": asdict(score_agreement(sigma, statistics, classes=classes)),
        "gamma_agreement": asdict(score_agreement(gamma, statistics, classes=classes)),
        **_code_cosines(load_codes(inputs["held"]), config.sample, has_interval),
    }


def _sigma(inputs: Inputs, dictionary: npt.NDArray[np.floating], cut: float, output: Path) -> sparse.csr_array:
    """Return the Σ-bridge of the measured pairs at the entries that are kept in the fitted ones, which are written."""
    entries = sigma_bridge(Fitted.load(inputs["fit"], cross=True).known, dictionary, cut=cut)
    _save_pattern(entries, dictionary, output / _PATTERN_FILE)
    return sigma_bridge_at(entries, load_statistics(inputs["statistics"], cross=True), dictionary)


def sum_bridge_part(config: BridgePartConfig, inputs: Inputs, output: Path) -> Result:
    """Sum z_image z_text at each entry of the Σ-bridge under bootstrap weights.

    The entries are those of the whole, so that parts add up; the weights are those under which the energies were
    summed, so that masses and classes are of one draw of pairs.
    """
    image, text = load_codes(inputs["codes"])
    pattern = load_file(inputs["bridges"] / _PATTERN_FILE)
    entries, atoms = len(pattern["row"]), int(pattern["atoms"])
    replicates = int(min(REPLICATES, _SUMS_BUDGET // max(entries, 1)))
    choose = [
        sparse.csr_array((np.ones(entries), (pattern[side], np.arange(entries))), (atoms, entries))
        for side in ("row", "column")
    ]
    sums = np.zeros((entries, 1 + replicates))
    images = load_images(inputs["codes"])
    for start in range(0, len(image), READ_ROWS):
        rows = slice(start, start + READ_ROWS)
        at_entries = [
            merged_code_matrix(codes.rows(rows), atoms) @ chosen
            for codes, chosen in zip((image, text), choose, strict=True)
        ]
        sums += at_entries[0].multiply(at_entries[1]).T @ image_weights(images[rows], replicates, config.seed)
    save_file({"sums": sums}, output / _SUMS_FILE)
    return {"pairs": len(image), "replicates": replicates}


def merge_bridge_parts(config: None, inputs: Inputs, output: Path) -> Result:
    """Return the interval of ρ: masses vary, the entries that are kept and the atoms' classes do not.

    `curves.parquet`: what has a bimodal side at each cut between the classes, as a share with its interval: of the
    Σ-bridge's mass (`of` is `sigma`), of the Γ-bridge's (`gamma`), and of the energy (`energy`).
    """
    del config
    parts = [load_file(folder / _SUMS_FILE)["sums"] for name, folder in inputs.items() if name.startswith("part")]
    total = np.sum(parts, axis=0)
    pattern, bootstrap = load_file(inputs["bridges"] / _PATTERN_FILE), load_bootstrap(inputs["statistics"])
    score = Fitted.load(inputs["fit"]).known.modality_score
    masses = np.abs(total) * pattern["gram"][:, None]
    masses[:, np.isnan(bootstrap.pairs[: masses.shape[1]])] = np.nan
    sides = _in_columns(score[pattern["row"]], masses), _in_columns(score[pattern["column"]], masses)
    of_atoms = _in_columns(score, bootstrap.energy)
    curves = {
        "sigma": mass_with_bimodal_side(masses, sides),
        "gamma": np.load(inputs["bridges"] / _GAMMA_FILE),
        "energy": mass_with_bimodal_side(bootstrap.energy, (of_atoms, of_atoms)),
    }
    tables = [
        pa.table({"of": [name] * len(THRESHOLDS), "epsilon": THRESHOLDS, **interval_columns(curve, most=1.0)})
        for name, curve in curves.items()
    ]
    pq.write_table(pa.concat_tables(tables), output / CURVES_FILE)
    return {"rho_interval": asdict(rho_interval(masses, sides))}


def rho_interval(masses: Floats, sides: tuple[Floats, Floats]) -> Interval:
    """Return the interval of ρ, of masses and scores as `mass_with_bimodal_side` takes them."""
    share = Interval.of_share(mass_with_bimodal_side(masses, sides, np.array([EPSILON]))[0])
    return Interval(*map(_odds, vars(share).values()))


def _in_columns(score: Floats, like: Floats) -> Floats:
    """The same scores in each column of an array of as many rows."""
    return np.broadcast_to(score[:, None], like.shape)


def _odds(share: float) -> float:
    """ρ of the share of a bridge's mass that has a bimodal side."""
    return float("inf") if share == 1 else share / (1 - share)


def _save_pattern(sigma: sparse.csr_array, dictionary: npt.NDArray[np.floating], file: Path) -> None:
    """Write where the Σ-bridge has entries, and |A| there."""
    arrays = {
        "atoms": np.array(sigma.shape[0]),
        "row": np.repeat(np.arange(sigma.shape[0]), np.diff(sigma.indptr)),
        "column": sigma.indices.astype(np.int64),
        "gram": np.abs(gram_at(dictionary, sigma)),
    }
    save_file(arrays, file)


def _replicated_energies(sums: BootstrapSums) -> list[tuple[Floats, Floats]]:
    """Return the energies in some replicates, none for too many atoms: what each costs grows faster than atoms².

    Nor for too few images.
    """
    live = int((sums.energy[:, 0] > 0).sum())
    replicates = int(min(_TRANSPORT_REPLICATES, _TRANSPORT_BUDGET // max(live, 1) ** 2, len(sums.pairs) - 1))
    replicates = replicates if replicates >= _FEWEST_REPLICATES and sums.has_replicates else 0
    columns = range(1, 1 + replicates)
    return [(sums.image_second[:, column].copy(), sums.text_second[:, column].copy()) for column in columns]


def _curve(bridge: sparse.csr_array, score: Floats) -> Floats:
    entries = bridge.tocoo()
    sides = score[entries.coords[0], None], score[entries.coords[1], None]
    return mass_with_bimodal_side(np.abs(entries.data)[:, None], sides)


def _fda_interval(value: float, replicates: list[float]) -> Interval:
    """Return the interval of FDA, normal in log FDA; none without replicates that all have a number."""
    if not replicates or not all(np.isfinite(number) and number > 0 for number in (value, *replicates)):
        return Interval(value, float("nan"), float("nan"))
    spread = Interval.normal(float(np.log(value)), float(np.std(np.log(replicates), ddof=1)))
    return Interval(value, float(np.exp(spread.low)), float(np.exp(spread.high)))


def _code_cosines(codes: tuple[SparseCodes, SparseCodes], sample: int, has_interval: bool) -> Result:
    """Return the mean cosine of the codes of a pair, and of an image and the text of the pair half of them away.

    The next pair may be another caption of the same image.
    """
    image, text = (
        SparseCodes(part.indices[:sample], part.merged_values()[:sample], part.residual[:sample]) for part in codes
    )
    norms = [part.values.double().norm(dim=1) for part in (image, text)]
    count = len(image)
    order = np.roll(np.arange(count), count // 2)
    other = SparseCodes(text.indices[order], text.values[order], text.residual[order])
    real = image.inner(text).double() / (norms[0] * norms[1]).clamp(min=1e-12)
    shuffled = image.inner(other).double() / (norms[0] * norms[1][order]).clamp(min=1e-12)
    return {
        name: asdict(
            Interval.normal(float(values.mean()), float(values.std()) / count**0.5 if has_interval else math.nan)
        )
        for name, values in (("pair_code_cosine", real), ("shuffled_code_cosine", shuffled))
    }
