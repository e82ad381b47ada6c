"""Sums over rows that merge: what a part of the data adds to the whole."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
else:
    DataclassInstance = object


class MergeableSums(DataclassInstance):
    """A base for dataclasses whose fields, arrays and numbers, are all sums over rows."""

    def merge(self, other: Self) -> Self:
        """Return the sums of both sets of rows."""
        return type(self)(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def save(self, path: Path) -> None:
        """Write the sums as safetensors."""
        save_file({item.name: np.asarray(getattr(self, item.name), order="C") for item in fields(self)}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        sums = load_file(path)
        return cls(**{name: array if array.ndim else array.item() for name, array in sums.items()})
