"""The dictionary's shape and use, and how few atoms carry a row."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoenergy.evaluation.concepts import load_codes, load_statistics
from isoenergy.evaluation.draw import Draw
from isoenergy.evaluation.embeddings import HeldPairs
from isoenergy.evaluation.measured_rows import Inputs, Result, SaeReference, tensor
from isoenergy.metrics.attribution import faithfulness_curves
from isoenergy.metrics.dictionaries import (
    babel,
    coactivation,
    coherence,
    connectivity,
    effective_rank,
    negative_interference,
    stable_rank,
)
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import merged_code_matrix


@dataclass(frozen=True)
class DictionaryConfig:
    """Which pairs are drawn, and the SAE."""

    sae: SaeReference
    draw: Draw
    drawn: int


def measure_dictionary(config: DictionaryConfig, inputs: Inputs, output: Path) -> Result:
    """Measure ranks, coherence and the Babel function of live atoms, co-activation and faithfulness on drawn pairs.

    Co-activation is of the pairs drawn for batches, faithfulness of the sample (paper 1.10).
    """
    del output
    sae, held = SparseAutoencoder.load(config.sae.uri), HeldPairs.load(inputs["pairs"], config.drawn)
    statistics, both = load_statistics(inputs["statistics"]), load_codes(inputs["held"])
    dictionary = sae.dictionary.detach().numpy()
    live = ~statistics.classes().dead
    result: Result = {"live_atoms": int(live.sum())}
    if live.any():
        atoms, energy = dictionary[live], statistics.energy[live]
        result |= {
            "stable_rank": stable_rank(atoms),
            "effective_rank": effective_rank(atoms),
            "stable_rank_by_energy": stable_rank(atoms, energy),
            "effective_rank_by_energy": effective_rank(atoms, energy),
            "coherence": coherence(atoms),
            "babel": float(babel(atoms, sae.config.k)[-1]),
        }
    pairs = min(config.draw.in_batches, config.drawn)
    matrices = [merged_code_matrix(codes, sae.config.atoms)[:pairs] for codes in both]
    meetings = (coactivation(matrices[0]) + coactivation(matrices[1])) / 2
    sample = min(config.draw.sample, config.drawn)
    insertion, deletion = [], []
    for modality, matrix, rows in zip(sae.config.modalities, matrices, (held.images, held.texts), strict=True):
        x = sae.prepare(tensor(rows[:sample]), modality).numpy()
        curves = faithfulness_curves(matrix[:sample], x, dictionary)
        insertion.append(curves.c_insertion)
        deletion.append(curves.c_deletion)
    return result | {
        "coactivation_pairs": pairs,
        "connectivity": connectivity(meetings.tocsr()),
        "negative_interference": negative_interference(meetings.tocsr(), dictionary),
        "faithfulness_pairs": sample,
        "c_insertion": float(np.mean(insertion)),
        "c_deletion": float(np.mean(deletion)),
    }
