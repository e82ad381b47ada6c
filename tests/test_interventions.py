import numpy as np
import torch

from isoenergy import SparseAutoencoder
from isoenergy.interventions import INTERVENTIONS, intervene, kept_atoms
from isoenergy.sae import SaeConfig
from isoenergy.statistics import AtomClasses


def test_bimodal_and_unimodal_parts_add_up_to_the_reconstruction() -> None:
    sae = SparseAutoencoder(SaeConfig(dim=5, atoms=8, k=3, beta=0.0), torch.Generator().manual_seed(0))
    masks = np.eye(4, dtype=bool)[[0, 0, 0, 1, 1, 2, 2, 3]].T
    classes = AtomClasses(*masks)
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(1))
    codes = sae.encode(x)
    whole, bimodal, unimodal = (intervene(sae, codes, kept_atoms(name, classes)) for name in INTERVENTIONS)
    torch.testing.assert_close(bimodal + unimodal, whole)
    dense = codes.to_dense(8)
    expected = (dense * torch.from_numpy(classes.bimodal)) @ sae.dictionary
    torch.testing.assert_close(bimodal, expected)
