"""An SAE a modality, trained apart, whose atoms are matched afterwards (Lee et al. 2026, arXiv 2606.29888).

Established from the source: SAEs of their own, aligned after training; the Hungarian assignment. Not established: which
similarity of latents they assign by. Here it is the correlation of coefficients over the train pairs.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.methods.configured import fitted_sae, train_sae
from isoenergy.arena.pairs import Rows
from isoenergy.metrics.code_matching import code_correlations, matched_columns
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES


def fit_matched(
    rows: Rows,
    budget: Budget,
    strength: float,
    seed: int,
    share: float = 1.0,
    centred: bool = False,
    **settings: Any,
) -> FittedMethod:
    """Train an SAE on images and one on texts, and give atom j of the images its partner among those of the texts.

    share: atoms of each, in shares of the budget's: at ½ both dictionaries together have as many directions as one.
    centred: train on rows less their modality's mean, which is the offset then: no atoms are spent on the cones.
    settings: others of `TrainingConfig`, the same for both; without a `sparse_encoder` both are of matching pursuit.
    Each sees every row of its modality as often as the others do, `batch_pairs` rows a step.
    """
    del strength
    own = replace(budget, atoms=max(budget.k, round(budget.atoms * share)))
    offsets = {name: rows.of(name).mean(0) * centred for name in MODALITIES}
    saes = {
        name: fitted_sae(_of_one_modality(rows.of(name) - offsets[name], own, seed, **settings)) for name in MODALITIES
    }
    codes = {name: saes[name].encode(rows.of(name) - offsets[name], name) for name in MODALITIES}
    partner = torch.from_numpy(matched_columns(code_correlations(codes["image"].numpy(), codes["text"].numpy())))
    return FittedMethod(
        encoders={
            "image": lambda x: saes["image"].encoders["image"](x - offsets["image"]),
            "text": lambda x: saes["text"].encoders["text"](x - offsets["text"])[:, partner],
        },
        dictionaries={
            "image": saes["image"].dictionaries["image"],
            "text": saes["text"].dictionaries["text"][partner],
        },
        offsets=offsets,
    )


def _of_one_modality(rows: Tensor, budget: Budget, seed: int, **settings: Any) -> SparseAutoencoder:
    """Train on rows of one modality: half of them stand where the trainer has images, half where it has texts.

    At β = 0 it does not look at pairs: a step sees `batch_pairs` rows.
    """
    half = len(rows) // 2
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    one, other = rows[order[:half]], rows[order[half : 2 * half]]
    steps = replace(budget, batch_pairs=max(1, budget.batch_pairs // 2))
    return train_sae(one, other, steps, 0.0, seed, input="raw", **settings)
