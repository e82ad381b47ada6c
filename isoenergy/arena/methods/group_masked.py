"""Group-sparse autoencoders with a random mask that both modalities share (Kaushik et al. 2026, arXiv 2601.20028).

Established, by two summaries of the paper that agree, as its code is not public: encoder, its bias and decoder are
shared; each modality has a bias that is taken off before the encoder and added after the decoder; before the choice
of atoms one random mask a pair hides the same atoms from both; the loss is ‖x - x̂‖² + ‖y - ŷ‖² + λ Σ_j ‖(z_x,j,
z_y,j)‖₂; the mask's p is 0.2, λ 0.05. Not established: whether p is the share that is hidden or kept (here: hidden;
0.2 kept would leave fewer than k atoms of small dictionaries), and whether the mask is drawn a pair or a batch (here:
a pair).
"""

import torch
from torch import Tensor, nn

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pair_training import PairModel, squared_error, to_unit_rows, top_k, train, unit_atoms
from isoenergy.arena.pairs import Rows


class GroupMasked(PairModel):
    """MGSAE; GSAE where nothing is hidden."""

    def __init__(self, dim: int, budget: Budget, strength: float, hidden: float, sparsity: str, seed: int) -> None:
        """Draw the weights. hidden: share of the atoms that a pair's mask hides; sparsity: top-k or relu."""
        super().__init__()
        self._k, self._strength, self._hidden, self._sparsity = budget.k, strength, hidden, sparsity
        start = unit_atoms(budget.atoms, dim, seed)
        self.encoder, self.decoder = nn.Parameter(start.clone()), nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(budget.atoms))
        self.offset = nn.ParameterDict({name: nn.Parameter(torch.zeros(dim)) for name in ("image", "text")})
        self._random = torch.Generator().manual_seed(seed)

    def codes(self, rows: Tensor, modality: str, mask: Tensor | None = None) -> Tensor:
        """Return `(rows, atoms)` codes; mask: `(rows, atoms)` bool, the atoms that may be chosen."""
        scores = torch.addmm(self.bias, rows - self.offset[modality], self.encoder.T)
        if mask is not None:
            scores = scores.masked_fill(~mask, 0.0)
        return top_k(scores, self._k) if self._sparsity == "top-k" else scores.relu()

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the loss of a batch."""
        mask = torch.rand(len(image), len(self.bias), generator=self._random) >= self._hidden
        codes = {"image": self.codes(image, "image", mask), "text": self.codes(text, "text", mask)}
        errors = [
            squared_error(rows, codes[modality] @ self.decoder + self.offset[modality])
            for modality, rows in (("image", image), ("text", text))
        ]
        return errors[0] + errors[1] + self._strength * group_norm(codes["image"], codes["text"])

    def project(self) -> None:
        """Bring atoms back to norm 1."""
        to_unit_rows(self.decoder.data)


def group_norm(image: Tensor, text: Tensor) -> Tensor:
    """Return the mean over pairs of Σ_j ‖(z_image,j, z_text,j)‖₂ of `(pairs, atoms)` codes."""
    squares = image.square() + text.square()
    return (torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)).sum(1).mean()


def fit_group_masked(
    rows: Rows, budget: Budget, strength: float, seed: int, hidden: float = 0.2, sparsity: str = "top-k"
) -> FittedMethod:
    """Train with λ = strength; codes are those without a mask."""
    model = GroupMasked(rows.image.shape[1], budget, strength, hidden, sparsity, seed)
    train(model, rows, budget, seed)
    return FittedMethod(
        encoders={"image": lambda x: model.codes(x, "image"), "text": lambda x: model.codes(x, "text")},
        dictionaries=dict.fromkeys(("image", "text"), model.decoder.data),
        offsets={name: model.offset[name].data for name in ("image", "text")},
    )
