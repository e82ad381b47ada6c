"""SPARC: encoders of their own, one choice of atoms for a pair, and cross-reconstruction.

Established from the authors' code (AtlasAnalyticsLab/SPARC, `model_global.py`): a bias that is taken off and added
again, an encoder with a bias and a decoder for each stream, tied at the start; the k atoms with the largest sum of
the streams' logits are chosen for all of them (Global TopK), each stream's own logits there, less negative ones, are
its code; errors are relative to a row's square, and that of the other stream's rows rebuilt from this one's code has
its own weight, 1 there. Left out: its revival of dead atoms, as no method here has one. A row that is alone chooses
by its own logits, as that code does with one stream.
"""

import torch
from torch import Tensor, nn

from isoenergy.arena.budget import Budget
from isoenergy.arena.fitted import FittedMethod
from isoenergy.arena.pair_training import PairModel, squared_error, to_unit_rows, top_k, train, unit_atoms
from isoenergy.arena.pairs import Rows

_OTHER = {"image": "text", "text": "image"}


class Sparc(PairModel):
    """The weights of both streams."""

    def __init__(self, dim: int, budget: Budget, strength: float, seed: int) -> None:
        super().__init__()
        self._k, self._strength = budget.k, strength
        self.encoder, self.decoder = nn.ParameterDict(), nn.ParameterDict()
        self.bias, self.offset = nn.ParameterDict(), nn.ParameterDict()
        for number, name in enumerate(_OTHER):
            start = unit_atoms(budget.atoms, dim, 2 * seed + number)
            self.encoder[name], self.decoder[name] = nn.Parameter(start.clone()), nn.Parameter(start)
            self.bias[name], self.offset[name] = nn.Parameter(torch.zeros(budget.atoms)), nn.Parameter(torch.zeros(dim))

    def logits(self, rows: Tensor, modality: str) -> Tensor:
        """Return `(rows, atoms)` scores of a stream."""
        return torch.addmm(self.bias[modality], rows - self.offset[modality], self.encoder[modality].T)

    def decode(self, codes: Tensor, modality: str) -> Tensor:
        """Return `(rows, dim)`, what codes rebuild in a stream."""
        rebuilt: Tensor = codes @ self.decoder[modality] + self.offset[modality]
        return rebuilt

    def pair_codes(self, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Return both codes of pairs, over the atoms that the sum of their logits chooses."""
        logits = {"image": self.logits(image, "image"), "text": self.logits(text, "text")}
        places = (logits["image"] + logits["text"]).topk(min(self._k, len(self.bias["image"])), dim=1).indices
        return {
            name: torch.zeros_like(scores).scatter(1, places, scores.gather(1, places).relu())
            for name, scores in logits.items()
        }

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the mean error of both streams, and of both across; rows have norm 1, so errors are relative."""
        codes, rows = self.pair_codes(image, text), {"image": image, "text": text}
        own = [squared_error(rows[name], self.decode(codes[name], name)) for name in _OTHER]
        across = [squared_error(rows[name], self.decode(codes[_OTHER[name]], name)) for name in _OTHER]
        return (own[0] + own[1]) / 2 + self._strength * (across[0] + across[1]) / 2

    def codes(self, rows: Tensor, modality: str) -> Tensor:
        """Return `(rows, atoms)` codes of rows that are alone."""
        return top_k(self.logits(rows, modality), self._k)

    def fitted(self) -> FittedMethod:
        """Return what the arena measures."""
        return FittedMethod(
            encoders={"image": lambda x: self.codes(x, "image"), "text": lambda x: self.codes(x, "text")},
            dictionaries={name: self.decoder[name].data for name in _OTHER},
            offsets={name: self.offset[name].data for name in _OTHER},
        )

    def project(self) -> None:
        """Bring atoms back to norm 1."""
        for weight in self.decoder.values():
            to_unit_rows(weight.data)


def fit_sparc(rows: Rows, budget: Budget, strength: float, seed: int) -> FittedMethod:
    """Train with cross-reconstruction of weight `strength`."""
    model = Sparc(rows.image.shape[1], budget, strength, seed)
    train(model, rows, budget, seed)
    return model.fitted()
