from itertools import chain

import numpy as np
import pytest
import torch

from isoenergy.errors import InputError
from isoenergy.store import PairArrays
from isoenergy.store.batches import PairBatches

NUMBERS = np.arange(50, dtype=np.float16)[:, None]
PAIRS = PairArrays(np.array([str(n) for n in range(50)], object), NUMBERS, NUMBERS + 100)


def sequence(workers: int, epoch: int = 0, first_step: int = 0) -> list[list[float]]:
    """The global batches that all workers see together."""
    shares = [list(PairBatches(PAIRS, 8, 3, rank, workers).epoch(epoch, first_step)) for rank in range(workers)]
    return [torch.cat([share[step][0] for share in shares]).ravel().tolist() for step in range(len(shares[0]))]


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_the_global_sequence_is_the_same_for_any_number_of_workers(workers: int) -> None:
    assert sequence(workers) == sequence(1)


def test_epochs_differ_and_each_pair_is_seen_at_most_once() -> None:
    first, second = (list(chain(*sequence(1, epoch))) for epoch in range(2))
    assert first != second
    assert len(first) == len(set(first)) == 48


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    assert sequence(2, first_step=4) == sequence(2)[4:]


def test_pairs_stay_together() -> None:
    for images, texts in PairBatches(PAIRS, 8, 3).epoch(0):
        assert torch.equal(images + 100, texts)


@pytest.mark.parametrize(("batch", "workers"), [(0, 1), (51, 1), (2, 3)])
def test_impossible_batches_are_refused(batch: int, workers: int) -> None:
    with pytest.raises(InputError, match="a batch of"):
        PairBatches(PAIRS, batch, 0, 0, workers)
