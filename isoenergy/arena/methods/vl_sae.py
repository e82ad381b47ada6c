"""VL-SAE: one encoder by distance, a decoder a modality (Shen et al. 2025, arXiv 2510.21323).

Established from the authors' code (ssfgunner/VL-SAE, `sae_model.py`): rows and encoder rows at norm 1, an activation of
2 - ‖x̂ - ŵ_j‖, the k largest by size kept, a linear decoder with a bias for each modality, of no fixed norm. Not
established: weights of the two errors (here: alike); the code's ties, which drop all atoms as near as the k-th, do
not occur here.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pair_training import PairModel, squared_error, train
from isoenergy.arena.pairs import Rows


class VlSae(PairModel):
    """The weights; decoders are `(atoms, dim)`, as dictionaries are."""

    def __init__(self, dim: int, budget: Budget, seed: int) -> None:
        super().__init__()
        self._k = budget.k
        random = torch.Generator().manual_seed(seed)
        self.encoder = nn.Parameter(torch.empty(budget.atoms, dim))
        nn.init.kaiming_uniform_(self.encoder, a=math.sqrt(5), generator=random)
        bound = 1 / math.sqrt(budget.atoms)  # nn.Linear's own start
        self.decoder, self.offset = nn.ParameterDict(), nn.ParameterDict()
        for name in ("image", "text"):
            weight, bias = torch.empty(budget.atoms, dim), torch.empty(dim)
            self.decoder[name] = nn.Parameter(weight.uniform_(-bound, bound, generator=random))
            self.offset[name] = nn.Parameter(bias.uniform_(-bound, bound, generator=random))

    def codes(self, rows: Tensor) -> Tensor:
        """Return `(rows, atoms)` codes of a row of either modality."""
        cosine = normalize(rows, dim=1) @ normalize(self.encoder, dim=1).T
        near = 2 - (2 - 2 * cosine).clamp_min(1e-12).sqrt()
        values, places = near.topk(min(self._k, near.shape[1]), dim=1)
        return torch.zeros_like(near).scatter(1, places, values)

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the sum of both modalities' errors."""
        errors = [
            squared_error(rows, self.codes(rows) @ self.decoder[modality] + self.offset[modality])
            for modality, rows in (("image", image), ("text", text))
        ]
        return errors[0] + errors[1]


def fit_vl_sae(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Train; there is nothing to weigh."""
    del strength
    model = VlSae(rows.image.shape[1], budget, seed)
    train(model, rows, budget, seed)
    return FittedMethod(
        encoders=dict.fromkeys(("image", "text"), model.codes),
        dictionaries={name: model.decoder[name].data for name in ("image", "text")},
        offsets={name: model.offset[name].data for name in ("image", "text")},
    )
