"""Which images and captions fire an atom most, and where the pairs lie in two dimensions: what people look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from isoenergy.evaluation.concepts import load_codes, load_paired, load_statistics, load_together
from isoenergy.evaluation.fit import Fitted, load_agreement
from isoenergy.evaluation.measured_rows import (
    NOT_IDENTITY,
    Inputs,
    PartConfig,
    SaeReference,
    StoreReference,
    read_places,
)
from isoenergy.evaluation.results import ATOMS_FILE, CLASSES, EXEMPLARS_FILE, PROJECTION_FILE
from isoenergy.evaluation.top_pairs import load_tops
from isoenergy.interventions.removal import INTERVENTIONS, intervene, kept_atoms
from isoenergy.metrics.agreement import agreement
from isoenergy.metrics.energy import frequency_matched_energies
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.concept_statistics import AtomClasses, ConceptStatistics, modality_score
from isoenergy.statistics.equal_energy import equal_energy_tests
from isoenergy.statistics.top_entries import TopPairs


@dataclass(frozen=True)
class ExemplarConfig:
    """How many atoms of each class are shown, by energy, and how many pairs for each."""

    store: StoreReference
    parts: tuple[PartConfig, ...] = field(metadata=NOT_IDENTITY)
    """All pairs."""
    atoms_per_class: int = 8
    pairs_per_atom: int = 8


@dataclass(frozen=True)
class ProjectionConfig:
    """Which of the drawn pairs are shown."""

    sae: SaeReference
    sample: int


def write_exemplars(config: ExemplarConfig, inputs: Inputs, output: Path) -> dict[str, Any]:
    """Write a table of all atoms, and the pairs whose image or caption fires the strongest atoms of each class most.

    `exemplars.parquet` has a row an (atom, modality, rank): the pair's key, caption, input file and row, and the
    coefficient.
    """
    statistics, classes = load_statistics(inputs["statistics"]), Fitted.load(inputs["fit"]).classes
    pq.write_table(atoms_table(inputs["statistics"], inputs["fit"]), output / ATOMS_FILE)
    tops = dict(zip(MODALITIES, load_tops(inputs["tops"]), strict=True))
    best = {
        (atom, modality): first_pairs(part, atom, config.pairs_per_atom)
        for atom in strongest_atoms(statistics, classes, config.atoms_per_class)
        for modality, part in tops.items()
    }
    return {"rows": write_best(best, config.parts, output)}


def write_best(
    best: Mapping[tuple[int, str], list[tuple[int, float]]], parts: Sequence[PartConfig], output: Path
) -> int:
    """Write `exemplars.parquet`: a row a pair of each atom and modality, best first; return how many rows it has.

    best: pairs and their coefficients by atom and modality. parts: all pairs.
    """
    where = _pair_places(parts, {pair for pairs in best.values() for pair, _ in pairs})
    rows = [
        {"atom": atom, "modality": modality, "rank": rank, "value": value, **where[pair]}
        for (atom, modality), pairs in best.items()
        for rank, (pair, value) in enumerate(pairs)
    ]
    pq.write_table(pa.Table.from_pylist(rows), output / EXEMPLARS_FILE)
    return len(rows)


def atoms_table(measured: Path, fit: Path) -> pa.Table:
    """Return a row an atom: energies, frequency, modality score (null if dead), class, what the test of equal energy
    says (see `isoenergy.statistics.equal_energy.EnergyTests`), the score that it would have at equal frequencies, how
    far its two coefficients go together in pairs (see `isoenergy.metrics.agreement.Agreement`), and whether they agree.

    measured, fit: what the steps of the statistics and of the fit have written. Classes are decided on the fitted
    pairs: `dead` are atoms that fire in none of these. All else is of the measured pairs but `agrees_in_fitted`: by the
    same test on those, which are more as a rule and find more.
    """
    statistics, classes = load_statistics(measured), Fitted.load(fit).classes
    tests = vars(equal_energy_tests(load_paired(measured)))
    here, fitted = agreement(load_together(measured)), agreement(load_agreement(fit)[0])
    return pa.table(
        {
            "atom": np.arange(statistics.atoms),
            "energy": statistics.energy,
            "image_energy": statistics.image.energy,
            "text_energy": statistics.text.energy,
            "frequency": statistics.frequency,
            "modality_score": pa.array(statistics.modality_score, from_pandas=True),
            "class": pa.array(classes.names.tolist(), pa.string()),
            **{name: pa.array(values, from_pandas=True) for name, values in tests.items()},
            "frequency_matched_score": pa.array(
                modality_score(*frequency_matched_energies(statistics)), from_pandas=True
            ),
            **{name: pa.array(values, from_pandas=True) for name, values in vars(here).items()},
            "agrees": here.agrees,
            "agrees_in_fitted": fitted.agrees,
        }
    )


def strongest_atoms(statistics: ConceptStatistics, classes: AtomClasses, per_class: int) -> list[int]:
    """Return the strongest atoms of each class: unimodal ones by energy, bimodal ones by that of their weaker side."""
    both_give = np.minimum(statistics.image.energy, statistics.text.energy)
    chosen: list[int] = []
    for name in CLASSES:
        strength = both_give if name == "bimodal" else statistics.energy
        members = np.flatnonzero(getattr(classes, name) & (statistics.energy > 0))
        chosen += members[np.argsort(-strength[members], kind="stable")][:per_class].tolist()
    return chosen


def write_projection(config: ProjectionConfig, inputs: Inputs, output: Path) -> dict[str, Any]:
    """Write the reconstructed pairs in two dimensions, before and after removing unimodal atoms.

    The first axis is the direction of the gap (the difference in means before), the second the principal axis of what
    is orthogonal to it. Both clouds are drawn in these axes, so that they can be compared.
    """
    sae, classes = SparseAutoencoder.load(config.sae.uri), Fitted.load(inputs["fit"]).classes
    codes = load_codes(inputs["held"])
    rebuilt = {}
    for name in INTERVENTIONS[:2]:
        keep = kept_atoms(name, classes)
        rebuilt[name] = [intervene(sae, part.split(config.sample)[0], keep) for part in codes]
    images, texts = rebuilt["reconstructed"]
    before = torch.cat([images, texts])
    centre = before.mean(0)
    gap = torch.nn.functional.normalize(images.mean(0) - texts.mean(0), dim=0)
    orthogonal = before - centre - torch.outer((before - centre) @ gap, gap)
    axes = torch.stack([gap, torch.linalg.eigh(orthogonal.T @ orthogonal).eigenvectors[:, -1]])
    rows: list[pa.Table] = []
    for name in ("reconstructed", "bimodal"):
        for modality, embeddings in zip(("image", "text"), rebuilt[name], strict=True):
            places: Tensor = (embeddings - centre) @ axes.T
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
    return {"pairs": len(images)}


def first_pairs(tops: TopPairs, atom: int, count: int) -> list[tuple[int, float]]:
    """Return the first `count` pairs of an atom, and their coefficients."""
    own = slice(*np.searchsorted(tops.atoms, (atom, atom + 1)))
    return list(zip(tops.pairs[own].tolist(), tops.values[own].tolist(), strict=True))[:count]


def _pair_places(parts: Sequence[PartConfig], pairs: set[int]) -> dict[int, dict[str, Any]]:
    """Return each pair's key, caption, input file and row."""
    found = read_places(parts, np.array(sorted(pairs), np.int64)).to_pylist()
    return {row.pop("pair"): row for row in found}
