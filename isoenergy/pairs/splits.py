"""Train, validation and test splits as a pure function of a pair's key."""

import hashlib
import re
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Pairs = Literal["train", "validation", "test", "all"]
"""Which pairs of a store: those of a split, or all."""

TEST_PERCENT = 10
VALIDATION_PERCENT = 5
_LAST_NUMBER = re.compile(r"#[0-9]+\Z")


def split_of(key: str) -> Split:
    """Return the split that the pair `key` belongs to, in any source, for ever.

    The key's SHA-256 (salted, so that it is independent of orders made from the plain hash) chooses: 10 % test,
    5 % validation, the rest train.
    """
    digest = hashlib.sha256(b"isoenergy-split/" + key.encode("utf-8", "surrogatepass")).digest()
    bucket = int.from_bytes(digest[:8], "big") % 100
    if bucket < TEST_PERCENT:
        return "test"
    if bucket < TEST_PERCENT + VALIDATION_PERCENT:
        return "validation"
    return "train"


def split_of_pair(key: str) -> Split:
    """Return the split of a pair as `isoenergy embed` chooses it: that of its image, for images with several captions.

    Their pairs' keys are the image's with `#0`, `#1`, … behind it, which is left out.
    """
    return split_of(_without_number(key))


def splits_of_row(key: str) -> set[Split]:
    """Return the splits that a row of a store may be in: of its key, of its pair, or of the pair whose token it is.

    A token's key is its pair's with `#0`, `#1`, … behind it.
    """
    return {split_of(key), split_of_pair(key), split_of_pair(_without_number(key))}


def _without_number(key: str) -> str:
    return _LAST_NUMBER.sub("", key)
