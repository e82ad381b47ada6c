from itertools import chain, pairwise

import numpy as np
import pytest

from isoenergy.errors import InputError
from isoenergy.store.order import PairOrder, require_batches

SHARDS = {
    "one pair": [1],
    "one shard": [50],
    "one-pair shards": [1] * 40,
    "sizes that differ": [7, 1, 300, 2, 64, 1, 1, 90, 33],
    "more lanes than pairs in a shard": [3, 2, 4, 3, 1],
}


def order(shards: list[int], batch_pairs: int, seed: int = 3, window_pairs: int = 64) -> PairOrder:
    return PairOrder(np.concatenate([[0], np.cumsum(shards)]), batch_pairs, seed, window_pairs)


def windows(of: PairOrder, epoch: int, first: int = 0, last: int | None = None) -> np.ndarray:
    """`(steps, last - first)` pairs of an epoch."""
    count = -(-of.steps // of.window_steps)
    last = of.batch_pairs if last is None else last
    return np.concatenate([of.window(epoch, number, first, last) for number in range(count)])


CASES = [
    (shards, batch, window)
    for shards in SHARDS.values()
    for batch in (1, 2, 5, 13, 16, 40)
    for window in (1, 40, 64, 2**17)
    if batch <= sum(shards)
]


@pytest.mark.parametrize(("shards", "batch_pairs", "window_pairs"), CASES)
def test_an_epoch_has_each_pair_once_but_those_of_a_short_last_batch(
    shards: list[int], batch_pairs: int, window_pairs: int
) -> None:
    of = order(shards, batch_pairs, window_pairs=window_pairs)
    seen = windows(of, epoch=2)
    assert seen.shape == (sum(shards) // batch_pairs, batch_pairs)
    assert len(np.unique(seen)) == seen.size
    assert seen.min() >= 0
    assert seen.max() < sum(shards)


@pytest.mark.parametrize(("shards", "batch_pairs", "window_pairs"), CASES)
def test_a_part_of_each_batch_is_the_same_asked_for_alone(
    shards: list[int], batch_pairs: int, window_pairs: int
) -> None:
    of = order(shards, batch_pairs, window_pairs=window_pairs)
    whole = windows(of, epoch=1)
    for parts in {1, 2, 3, min(8, batch_pairs), batch_pairs}:
        edges = [batch_pairs * part // parts for part in range(parts + 1)]
        shares = [windows(of, 1, *edge) for edge in pairwise(edges) if edge[0] < edge[1]]
        np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


def test_seed_and_epoch_decide() -> None:
    shards = SHARDS["sizes that differ"]
    sequences = [windows(order(shards, 16, seed), epoch).tolist() for seed in (0, 1, 2**32) for epoch in (0, 1, 2)]
    assert len({str(sequence) for sequence in sequences}) == 9
    assert windows(order(shards, 16, 1), 2).tolist() == sequences[5]


def test_what_the_short_last_batch_leaves_out_differs_between_epochs() -> None:
    of = order([50], batch_pairs=16)
    left_out = [set(range(50)) - set(windows(of, epoch).ravel().tolist()) for epoch in range(30)]
    assert all(len(pairs) == 2 for pairs in left_out)
    assert len(set(map(frozenset, left_out))) > 10


def test_a_batch_mixes_pairs_that_are_far_apart() -> None:
    of = order([100] * 64, batch_pairs=64, window_pairs=640)
    for batch in windows(of, 0):
        assert len(set(batch // 100)) >= 16
    assert abs(np.corrcoef(windows(of, 0).ravel(), np.arange(6400))[0, 1]) < 0.1


def test_a_worker_needs_only_its_lanes_shards_and_one_after_the_other() -> None:
    of = order([100] * 64, batch_pairs=64, window_pairs=640)
    shares = [windows(of, 0, rank * 16, rank * 16 + 16) // 100 for rank in range(4)]
    # 16 whole shards each, two that its ends cut, and one that the ring is opened in
    assert all(len(np.unique(share)) <= 19 for share in shares)
    for share in shares:
        steps = {shard: np.flatnonzero((share == shard).any(1)) for shard in np.unique(share)}
        spans = [each[-1] - each[0] + 1 for each in steps.values()]
        assert sum(span <= 50 for span in spans) >= len(spans) - 6


def test_pairs_of_a_window_are_shuffled() -> None:
    of = order([640], batch_pairs=1, window_pairs=64)
    first = of.window(0, 0, 0, 1).ravel()
    assert sorted((first - first.min()) % 640) != ((first - first.min()) % 640).tolist()
    assert not np.array_equal(first, np.sort(first))


@pytest.mark.parametrize(
    ("pairs", "batch_pairs", "workers", "message"),
    [
        (10, 0, 1, "a batch of 0 pairs cannot be drawn from the 10"),
        (10, -1, 1, "a batch of -1 pairs"),
        (10, 11, 1, "a batch of 11 pairs cannot be drawn from the 10"),
        (0, 1, 1, "a batch of 1 pairs cannot be drawn from the 0"),
        (10, 2, 3, "a batch of 2 pairs cannot be shared by 3 workers"),
    ],
)
def test_impossible_batches_are_refused(pairs: int, batch_pairs: int, workers: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        require_batches(pairs, batch_pairs, workers)


def test_the_largest_possible_batch_is_one_step() -> None:
    of = order([3, 1, 6], batch_pairs=10)
    assert of.steps == 1
    assert sorted(chain(*windows(of, 0).tolist())) == list(range(10))
