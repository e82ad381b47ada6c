"""Removing classes of atoms from the embeddings (paper 4.1)."""

from typing import Literal

import torch
from torch import Tensor

from isoenergy.codes import SparseCodes
from isoenergy.sae import SparseAutoencoder
from isoenergy.statistics import AtomClasses

Intervention = Literal["reconstructed", "bimodal", "unimodal"]
INTERVENTIONS: tuple[Intervention, ...] = ("reconstructed", "bimodal", "unimodal")


def kept_atoms(intervention: Intervention, classes: AtomClasses) -> Tensor:
    """Return the `(atoms,)` bool mask of the atoms that `intervention` keeps.

    reconstructed: every live atom; bimodal: unimodal atoms are removed; unimodal: only those are kept.
    """
    mask = {
        "reconstructed": ~classes.dead,
        "bimodal": classes.bimodal,
        "unimodal": classes.unimodal,
    }[intervention]
    return torch.from_numpy(mask)


@torch.no_grad()
def intervene(sae: SparseAutoencoder, codes: SparseCodes, keep: Tensor) -> Tensor:
    """Return `(batch, dim)` embeddings rebuilt from the kept atoms alone: no re-encoding, no re-normalisation."""
    return sae.decode(codes.keep(keep))
