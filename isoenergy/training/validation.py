"""What an SAE comes to on a few held-out pairs: the measures that a search weighs against each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.interventions.removal import Intervention, intervene, kept_atoms
from isoenergy.metrics.energy import energy_shares
from isoenergy.metrics.geometry import probing_accuracy
from isoenergy.metrics.reconstruction import ReconstructionSums, mean_squared_error, r2_paper
from isoenergy.metrics.retrieval import recall_change
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import ConceptStatistics


@dataclass(frozen=True)
class ValidationMeasures:
    """Each as the evaluation of the same name has it, on fewer pairs and without an interval."""

    r2: float
    """At most 1 (paper 1.6)."""
    mse: float
    """Mean squared error of a row, in [0, 1] for unit rows."""
    bimodal_energy: float
    """Share of the energy that atoms of both modalities hold, those left out that are always on; in [0, 1]."""
    p_acc: float
    """In [0, 1] (paper 1.7)."""
    delta_r1: float
    """Change of recall@1 over the gallery of these pairs when unimodal atoms are removed; in [-1, 1] (paper 1.9)."""
    always_on_energy: float
    """Share of the energy of atoms that fire in more than 90 % of all inputs; in [0, 1]."""
    dead_atom_share: float
    """Share of atoms that fire in none of these inputs; in [0, 1]."""


@torch.no_grad()
def validation_measures(
    sae: SparseAutoencoder, pairs: tuple[Tensor, Tensor], fitting: tuple[Tensor, Tensor]
) -> ValidationMeasures:
    """Measure an SAE on pairs: `(pairs, dim)` raw images and texts, row i of both a pair, on the SAE's device.

    fitting: likewise, pairs of the train split, by which the atoms' classes are cut: on the measured pairs, those that
    are rare in them would look unimodal.
    """
    was_training = sae.training
    sae.eval()
    gram = sae.gram_of_frozen(rows=2 * (len(pairs[0]) + len(fitting[0])))
    _, fitted_codes = _encoded(sae, fitting, gram)
    rows, codes = _encoded(sae, pairs, gram)
    statistics, fitted = (_statistics(sae.config.atoms, both) for both in (codes, fitted_codes))
    sums = []
    for part, code in zip(rows, codes, strict=True):
        sums.append(ReconstructionSums.zeros(sae.config.dim))
        sums[-1].update(part, code.residual)
    classes = fitted.classes()
    shares = energy_shares(statistics, classes=classes)
    image_rows, text_rows = (part.double().cpu().numpy() for part in rows)

    def rebuilt(intervention: Intervention) -> tuple[Tensor, Tensor]:
        keep = kept_atoms(intervention, classes).to(sae.dictionary.device)
        image, text = (intervene(sae, code, keep).cpu() for code in codes)
        return image, text

    measures = ValidationMeasures(
        r2=r2_paper(*sums),
        mse=mean_squared_error(*sums),
        bimodal_energy=shares.bimodal_not_always_on,
        p_acc=probing_accuracy(
            image_rows,
            text_rows,
            sae.dictionary.double().cpu().numpy(),
            fitted,
            energies=statistics.energy[:, None],
        ),
        delta_r1=recall_change(rebuilt("reconstructed"), rebuilt("bimodal")).full_gallery,
        always_on_energy=shares.always_on,
        dead_atom_share=float(np.mean(statistics.energy == 0)),
    )
    sae.train(was_training)
    return measures


def _encoded(
    sae: SparseAutoencoder, pairs: tuple[Tensor, Tensor], gram: Tensor | None
) -> tuple[list[Tensor], list[SparseCodes]]:
    rows = [sae.prepare(x.float(), modality) for modality, x in zip(sae.config.modalities, pairs, strict=True)]
    return rows, [sae.encode(x, gram=gram) for x in rows]


def _statistics(atoms: int, codes: Sequence[SparseCodes]) -> ConceptStatistics:
    found = ConceptStatistics.zeros(atoms)
    found.update(codes[0], codes[1])
    return found
