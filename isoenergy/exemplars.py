"""Which images and captions fire an atom most, and where the pairs lie in two dimensions: what people look at."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from isoenergy.codes import SparseCodes
from isoenergy.equal_energy import PairedEnergy, equal_energy_tests
from isoenergy.evaluation import Inputs, SampleConfig, interventions, load_codes, load_paired, load_statistics
from isoenergy.sae import SparseAutoencoder
from isoenergy.statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore

ATOMS_FILE = "atoms.parquet"
EXEMPLARS_FILE = "exemplars.parquet"
PROJECTION_FILE = "projection.parquet"
SHOWN_ATOM_CLASSES = ("bimodal", "image_only", "text_only")


@dataclass(frozen=True)
class ExemplarConfig:
    """How many atoms of each class are shown, by energy, and how many pairs for each."""

    sample: SampleConfig
    atoms_per_class: int = 8
    pairs_per_atom: int = 8


def write_exemplars(config: ExemplarConfig, inputs: Inputs, output: Path) -> dict[str, Any]:
    """Write a table of all atoms, and the pairs whose image or caption fires the strongest atoms of each class most.

    `exemplars.parquet` has a row an (atom, modality, rank): the pair's key, caption, input file and row, and the
    coefficient.
    """
    statistics = load_statistics(inputs["statistics"])
    pq.write_table(atoms_table(statistics, load_paired(inputs["statistics"])), output / ATOMS_FILE)
    where = _pair_places(config.sample)
    rows: list[dict[str, Any]] = []
    for modality, codes in zip(("image", "text"), load_codes(inputs), strict=True):
        merged = SparseCodes(codes.indices, codes.merged_values(), codes.residual)
        for atom in strongest_atoms(statistics, config.atoms_per_class):
            for rank, (pair, value) in enumerate(_top_pairs(merged, atom, config.pairs_per_atom)):
                rows.append({"atom": atom, "modality": modality, "rank": rank, "value": value, **where[pair]})
    pq.write_table(pa.Table.from_pylist(rows), output / EXEMPLARS_FILE)
    return {"rows": len(rows)}


def atoms_table(statistics: ConceptStatistics, paired: PairedEnergy) -> pa.Table:
    """Return a row an atom: energies, frequency, modality score (null if dead), class, and what the test of equal
    energy says: see `isoenergy.equal_energy.EnergyTests`.
    """
    tests = vars(equal_energy_tests(paired))
    classes = np.full(statistics.atoms, "dead", dtype=object)
    for name, mask in vars(statistics.classes()).items():
        classes[mask] = name
    return pa.table(
        {
            "atom": np.arange(statistics.atoms),
            "energy": statistics.energy,
            "image_energy": statistics.image.energy,
            "text_energy": statistics.text.energy,
            "frequency": statistics.frequency,
            "modality_score": pa.array(statistics.modality_score, from_pandas=True),
            "class": pa.array(classes.tolist(), pa.string()),
            **{name: pa.array(values, from_pandas=True) for name, values in tests.items()},
        }
    )


def strongest_atoms(statistics: ConceptStatistics, per_class: int) -> list[int]:
    """Return the strongest atoms of each class: unimodal ones by energy, bimodal ones by that of their weaker side."""
    classes = vars(statistics.classes())
    both_give = np.minimum(statistics.image.energy, statistics.text.energy)
    chosen: list[int] = []
    for name in SHOWN_ATOM_CLASSES:
        strength = both_give if name == "bimodal" else statistics.energy
        members = np.flatnonzero(classes[name])
        chosen += members[np.argsort(-strength[members], kind="stable")][:per_class].tolist()
    return chosen


def write_projection(config: SampleConfig, inputs: Inputs, output: Path) -> dict[str, Any]:
    """Write the reconstructed pairs in two dimensions, before and after removing unimodal atoms.

    The first axis is the direction of the gap (the difference in means before), the second the principal axis of what
    is orthogonal to it. Both clouds are drawn in these axes, so that they can be compared.
    """
    sae, statistics = SparseAutoencoder.load(config.sae_folder), load_statistics(inputs["statistics"])
    rebuilt = interventions(sae, statistics, inputs)
    images, texts = rebuilt["reconstructed"]
    before = torch.cat([images, texts])
    centre = before.mean(0)
    gap = torch.nn.functional.normalize(images.mean(0) - texts.mean(0), dim=0)
    orthogonal = before - centre - torch.outer((before - centre) @ gap, gap)
    axes = torch.stack([gap, torch.linalg.eigh(orthogonal.T @ orthogonal).eigenvectors[:, -1]])
    chosen = np.sort(np.random.default_rng(config.seed).permutation(len(images))[: config.sample])
    rows: list[pa.Table] = []
    for name in ("reconstructed", "bimodal"):
        for modality, embeddings in zip(("image", "text"), rebuilt[name], strict=True):
            places: Tensor = (embeddings[chosen] - centre) @ axes.T
            rows.append(
                pa.table(
                    {
                        "embeddings": [name] * len(places),
                        "modality": [modality] * len(places),
                        "x": places[:, 0].numpy(),
                        "y": places[:, 1].numpy(),
                    }
                )
            )
    pq.write_table(pa.concat_tables(rows), output / PROJECTION_FILE)
    return {"pairs": len(chosen)}


def _pair_places(config: SampleConfig) -> list[dict[str, Any]]:
    """Return each pair's key, caption, input file and row, in the order of the codes."""
    store = EmbeddingStore.open(config.store.uri)
    places: list[dict[str, Any]] = []
    for record in store.commits:
        table = store.read_unit(record.unit, ["key", "caption", "row"], config.store.split)
        places += [{**row, "file": record.file} for row in table.to_pylist()]
    return places


def _top_pairs(codes: SparseCodes, atom: int, count: int) -> list[tuple[int, float]]:
    """Return the rows with the largest coefficients of `atom`, and these; only rows in which it fires."""
    place = (codes.indices == atom) & (codes.values > 0)
    rows, columns = place.nonzero(as_tuple=True)
    values = codes.values[rows, columns]
    best = values.argsort(descending=True, stable=True)[:count]
    return [(int(rows[i]), float(values[i])) for i in best]
