"""Who is in the arena: each method with the strengths that validation chooses from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from isoenergy.alignments import Cosine, IsoEnergy, MaskedCosine
from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.methods.baselines import fit_canonical, fit_centred, fit_components, fit_raw
from isoenergy.arena.methods.configured import fit_configured
from isoenergy.arena.methods.cosae import fit_cosae
from isoenergy.arena.methods.group_masked import fit_group_masked
from isoenergy.arena.methods.matched import fit_matched
from isoenergy.arena.methods.matryoshka import fit_matryoshka
from isoenergy.arena.methods.sparc import fit_sparc
from isoenergy.arena.methods.vl_sae import fit_vl_sae
from isoenergy.arena.pairs import Rows
from isoenergy.sparse_encoders import BatchTopK, TopK


class FitsMethod(Protocol):
    """What trains a method."""

    def __call__(self, rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
        """Train on train pairs; all randomness is a function of the seed."""


@dataclass(frozen=True)
class Method:
    """One of the arena's methods."""

    label: str
    fit: FitsMethod
    strengths: tuple[float, ...] = (0.0,)
    """Weights of what the method adds to reconstruction, on its own scale; one 0 where there is nothing to weigh."""
    sparse: bool = True
    """Whether it has atoms; else it is a baseline, which has no training and so no seed."""


_BETAS = (3e-4, 1e-3, 3e-3)

METHODS: Mapping[str, Method] = {
    "raw": Method("embeddings as they are", fit_raw, sparse=False),
    "centred": Method("centred embeddings", fit_centred, sparse=False),
    "cca": Method("canonical correlations, k of them", fit_canonical, sparse=False),
    "pca": Method("components of pairs, k of them", fit_components, sparse=False),
    "sae": Method("SAE, matching pursuit", fit_configured),
    "sae-top-k": Method("SAE, TopK", partial(fit_configured, sparse_encoder=TopK())),
    "sae-batch-top-k": Method("SAE, BatchTopK", partial(fit_configured, sparse_encoder=BatchTopK())),
    "sae-top-k-offsets": Method("SAE, TopK, an offset a modality", partial(fit_group_masked, hidden=0.0)),
    "sae-a": Method("SAE-A, masked cosine", partial(fit_configured, alignment=MaskedCosine()), _BETAS),
    "sae-a-cosine": Method("SAE-A, cosine", partial(fit_configured, alignment=Cosine()), _BETAS),
    "sae-a-bias": Method(
        "SAE-A, bias atoms", partial(fit_configured, alignment=MaskedCosine(), bias_atoms="means"), _BETAS
    ),
    "iso-energy": Method("iso-energy alignment", partial(fit_configured, alignment=IsoEnergy()), _BETAS),
    "matched": Method("an SAE a modality, MP, matched", fit_matched),
    "matched-half": Method("the same, half the atoms each", partial(fit_matched, share=0.5)),
    "matched-centred": Method("an SAE a modality, MP, centred, matched", partial(fit_matched, centred=True)),
    "matched-top-k": Method("an SAE a modality, TopK, matched", partial(fit_matched, sparse_encoder=TopK())),
    "matched-top-k-centred": Method(
        "an SAE a modality, TopK, centred, matched", partial(fit_matched, centred=True, sparse_encoder=TopK())
    ),
    "group-sparse": Method("group-sparse, TopK", partial(fit_group_masked, hidden=0.0), (0.01, 0.05, 0.2)),
    "group-masked": Method("group-sparse with mask, TopK", fit_group_masked, (0.01, 0.05, 0.2)),
    "group-masked-relu": Method(
        "group-sparse with mask, ReLU", partial(fit_group_masked, sparsity="relu"), (0.2, 0.4, 0.8)
    ),
    "vl-sae": Method("VL-SAE", fit_vl_sae),
    "sparc": Method("SPARC", fit_sparc, (0.1, 0.3, 1.0)),
    "matryoshka": Method("Matryoshka, nested k", fit_matryoshka),
    "matryoshka-dictionaries": Method(
        "Matryoshka, nested dictionaries", partial(fit_matryoshka, nested="dictionaries")
    ),
    "cosae": Method("CoSAE, as far as defined", fit_cosae, (0.03, 0.1, 0.3)),
}
"""By name, in the order of the tables."""
