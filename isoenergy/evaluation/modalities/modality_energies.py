"""The energies of any number of modalities, and what follows from them: μ, classes, reconstruction, equal energy."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from isoenergy.codes.sparse_codes import SparseCodes, concatenate
from isoenergy.evaluation.fit import FitConfig
from isoenergy.evaluation.measured_rows import READ_ROWS, Inputs, PartConfig, Result, Rows, SaeReference, tensor
from isoenergy.evaluation.results import UNEQUAL_Q
from isoenergy.metrics.reconstruction import r2_of_sums
from isoenergy.sae.joint import Autoencoder, load_autoencoder
from isoenergy.statistics.bootstrap import REPLICATES, Interval, if_enough, no_intervals, poisson_weights
from isoenergy.statistics.concept_statistics import energy_share, merged_code_matrix
from isoenergy.statistics.equal_energy import PairedEnergy, equal_energy_tests
from isoenergy.statistics.modality_shares import (
    Masks,
    modality_shares,
    normalised_entropy,
    sharing_modalities,
    subset_name,
    subset_numbers,
)
from isoenergy.statistics.sums import MergeableSums
from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY

Floats = npt.NDArray[np.float64]

_CODES_FILE = "codes.safetensors"
_SUMS_FILE = "sums.safetensors"


@dataclass
class ModalitySums(MergeableSums):
    """Weighted sums over pairs; the last axis is the number itself, then the replicates. Halves merge by adding."""

    pairs: Floats
    """`(1 + replicates,)` sum of the weights."""
    second: Floats
    """`(modalities, atoms, 1 + replicates)` sum of z²."""
    errors: Floats
    """`(modalities, 1 + replicates)` sum of squared errors."""
    entries: Floats
    """`(modalities, 1 + replicates)` sum of the rows' entries."""
    squares: Floats
    """`(modalities, 1 + replicates)` sum of their squares."""
    fires: Floats
    """`(modalities, atoms)` pairs in which an atom fires."""

    @classmethod
    def zeros(cls, modalities: int, atoms: int, replicates: int = REPLICATES) -> Self:
        """Return the sums of no pairs."""
        columns = 1 + replicates
        errors, entries, squares = (np.zeros((modalities, columns)) for _ in range(3))
        second, fires = np.zeros((modalities, atoms, columns)), np.zeros((modalities, atoms))
        return cls(np.zeros(columns), second, errors, entries, squares, fires)

    def if_enough(self) -> Self:
        """Return the sums over all pairs: see `isoenergy.statistics.bootstrap.if_enough`."""
        weighted = (item.name for item in fields(self) if item.name != "fires")
        pairs = int(self.pairs[0])
        return replace(self, **{name: if_enough(getattr(self, name), pairs) for name in weighted})

    def update(self, codes: Mapping[str, SparseCodes], rows: Mapping[str, torch.Tensor], weights: Floats) -> None:
        """Add pairs: codes with their residuals and the rows that were encoded, by modality; the pairs' weights."""
        self.pairs += weights.sum(axis=0)
        for place, (name, code) in enumerate(codes.items()):
            values = merged_code_matrix(code, self.second.shape[1])
            self.second[place] += values.power(2).T @ weights
            self.fires[place] += np.asarray((values != 0).sum(axis=0)).ravel()
            x, residual = (part.double().cpu().numpy() for part in (rows[name], code.residual))
            for sums, by_row in (
                (self.errors, np.square(residual).sum(1)),
                (self.entries, x.sum(1)),
                (self.squares, np.square(x).sum(1)),
            ):
                sums[place] += by_row @ weights

    @property
    def energies(self) -> Floats:
        """`(modalities, atoms, 1 + replicates)` mean squared coefficients."""
        return self.second / np.maximum(self.pairs, 1)

    def r2(self, widths: Floats) -> Floats:
        """Return `(modalities, 1 + replicates)`: see `isoenergy.metrics.reconstruction.r2_paper`; widths: of rows."""
        return r2_of_sums(self.errors, self.pairs * widths[:, None], self.entries, self.squares)


@dataclass(frozen=True)
class VectorsPartConfig:
    """A part of the store, to be encoded by one SAE."""

    part: PartConfig
    sae: SaeReference


@dataclass(frozen=True)
class EnergiesConfig:
    """What `merge_energies` needs beside the parts."""

    sae: SaeReference


def encode_vectors(config: VectorsPartConfig, inputs: Inputs, output: Path) -> Result:
    """Encode some units: their codes, and the sums over their pairs."""
    del inputs
    sae = load_autoencoder(config.sae.uri)
    modalities, atoms = sae.config.modalities, sae.config.atoms
    sums = ModalitySums.zeros(len(modalities), atoms)
    paired = {pair: PairedEnergy.zeros(atoms) for pair in combinations(modalities, 2)}
    found: dict[str, list[SparseCodes]] = {name: [] for name in modalities}
    grams = grams_of(sae)
    for first, vectors in config.part.vectors():
        rows, codes = encode_rows(sae, vectors, grams)
        sums.update(codes, rows, poisson_weights(len(rows[modalities[0]]), REPLICATES, config.part.seed, first))
        for (one, other), energy in paired.items():
            energy.update(codes[one], codes[other])
        for name, code in codes.items():
            found[name].append(code)
    joined = {name: concatenate(parts, sae.config.k) for name, parts in found.items()}
    save_file(
        {f"{n}.{p}": getattr(c, p) for n, c in joined.items() for p in ("indices", "values")}, output / _CODES_FILE
    )
    sums.save(output / _SUMS_FILE)
    for pair, energy in paired.items():
        energy.save(output / _paired_file(*pair))
    return {"pairs": int(sums.pairs[0])}


def fit_classes(config: FitConfig, inputs: Inputs, output: Path) -> Result:
    """Sum the energies that decide which modalities share an atom, where pairs are measured that were not fitted on."""
    del inputs
    assert config.sae is not None
    sae, shards = load_autoencoder(config.sae.uri), config.store.shards
    sums = ModalitySums.zeros(len(sae.config.modalities), sae.config.atoms, replicates=0)
    grams = grams_of(sae)
    for unit in config.units:
        vectors = shards.vectors(unit.shard, config.store.split)
        most = min(len(next(iter(vectors.values()))), config.most_pairs - int(sums.pairs[0]))
        for start in range(0, most, READ_ROWS):
            chosen = {name: rows[start : min(start + READ_ROWS, most)] for name, rows in vectors.items()}
            rows, codes = encode_rows(sae, chosen, grams)
            sums.update(codes, rows, np.ones((len(rows[sae.config.modalities[0]]), 1)))
    sums.save(output / _SUMS_FILE)
    return {"pairs": int(sums.pairs[0]), "split": config.store.split}


def merge_energies(config: EnergiesConfig, inputs: Inputs, output: Path) -> Result:
    """Merge the parts' sums into the whole and measure all that follows from them; classes are those fitted."""
    sae = load_autoencoder(config.sae.uri)
    modalities, folders = sae.config.modalities, [folder for name, folder in inputs.items() if name.startswith("part")]
    sums = load_sums(folders[0])
    paired = {pair: load_paired_energy(folders[0], *pair) for pair in combinations(modalities, 2)}
    for folder in folders[1:]:
        sums = sums.merge(load_sums(folder))
        paired = {pair: energy.merge(load_paired_energy(folder, *pair)) for pair, energy in paired.items()}
    sums = sums.if_enough()
    sums.save(output / _SUMS_FILE)
    for pair, energy in paired.items():
        energy.save(output / _paired_file(*pair))
    widths = np.array([sae.part(name).config.dim for name in modalities], np.float64)
    r2, energies = sums.r2(widths), sums.energies
    shares = modality_shares(energies)
    total = energies.sum(axis=0)
    sets = subset_numbers(fitted_sharing(inputs["fit"]))[:, None]
    several = np.array([number.bit_count() > 1 for number in range(2 ** len(modalities))])
    frequency = sums.fires.sum(axis=0) / max(len(modalities) * float(sums.pairs[0]), 1)
    tests = {pair: equal_energy_tests(energy) for pair, energy in paired.items()}
    share = partial(energy_share, total)
    return {
        "pairs": int(sums.pairs[0]),
        "no_intervals": no_intervals(int(sums.pairs[0]), "rows"),
        "atoms": sae.config.atoms,
        "dead_atoms": int((total[:, 0] == 0).sum()),
        "r2": _interval(r2.mean(axis=0), most=1.0),
        "r2_by_modality": {name: _interval(values, most=1.0) for name, values in zip(modalities, r2, strict=True)},
        "l0_by_modality": dict(
            zip(modalities, (sums.fires.sum(axis=1) / max(float(sums.pairs[0]), 1)).tolist(), strict=True)
        ),
        "shared_energy_share": _interval(share(several[sets]), least=0.0, most=1.0),
        "always_on_energy_share": float(share((frequency > ALWAYS_ON_FREQUENCY)[:, None])[0]),
        "entropy": _interval(
            np.where(total > 0, total * np.nan_to_num(normalised_entropy(shares)), 0).sum(axis=0)
            / np.maximum(total.sum(axis=0), 1e-30),
            least=0.0,
            most=1.0,
        ),
        "classes": {
            subset_name(number, modalities): {
                "atoms": int((sets[:, 0] == number).sum()),
                "energy_share": _interval(share(sets == number), least=0.0, most=1.0),
            }
            for number in range(1, 2 ** len(modalities))
        },
        "equal_energy": {
            f"{one}~{other}": {
                "tested_atoms": int(np.isfinite(test.p_value).sum()),
                "unequal_atoms": int((test.q_value < UNEQUAL_Q).sum()),
            }
            for (one, other), test in tests.items()
        },
    }


def fitted_sharing(folder: Path) -> Masks:
    """Return which modalities share each atom on the pairs that `fit_classes` has summed, `(modalities, atoms)`."""
    return sharing_modalities(modality_shares(load_sums(folder).energies[..., 0]))


def grams_of(sae: Autoencoder) -> dict[str, torch.Tensor | None]:
    """Return the Gram matrix of the dictionary that serves each modality, where one pays."""
    found: dict[str, torch.Tensor | None] = {}
    for part in sae.dictionaries:
        gram = part.gram_of_frozen(rows=READ_ROWS * len(part.config.modalities))
        found |= dict.fromkeys(part.config.modalities, gram)
    return found


@torch.no_grad()
def encode_rows(
    sae: Autoencoder, vectors: Mapping[str, Rows], grams: Mapping[str, torch.Tensor | None]
) -> tuple[dict[str, torch.Tensor], dict[str, SparseCodes]]:
    """Return the prepared rows of stored vectors, and their codes, by modality."""
    rows = {name: sae.prepare(tensor(vectors[name]), name) for name in sae.config.modalities}
    return rows, {name: sae.part(name).encode(x, gram=grams[name]) for name, x in rows.items()}


def load_sums(folder: Path) -> ModalitySums:
    """Return the sums of a part, of the whole, or of the pairs that classes are fitted on."""
    return ModalitySums.load(folder / _SUMS_FILE)


def load_paired_energy(folder: Path, one: str, other: str) -> PairedEnergy:
    """Return the paired energies of two modalities, of a part or the whole."""
    return PairedEnergy.load(folder / _paired_file(one, other))


def load_modality_codes(folder: Path, modalities: Sequence[str]) -> dict[str, SparseCodes]:
    """Return the codes of a part by modality; residuals are empty."""
    part = load_file(folder / _CODES_FILE)
    return {
        name: SparseCodes(part[f"{name}.indices"], part[f"{name}.values"], torch.empty(len(part[f"{name}.values"]), 0))
        for name in modalities
    }


def _paired_file(one: str, other: str) -> str:
    return f"paired-{one}~{other}.safetensors"


def _interval(values: Floats, least: float = -np.inf, most: float = np.inf) -> dict[str, float]:
    return asdict(Interval.of_weighted(values, least, most))
