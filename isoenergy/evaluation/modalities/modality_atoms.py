"""The atoms of any number of modalities one by one: a table, what fires them most, and whether another SAE has them."""

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.evaluation.exemplars import first_pairs, write_best
from isoenergy.evaluation.measured_rows import NOT_IDENTITY, Inputs, PartConfig, Result, SaeReference, StoreReference
from isoenergy.evaluation.modalities.modality_energies import (
    fitted_sharing,
    load_modality_codes,
    load_paired_energy,
    load_sums,
)
from isoenergy.evaluation.results import ATOMS_FILE
from isoenergy.metrics.stability import match_atoms, random_matching
from isoenergy.sae.joint import load_autoencoder
from isoenergy.statistics.equal_energy import equal_energy_tests
from isoenergy.statistics.modality_shares import (
    modality_shares,
    normalised_entropy,
    subset_name,
    subset_numbers,
)
from isoenergy.statistics.top_entries import TopPairs

_NULL_DRAWS = 3


@dataclass(frozen=True)
class AtomsConfig:
    """How many atoms of each set of modalities are shown, by energy, and how many pairs for each."""

    store: StoreReference
    sae: SaeReference
    parts: tuple[PartConfig, ...] = field(metadata=NOT_IDENTITY)
    """All pairs."""
    atoms_per_class: int = 6
    pairs_per_atom: int = 6


@dataclass(frozen=True)
class ModalityStabilityConfig:
    """Two SAEs on vectors of the same widths."""

    first: SaeReference
    second: SaeReference
    seed: int


def write_atoms(config: AtomsConfig, inputs: Inputs, output: Path) -> Result:
    """Write a table of all atoms, and the pairs that fire the strongest atoms of each set of modalities most.

    `atoms.parquet` has a row an atom: its energy, frequency and μ in each modality, the modalities that share it on the
    pairs that classes are fitted on, the normalised entropy of μ, and of every two modalities the q-value of equal
    energy and the sharedness.
    """
    modalities = load_autoencoder(config.sae.uri).config.modalities
    sums = load_sums(inputs["energies"])
    energies, pairs = sums.energies[..., 0], max(float(sums.pairs[0]), 1)
    shares = modality_shares(energies)
    sets = subset_numbers(fitted_sharing(inputs["fit"]))
    energy = energies.mean(axis=0)
    columns: dict[str, pa.Array] = {
        "atom": pa.array(np.arange(len(sets))),
        "energy": pa.array(energy),
        "modalities": pa.array([subset_name(int(number), modalities) for number in sets]),
        "entropy": pa.array(normalised_entropy(shares), from_pandas=True),
    }
    for place, name in enumerate(modalities):
        columns[f"{name}_energy"] = pa.array(energies[place])
        columns[f"{name}_frequency"] = pa.array(sums.fires[place] / pairs)
        columns[f"{name}_share"] = pa.array(shares[place], from_pandas=True)
    for one, other in combinations(modalities, 2):
        tests = equal_energy_tests(load_paired_energy(inputs["energies"], one, other))
        columns[f"{one}~{other}_q_value"] = pa.array(tests.q_value, from_pandas=True)
        columns[f"{one}~{other}_sharedness"] = pa.array(tests.sharedness, from_pandas=True)
    pq.write_table(pa.table(columns), output / ATOMS_FILE)
    members = (np.flatnonzero(sets == number) for number in range(1, 2 ** len(modalities)))
    strongest = [atoms[np.argsort(-energy[atoms], kind="stable")][: config.atoms_per_class] for atoms in members]
    chosen = np.concatenate(strongest).tolist()
    tops = {name: TopPairs.none() for name in modalities}
    first = 0
    for folder in (folder for name, folder in inputs.items() if name.startswith("part")):
        part = load_modality_codes(folder, modalities)
        for name, codes in part.items():
            tops[name] = tops[name].merge(TopPairs.of(codes, first, config.pairs_per_atom), config.pairs_per_atom)
        first += len(part[modalities[0]])
    best = {
        (atom, name): first_pairs(top, atom, config.pairs_per_atom) for atom in chosen for name, top in tops.items()
    }
    return {"rows": write_best(best, config.parts, output)}


def measure_modality_stability(config: ModalityStabilityConfig, inputs: Inputs, output: Path) -> Result:
    """Match the live atoms of two SAEs in each modality apart, beside random directions in place of the second's."""
    del output
    saes = [load_autoencoder(reference.uri) for reference in (config.first, config.second)]
    live = [load_sums(inputs[name]).energies[..., 0] > 0 for name in ("first", "second")]
    found: Result = {}
    for place, name in enumerate(saes[0].config.modalities):
        atoms = [
            sae.part(name).dictionary.detach().numpy()[alive[place]] for sae, alive in zip(saes, live, strict=True)
        ]
        null = random_matching(atoms[0], len(atoms[1]), _NULL_DRAWS, config.seed)
        found[name] = {
            "matched_cosine": match_atoms(atoms[0], atoms[1]).mean,
            "matched_cosine_of_random": float(null.mean()),
        }
    return found
