"""How the energy spreads over atoms and over modality scores, with intervals: what the report draws as curves."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.evaluation.concepts import load_bootstrap
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.interval_columns import interval_columns
from isoenergy.evaluation.measured_rows import Inputs, Result
from isoenergy.evaluation.results import CLASSES, DENSITIES_FILE, SCORES_FILE
from isoenergy.metrics.energy_density import decades, energy_density
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.concept_statistics import AtomClasses
from isoenergy.statistics.weighted_sums import BootstrapSums

_BINS = 40
"""Of the modality score: the cuts at 0.05 and 0.95 are edges."""

Floats = npt.NDArray[np.float64]


def write_spectra(config: None, inputs: Inputs, output: Path) -> Result:
    """Write what share of the energy lies where, the atoms' scores anew in each replicate, their classes those fitted.

    `densities.parquet`: a row a class, a modality and a bin of log10 energy; shares of that modality's energy a decade.
    `scores.parquet`: a row a bin of the modality score; shares of all energy.
    """
    del config
    sums = load_bootstrap(inputs["statistics"])
    pq.write_table(densities(sums, Fitted.load(inputs["fit"]).classes), output / DENSITIES_FILE)
    pq.write_table(score_histogram(sums), output / SCORES_FILE)
    return {"atoms": len(sums.image_second)}


def densities(sums: BootstrapSums, classes: AtomClasses) -> pa.Table:
    """Return the density of each modality's energy over log10 of an atom's energy in it, by class, with intervals."""
    pairs = np.maximum(sums.pairs, 1)
    tables = []
    for modality in MODALITIES:
        energy = getattr(sums, f"{modality}_second") / pairs
        middles = decades(energy[:, 0])
        for name in CLASSES:
            found = energy_density(np.where(getattr(classes, name)[:, None], energy, 0.0), middles, energy.sum(0))
            places = {"class": [name] * len(middles), "modality": [modality] * len(middles), "log10_energy": middles}
            tables.append(pa.table(places | interval_columns(found)))
    return pa.concat_tables(tables)


def score_histogram(sums: BootstrapSums) -> pa.Table:
    """Return the share of the energy by bin of the modality score, with intervals."""
    scores, energy = sums.modality_score, sums.energy
    edges = np.linspace(0, 1, _BINS + 1)
    found = np.stack([_shares(*column, edges) for column in zip(scores.T, energy.T, strict=True)], axis=1)
    return pa.table({"low_score": edges[:-1], "high_score": edges[1:], **interval_columns(found)})


def _shares(score: Floats, energy: Floats, edges: Floats) -> Floats:
    known = ~np.isnan(score)
    held, _ = np.histogram(score[known], edges, weights=energy[known])
    shares: Floats = held / max(energy.sum(), 1e-30)
    return shares
