from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.distributed import NodeGroup
from isoenergy.errors import InputError
from isoenergy.settings.residence import Residence
from isoenergy.store import PairBatches, PairIndex
from isoenergy.store.batches import UnpairedBatches
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import DeviceRows, PairRows, ShardRows, open_rows
from tests.store.stores import numbers, train_numbers, write_store
from tests.tiers import each_with_one

CPU = torch.device("cpu")
BATCH, SEED, WINDOW = 20, 3, 60
SHARDS = [7, 0, 1, 40, 23, 1, 64, 2]
WORKERS = [1, 2, 3, 8, BATCH]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PairIndex:
    """Of a store whose shards differ in size, lack train pairs, and have rejected pairs and pairs of other splits."""
    folder = tmp_path_factory.mktemp("batches") / "store"
    return PairIndex.build(write_store(str(folder), SHARDS, others=4, refused=2), "train")


def batches(index: PairIndex, rows: PairRows, rank: int = 0, workers: int = 1) -> PairBatches:
    return PairBatches(PairOrder(index.starts, BATCH, SEED, WINDOW), rows, rank, workers)


def opened(index: PairIndex, residence: Residence) -> PairRows:
    return open_rows(index, residence, CPU, NodeGroup())


def sequence(
    index: PairIndex, open_: Callable[[], PairRows], workers: int, epoch: int = 0, first_step: int = 0
) -> list[torch.Tensor]:
    """The global batches that all workers see together, `(2, batch, dim)` each."""
    shares = [
        [torch.stack(pair) for pair in batches(index, open_(), rank, workers).epoch(epoch, first_step)]
        for rank in range(workers)
    ]
    assert len({len(share) for share in shares}) == 1
    sizes = {pair.shape[1] for share in shares for pair in share}
    assert not sizes or max(sizes) - min(sizes) <= 1
    return [torch.cat(parts, dim=1) for parts in zip(*shares, strict=True)]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("residence", ["memory", "stream", "device", "auto"])
@pytest.mark.parametrize("workers", WORKERS)
def test_the_global_sequence_is_the_same_for_any_number_of_workers_and_residence(
    index: PairIndex, workers: int, residence: Residence
) -> None:
    reference = sequence(index, lambda: opened(index, "memory"), 1, epoch=1)
    assert same(sequence(index, lambda: opened(index, residence), workers, epoch=1), reference)
    assert len(reference) == sum(SHARDS) // BATCH


@pytest.mark.parametrize("residence", ["memory", "stream", "device"])
@pytest.mark.parametrize("workers", [1, 3])
def test_an_epoch_can_be_entered_at_any_step(index: PairIndex, workers: int, residence: Residence) -> None:
    whole = sequence(index, lambda: opened(index, "memory"), 1)
    for step in range(len(whole) + 1):
        assert same(sequence(index, lambda: opened(index, residence), workers, first_step=step), whole[step:])


def test_one_reader_serves_epochs_in_any_order_also_after_one_was_left(index: PairIndex) -> None:
    streaming, in_memory = (batches(index, opened(index, residence)) for residence in ("stream", "memory"))
    for epoch, first_step, taken in [(0, 0, 2), (1, 3, 99), (0, 1, 1), (2, 0, 99), (2, 0, 99)]:
        one, other = (
            [torch.stack(pair) for pair, _ in zip(each.epoch(epoch, first_step), range(taken), strict=False)]
            for each in (streaming, in_memory)
        )
        assert same(one, other)


def test_pairs_stay_together_and_only_the_trains_are_seen(index: PairIndex, tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "same"), SHARDS, others=4, refused=2)
    known = set(train_numbers(store))
    for residence in ("memory", "stream"):
        for images, texts in batches(index, opened(index, residence)).epoch(0):
            assert torch.equal(images, -texts)
            assert set(numbers(images)) <= known


def test_an_epoch_has_each_pair_at_most_once_and_epochs_and_seeds_differ(index: PairIndex) -> None:
    rows = opened(index, "memory")
    seen = [list(chain(*(numbers(images) for images, _ in batches(index, rows).epoch(e)))) for e in range(3)]
    assert all(len(each) == len(set(each)) == sum(SHARDS) // BATCH * BATCH for each in seen)
    assert seen[0] != seen[1] != seen[2] != seen[0]
    other = PairBatches(PairOrder(index.starts, BATCH, SEED + 1, WINDOW), rows)
    assert list(chain(*(numbers(images) for images, _ in other.epoch(0)))) != seen[0]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_come_as_stored(tmp_path: Path, dtype: str) -> None:
    store = write_store(str(tmp_path / "store"), [5, 1, 9], dtype=dtype)  # type: ignore[arg-type]
    found = store.batches("train", 15, seed=0)
    ((images, texts),) = found.epoch(0)
    assert images.dtype == texts.dtype == getattr(torch, dtype)
    assert images.shape == texts.shape == (15, 3)
    assert sorted(numbers(images)) == train_numbers(store)


def test_pairs_in_memory_are_shuffled_as_a_whole() -> None:
    rows = np.arange(1, 51, dtype=np.float32)[:, None]
    seen = [images.ravel().tolist() for images, _ in PairBatches.of_arrays(rows, -rows, 8, seed=0).epoch(0)]
    assert len(seen) == 6
    assert len(set(chain(*seen))) == 48
    one_by_one = [images.item() for images, _ in PairBatches.of_arrays(rows, -rows, 1, seed=0).epoch(0)]
    assert sorted(one_by_one) == rows.ravel().tolist() != one_by_one
    with pytest.raises(InputError, match="rows must pair up, got 50 of image, 49 of text"):
        PairBatches.of_arrays(rows, rows[1:], 8, seed=0)


def test_pairs_in_memory_are_refused_by_their_row_in_the_arrays() -> None:
    good = np.arange(1, 121, dtype=np.float16).reshape(40, 3)
    for value, what in ((np.nan, "not finite"), (np.inf, "not finite"), (0, "zero")):
        bad = good.copy()
        bad[17] = value
        with pytest.raises(InputError, match=f"row 17 of texts is {what}: .*leave such pairs out of both arrays"):
            PairBatches.of_arrays(good, bad, 8, seed=0)
        bad[[3, 30]] = value
        with pytest.raises(InputError, match=f"row 3 of images is {what}, and so are 2 more"):
            PairBatches.of_arrays(bad, good, 8, seed=0)
    for scale, what in ((1e30, "large"), (1e200, "large"), (1e-30, "small")):
        bad = good.astype(np.float64)
        bad[17] *= scale
        with pytest.raises(InputError, match=f"row 17 of texts is too {what}: it cannot be normalised"):
            PairBatches.of_arrays(good, bad, 8, seed=0)
    for wrong in (good[0], good.astype(int), good[:, :0]):
        with pytest.raises(InputError, match=r"images must be \(pairs, width\) floats"):
            PairBatches.of_arrays(wrong, good, 8, seed=0)


def test_what_pairs_in_memory_are_is_told_by_their_values() -> None:
    good = np.arange(1, 121, dtype=np.float16).reshape(40, 3)
    data = PairBatches.of_arrays(good, good, 8, seed=0).data
    assert data == PairBatches.of_arrays(good.copy(), good, 8, seed=0, rank=1, workers=2).data
    assert data != PairBatches.of_arrays(good, good[::-1], 8, seed=0).data


def test_a_store_of_one_pair(tmp_path: Path) -> None:
    index = PairIndex.build(write_store(str(tmp_path / "store"), [1]), "train")
    for residence in ("memory", "stream"):
        found = list(PairBatches(PairOrder(index.starts, 1, 0), opened(index, residence)).epoch(7))
        assert [numbers(images) for images, _ in found] == [[0]]


def test_batches_that_are_kept_do_not_change_when_others_are_read(index: PairIndex) -> None:
    for residence in ("memory", "stream", "device"):
        kept = list(batches(index, opened(index, residence)).epoch(0))
        copies = [images.clone() for images, _ in batches(index, opened(index, residence)).epoch(0)]
        assert all(torch.equal(images, copy) for (images, _), copy in zip(kept, copies, strict=True))


def unpaired(images: list[int], texts: list[int], folder: Path, workers: int = 1, rank: int = 0) -> UnpairedBatches:
    parts = []
    for number, (modality, shards) in enumerate((("image", images), ("text", texts))):
        store = write_store(str(folder / modality), shards) if rank == 0 else None
        if store is not None:
            (folder / f"{modality}.json").write_text(PairIndex.build(store, "train").to_json())
        index = PairIndex.from_json((folder / f"{modality}.json").read_text()).only(modality)
        parts.append(PairBatches(PairOrder(index.starts, 8, number, 16), ShardRows(index), rank, workers))
    return UnpairedBatches(tuple(parts))


@pytest.mark.parametrize(("images", "texts"), [([30, 3, 11], [25]), ([9], [30, 30, 1]), ([8], [8])])
def test_unpaired_batches_end_with_the_smaller_store(images: list[int], texts: list[int], tmp_path: Path) -> None:
    found = unpaired(images, texts, tmp_path)
    assert not found.paired
    for first_step in range(found.steps + 1):
        pairs = list(found.epoch(0, first_step))
        assert len(pairs) == found.steps - first_step == min(sum(images), sum(texts)) // 8 - first_step
        for mine, part in enumerate(found.parts):
            expected = list(part.epoch(0, first_step))[: len(pairs)]
            assert all(torch.equal(pair[mine], each) for pair, (each,) in zip(pairs, expected, strict=True))


def test_unpaired_batches_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    def seen(workers: int) -> list[list[torch.Tensor]]:
        shares = [list(unpaired([30, 14], [25, 3], tmp_path, workers, rank).epoch(1)) for rank in range(workers)]
        return [[torch.cat(part) for part in zip(*step, strict=True)] for step in zip(*shares, strict=True)]

    alone, shared = seen(1), seen(3)
    assert all(same(one, other) for one, other in zip(alone, shared, strict=True))
    one, other = (unpaired([30], [25], tmp_path / str(n), workers=n).parts[0] for n in (1, 2))
    with pytest.raises(InputError, match="batches of one size"):
        UnpairedBatches((one, other))


def shuffled(index: PairIndex, residence: Residence, rank: int = 0, workers: int = 1) -> UnpairedBatches:
    images, texts = (opened(index.only(modality), residence) for modality in ("image", "text"))
    order = PairOrder(index.starts, BATCH, SEED, WINDOW)
    return UnpairedBatches.shuffled(order, images, texts, rank=rank, workers=workers)


def shuffled_sequence(
    index: PairIndex, residence: Residence, workers: int, epoch: int = 0, first_step: int = 0
) -> list[torch.Tensor]:
    """The global batches of shuffled pairs that all workers see together, `(2, batch, dim)` each."""
    shares = [
        [torch.stack(pair) for pair in shuffled(index, residence, rank, workers).epoch(epoch, first_step)]
        for rank in range(workers)
    ]
    return [torch.cat(parts, dim=1) for parts in zip(*shares, strict=True)]


@pytest.mark.parametrize(("workers", "residence"), each_with_one(WORKERS, ["memory", "stream", "device", "auto"]))
def test_shuffled_pairs_are_the_same_for_any_number_of_workers_and_residence(
    index: PairIndex, workers: int, residence: Residence
) -> None:
    reference = shuffled_sequence(index, "memory", 1, epoch=1)
    assert len(reference) == sum(SHARDS) // BATCH
    assert same(shuffled_sequence(index, residence, workers, epoch=1), reference)
    for step in (1, 4, len(reference)):
        assert same(shuffled_sequence(index, residence, workers, 1, step), reference[step:])


@pytest.mark.parametrize("residence", ["memory", "stream"])
def test_of_shuffled_pairs_images_are_those_of_the_true_ones_and_texts_others_all_along(
    index: PairIndex, residence: Residence
) -> None:
    found = shuffled(index, residence)
    assert found.null
    assert found.paired
    text_of: dict[int, int] = {}
    for epoch in range(3):
        true = batches(index, opened(index, residence)).epoch(epoch)
        for (images, texts), (true_images, _) in zip(found.epoch(epoch), true, strict=True):
            assert torch.equal(images, true_images)
            for image, text in zip(numbers(images), numbers(-texts), strict=True):
                assert image != text
                assert text_of.setdefault(image, text) == text
    assert len(set(text_of.values())) == len(text_of) >= sum(SHARDS) - BATCH


def test_rows_on_a_device_are_those_in_memory(index: PairIndex) -> None:
    rows = opened(index, "device")
    assert isinstance(rows, DeviceRows)
    place = np.array([[3, 1], [0, 3]])
    taken, expected = rows.take(place), opened(index, "memory").take(place)
    assert all(torch.equal(taken[name], expected[name]) for name in ("image", "text"))
