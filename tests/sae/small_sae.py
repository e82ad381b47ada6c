"""A small autoencoder."""

import torch

from isoenergy import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig

CONFIG = SaeConfig(dim=6, atoms=15, k=4, beta=0.0025)


def sae(seed: int = 0, config: SaeConfig = CONFIG) -> SparseAutoencoder:
    return SparseAutoencoder(config, torch.Generator().manual_seed(seed))
