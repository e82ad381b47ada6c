from itertools import chain, pairwise, product

import numpy as np
import pytest

from isoenergy.errors import InputError
from isoenergy.store.order import PairOrder
from isoenergy.store.wrong_texts import WrongTextOrder

SHARDS = {
    "two pairs": [2],
    "two shards of one pair": [1, 1],
    "three pairs": [2, 1],
    "one shard": [50],
    "one-pair shards": [1] * 40,
    "sizes that differ": [7, 1, 300, 2, 64, 1, 1, 90, 33],
    "an empty shard": [5, 0, 4],
}
BLOCKS = [2, 3, 7, 64, 2**13]


def starts(shards: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(shards)])


def wrong(shards: list[int], block_pairs: int = 64, seed: int = 3, batch_pairs: int = 1) -> WrongTextOrder:
    return WrongTextOrder(starts(shards), batch_pairs, seed, 64, block_pairs)


def texts(shards: list[int], block_pairs: int = 64, seed: int = 3) -> list[int]:
    """The number of each image's text."""
    return wrong(shards, block_pairs, seed).beside(np.arange(sum(shards))).tolist()


@pytest.mark.parametrize(("name", "block_pairs"), list(product(SHARDS, BLOCKS)))
def test_every_text_is_used_once_and_none_beside_its_own_image(name: str, block_pairs: int) -> None:
    for seed in range(30):
        found = texts(SHARDS[name], block_pairs, seed)
        assert sorted(found) == list(range(sum(SHARDS[name])))
        assert all(text != image for image, text in enumerate(found))


def test_every_way_to_shuffle_is_as_likely() -> None:
    found = [tuple(texts([3], seed=seed)) for seed in range(400)]
    assert set(found) == {(1, 2, 0), (2, 0, 1)}
    assert 150 < found.count((1, 2, 0)) < 250


@pytest.mark.parametrize("block_pairs", [8, 2**13])
def test_what_stands_beside_an_image_does_not_depend_on_what_else_is_asked_for(block_pairs: int) -> None:
    shards = SHARDS["sizes that differ"]
    order, everything = wrong(shards, block_pairs), np.array(texts(shards, block_pairs))
    random = np.random.default_rng(0)
    for shape in ((), (1,), (0,), (7, 3)):
        asked = random.integers(sum(shards), size=shape)
        np.testing.assert_array_equal(order.beside(asked), everything[asked])


def test_the_seed_decides() -> None:
    shards = SHARDS["sizes that differ"]
    assert texts(shards, seed=1) == texts(shards, seed=1)
    assert len({tuple(texts(shards, seed=seed)) for seed in (0, 1, 2, 2**32, 2**32 + 1)}) == 5


def test_pairing_is_the_same_in_every_epoch_batch_size_window_and_share() -> None:
    shards = SHARDS["sizes that differ"]
    expected = texts(shards)
    for batch_pairs, window_pairs, epoch in product((1, 13, 40), (1, 64, 2**17), (0, 1, 9)):
        images = PairOrder(starts(shards), batch_pairs, 3, window_pairs)
        order = WrongTextOrder(starts(shards), batch_pairs, 3, window_pairs, 64)
        for number in range(-(-images.steps // images.window_steps)):
            for share in {(0, batch_pairs), (0, batch_pairs // 2), (batch_pairs // 2, batch_pairs)} - {(0, 0)}:
                beside = dict(
                    zip(
                        images.window(epoch, number, *share).ravel().tolist(),
                        order.window(epoch, number, *share).ravel().tolist(),
                        strict=True,
                    )
                )
                assert all(text == expected[image] for image, text in beside.items())


def test_a_store_that_is_smaller_than_two_blocks_is_shuffled_as_a_whole() -> None:
    """Five captions of an image stand together: none but a few meet their image, and no two images stay neighbours."""
    found = np.array(texts([640, 1, 359], 2**13))
    image_of = np.arange(1000) // 5
    assert (image_of[found] == image_of).mean() < 0.03
    assert abs(np.corrcoef(found, np.arange(1000))[0, 1]) < 0.15
    assert np.mean([len(set(image_of[found[five]])) for five in np.arange(1000).reshape(-1, 5)]) > 4.8


@pytest.mark.parametrize("shards", [[100] * 200, [20_000]])
def test_a_store_that_is_sorted_by_topic_is_mixed(shards: list[int]) -> None:
    """Topics of 100 pairs; blocks of 800: few images get a text of their topic, and a topic's texts are of several."""
    found = np.array(texts(shards, 800)) // 100
    topic = np.arange(20_000) // 100
    assert (found == topic).mean() < 0.03
    of_topics = [len(set(found[topic == each])) for each in range(200)]
    assert min(of_topics) >= (8 if len(shards) > 1 else 2)
    neighbours = np.array([found[topic == each].mean() for each in range(200)])
    assert abs(np.corrcoef(neighbours, np.arange(200))[0, 1]) < 0.3


def test_a_shard_of_images_needs_a_few_shards_of_texts() -> None:
    """What a streaming reader reads: with blocks of four shards, texts of a shard come from at most two blocks'."""
    shards = [100] * 200
    found = np.array(texts(shards, 400)) // 100
    needed = [len(set(found[shard * 100 : shard * 100 + 100])) for shard in range(200)]
    assert max(needed) <= 12
    used_for: dict[int, set[int]] = {}
    for image, text in enumerate(found):
        used_for.setdefault(int(text), set()).add(image // 100)
    assert max(map(len, used_for.values())) <= 12


def test_blocks_are_not_smaller_than_was_asked_for() -> None:
    for shards, block_pairs in product(SHARDS.values(), BLOCKS):
        order = wrong(shards, block_pairs)
        sizes = [high - low for low, high in pairwise(order._edges.tolist())]
        assert sum(sizes) == sum(shards)
        assert min(sizes) >= min(block_pairs, sum(shards))


def test_the_texts_of_a_batch_that_is_left_out_are_those_of_its_images() -> None:
    shards = [25, 25]
    images, order = PairOrder(starts(shards), 16, 3, 64), wrong(shards, batch_pairs=16)
    seen = [list(chain(*each.window(0, 0, 0, 16).tolist())) for each in (images, order)]
    assert len(set(seen[1])) == len(seen[1]) == 48
    expected = texts(shards)
    assert set(range(50)) - set(seen[1]) == {expected[image] for image in set(range(50)) - set(seen[0])}


def test_a_single_pair_is_refused() -> None:
    for shards, block_pairs in (([1], 64), ([5], 1)):
        with pytest.raises(InputError, match="a single pair cannot be shuffled"):
            wrong(shards, block_pairs)
