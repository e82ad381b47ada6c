"""What an SAE comes to on a few held-out pairs: the measures that a search weighs against each other."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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
def validation_measures(sae: SparseAutoencoder, images: Tensor, texts: Tensor) -> ValidationMeasures:
    """Measure an SAE on pairs: `(pairs, dim)` raw embeddings each, row i of both a pair, on the SAE's device."""
    was_training = sae.training
    sae.eval()
    both = zip(sae.config.modalities, (images, texts), strict=True)
    rows = [sae.prepare(part.float(), modality) for modality, part in both]
    gram = sae.gram_of_frozen(rows=2 * len(images))
    codes = [sae.encode(part, gram) for part in rows]
    statistics = ConceptStatistics.zeros(sae.config.atoms)
    statistics.update(codes[0], codes[1])
    sums = []
    for part, code in zip(rows, codes, strict=True):
        sums.append(ReconstructionSums.zeros(sae.config.dim))
        sums[-1].update(part, code.residual)
    classes, shares = statistics.classes(), energy_shares(statistics)
    image_rows, text_rows = (part.double().cpu().numpy() for part in rows)

    def rebuilt(intervention: Intervention) -> tuple[Tensor, Tensor]:
        keep = kept_atoms(intervention, classes).to(sae.dictionary.device)
        image, text = (intervene(sae, code, keep).cpu() for code in codes)
        return image, text

    measures = ValidationMeasures(
        r2=r2_paper(*sums),
        mse=mean_squared_error(*sums),
        bimodal_energy=shares.bimodal_not_always_on,
        p_acc=probing_accuracy(image_rows, text_rows, sae.dictionary.double().cpu().numpy(), statistics),
        delta_r1=recall_change(rebuilt("reconstructed"), rebuilt("bimodal")).full_gallery,
        always_on_energy=shares.always_on,
        dead_atom_share=float(np.mean(classes.dead)),
    )
    sae.train(was_training)
    return measures
