"""How many candidates the screen computes: the atoms that its bounds leave, some two a row and round."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from isoenergy.distributed import add_up


@dataclass
class CandidateCount:
    """The candidates of some pursuits, and the rounds of all their rows that chose an atom."""

    candidates: int = 0
    rounds: int = 0

    def add(self, indices: Tensor, candidates: Tensor) -> None:
        """Add a pursuit's rows: `(batch, k)` atoms, -1 where a row had stopped, and `(batch,)` candidates."""
        self.candidates += int(candidates.sum())
        self.rounds += int((indices >= 0).sum())

    def a_round(self, device: torch.device) -> float | None:
        """Return the candidates of a row's round over all workers, who must call it together; None if none ran."""
        sums = torch.tensor([self.candidates, self.rounds], device=device)
        add_up(sums)
        candidates, rounds = sums.tolist()
        return candidates / rounds if rounds else None


_counting: ContextVar[CandidateCount | None] = ContextVar("counting", default=None)


@contextmanager
def counting_candidates(count: CandidateCount) -> Iterator[None]:
    """Let `count` add up what the screen computes meanwhile, in this thread."""
    token = _counting.set(count)
    try:
        yield
    finally:
        _counting.reset(token)


def count_candidates(indices: Tensor, candidates: Tensor) -> None:
    """Add a pursuit to the count that is being kept, if one is."""
    count = _counting.get()
    if count is not None:
        count.add(indices, candidates)
