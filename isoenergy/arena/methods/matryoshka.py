"""Matryoshka SAEs: what is nested rebuilds the row at every level.

Two are called so. Zaigrajew et al. 2025 (arXiv 2502.20578, for CLIP): one dictionary, several k, each of which
rebuilds the row. Established from the source that others keep of their code: several TopK of rising k, an importance
each. Bussmann et al. 2025 (arXiv 2503.17547): several prefixes of the dictionary, each of which rebuilds the row. Not
established: the levels and importances that the papers use; here ¼, ½ and all of k, or of the atoms, weighted alike.
"""

import torch
from torch import Tensor, nn

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pair_training import PairModel, squared_error, to_unit_rows, top_k, train, unit_atoms
from isoenergy.arena.pairs import Rows

LEVELS = (0.25, 0.5, 1.0)


class Matryoshka(PairModel):
    """A TopK autoencoder of all rows, whatever their modality."""

    def __init__(self, dim: int, budget: Budget, nested: str, seed: int) -> None:
        """Draw the weights. nested: k, or dictionaries."""
        super().__init__()
        self._k, self._nested = budget.k, nested
        start = unit_atoms(budget.atoms, dim, seed)
        self.encoder, self.decoder = nn.Parameter(start.clone()), nn.Parameter(start)
        self.bias, self.offset = nn.Parameter(torch.zeros(budget.atoms)), nn.Parameter(torch.zeros(dim))

    def scores(self, rows: Tensor) -> Tensor:
        """Return `(rows, atoms)`."""
        return torch.addmm(self.bias, rows - self.offset, self.encoder.T)

    def codes(self, rows: Tensor) -> Tensor:
        """Return `(rows, atoms)` codes of the outermost level."""
        return top_k(self.scores(rows), self._k)

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the mean error of the levels."""
        rows = torch.cat([image, text])
        scores = self.scores(rows)
        levels = self._levels(scores)
        errors = [squared_error(rows, codes @ self.decoder + self.offset) for codes in levels]
        return torch.stack(errors).mean()

    def _levels(self, scores: Tensor) -> list[Tensor]:
        if self._nested == "k":
            return [top_k(scores, max(1, round(self._k * level))) for level in LEVELS]
        codes, atoms = top_k(scores, self._k), scores.shape[1]
        inside = torch.arange(atoms)
        return [codes * (inside < round(atoms * level)) for level in LEVELS]

    def project(self) -> None:
        """Bring atoms back to norm 1."""
        to_unit_rows(self.decoder.data)


def fit_matryoshka(rows: Rows, budget: Budget, strength: float, seed: int, nested: str = "k") -> FittedMethod:
    """Train; there is nothing to weigh."""
    del strength
    model = Matryoshka(rows.image.shape[1], budget, nested, seed)
    train(model, rows, budget, seed)
    return FittedMethod.of_shared(model.codes, model.decoder.data, model.offset.data)
