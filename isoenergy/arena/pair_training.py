"""How methods train that are not configurations of the trainer: its batches, optimizer and schedule."""

import torch
from torch import Tensor, nn

from isoenergy.adam import Adam
from isoenergy.arena.budget import Budget
from isoenergy.arena.pairs import Rows
from isoenergy.errors import InputError
from isoenergy.store.batches import PairBatches

_CLIP = 1.0
_NORM_FLOOR = 1e-8


class PairModel(nn.Module):
    """Weights, and the loss of a batch of pairs."""

    def loss(self, image: Tensor, text: Tensor) -> Tensor:
        """Return the loss of `(pairs, dim)` unit images and texts, row i of one with row i of the other."""
        raise NotImplementedError

    def project(self) -> None:
        """Bring weights back to what they are to be, after each step."""


def train(model: PairModel, rows: Rows, budget: Budget, seed: int) -> None:
    """Train on the very batches that the trainer would draw with this seed: Adam, OneCycle, gradients clipped at 1.

    Raises InputError if a weight is not finite at the end.
    """
    batches = PairBatches.of_arrays(rows.image, rows.text, min(budget.batch_pairs, len(rows)), seed)
    optimizer = Adam(model.parameters(), lr=budget.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, budget.learning_rate, total_steps=budget.epochs * batches.steps
    )
    for epoch in range(budget.epochs):
        for image, text in batches.epoch(epoch):
            optimizer.zero_grad(set_to_none=True)
            model.loss(image, text).backward()
            nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            optimizer.step()
            schedule.step()
            model.project()
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise InputError("the weights are not finite after training; give a smaller --learning-rate or strength")
    model.requires_grad_(False)
    model.eval()


@torch.no_grad()
def to_unit_rows(weight: Tensor) -> None:
    """Rescale the rows of `(atoms, dim)` to norm 1, in place."""
    weight.div_(weight.norm(dim=1, keepdim=True) + _NORM_FLOOR)


def unit_atoms(atoms: int, dim: int, seed: int) -> Tensor:
    """Return `(atoms, dim)` random unit rows, Xavier-uniform as the trainer's dictionaries start."""
    weight = nn.init.xavier_uniform_(torch.empty(atoms, dim), generator=torch.Generator().manual_seed(seed))
    to_unit_rows(weight)
    return weight


def top_k(scores: Tensor, k: int) -> Tensor:
    """Return `(rows, atoms)` codes: the k largest scores of each row, negative ones set to 0, the others 0."""
    values, places = scores.topk(min(k, scores.shape[1]), dim=1)
    return torch.zeros_like(scores).scatter(1, places, values.relu())


def squared_error(rows: Tensor, rebuilt: Tensor) -> Tensor:
    """Return the mean over rows of a row's summed squared error."""
    return (rows - rebuilt).square().sum(1).mean()
