"""Pairs that are none: which text stands beside which image when a null model is trained.

Every image gets the text of one other pair, and every text is used once: it is fixed by the seed, for all epochs, any
number of workers and wherever the pairs are. The images come as they always do.

Texts are dealt out block by block. A block of images, `block_pairs` or more that stand together in the index, gets as
many texts, in random order, of pieces of shards from all over the index. So captions of one image that stand together
(COCO has five) are dispersed, a store that is sorted by topic is mixed, and a streaming reader needs a few shards of
texts for each shard of images. A store of less than two blocks is shuffled as a whole.

What is left to chance: an image may get another caption of its own or of its double. An image that has d of them does
with a chance of d in the number of pairs that texts are drawn from: in COCO, one in 100,000.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isoenergy.errors import InputError
from isoenergy.store.order import PairOrder, Positions, numbers_along


@dataclass(frozen=True)
class WrongTextOrder(PairOrder):
    """The order of the texts that stand beside the images of a `PairOrder` of the same arguments."""

    block_pairs: int = 2**13
    """Pairs among which texts are dealt out; more mix better and make a streaming reader read more shards."""
    shuffle: int = 0
    """Tells the shuffles of several modalities apart; rows of two shuffled ones may meet their own by chance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(int(self.starts[-1]), self.block_pairs) < 2:
            raise InputError(
                f"a single pair cannot be shuffled, got {self.starts[-1]} pairs in blocks of {self.block_pairs}; "
                f"it takes more"
            )

    def window(self, epoch: int, number: int, first: int, last: int) -> Positions:
        """Return the numbers of the pairs whose texts stand beside the images numbered `first` to `last`."""
        return self.beside(super().window(epoch, number, first, last))

    def beside(self, images: Positions) -> Positions:
        """Return the number of the pair whose text stands beside each image; never the image's own."""
        blocks = np.searchsorted(self._edges, images, side="right") - 1
        texts = np.empty_like(images)
        for block in np.unique(blocks):
            chosen = blocks == block
            texts[chosen] = self._texts(block)[images[chosen] - self._edges[block]]
        return texts

    def _texts(self, block: int) -> Positions:
        """Numbers of the texts that a block's images get, one after the other."""
        images = np.arange(self._edges[block], self._edges[block + 1])
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(1, block, *self._shuffle)))
        texts = random.permutation(numbers_along(*self._line, images))
        while (texts == images).any():
            texts = random.permutation(texts)
        return texts

    @property
    def _shuffle(self) -> tuple[int, ...]:
        return (self.shuffle,) if self.shuffle else ()

    @cached_property
    def _edges(self) -> Positions:
        """Where the blocks begin, and the number of pairs."""
        pairs = int(self.starts[-1])
        count = max(1, pairs // self.block_pairs)
        return pairs * np.arange(count + 1) // count

    @cached_property
    def _line(self) -> tuple[Positions, Positions]:
        """The pieces that texts are taken from, and their order: shards, cut where they are larger than a block."""
        pieces = np.union1d(self.starts, np.arange(0, self.starts[-1], self.block_pairs))
        random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(0, *self._shuffle)))
        return pieces, random.permutation(len(pieces) - 1)
