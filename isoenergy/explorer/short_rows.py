"""Rows of two bytes a number that are multiplied as they lie on the disk: whole numbers times one factor a row.

They are as small as half precision, and nearer to the rows: off by at most 1/65534 of the row's largest number, where
half precision is off by up to 1/2048 of each. And processors turn whole numbers into floats many at a time, so that a
product with all rows takes as long as reading them.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.compiling.compiled import compiled
from isoenergy.compiling.threads import in_parallel

_LARGEST = 32767
_ROWS_A_TASK = 2048


@dataclass(frozen=True)
class ShortRows:
    """`(rows, dim)` numbers."""

    numbers: npt.NDArray[np.int16]
    factors: npt.NDArray[np.float32]
    """`(rows,)`"""

    @classmethod
    def of(cls, rows: Tensor) -> Self:
        """Round `(n, dim)` finite rows."""
        factors = rows.float().abs().amax(dim=1) / _LARGEST
        whole = (rows.float() / factors.clamp(min=torch.finfo(torch.float32).tiny)[:, None]).round()
        return cls(whole.to(torch.int16).numpy(), factors.numpy())

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def dim(self) -> int:
        """Numbers in a row."""
        return int(self.numbers.shape[1])

    def floats(self, chosen: slice | int) -> Tensor:
        """Return some rows in float32."""
        numbers, factors = np.asarray(self.numbers[chosen], np.float32), self.factors[chosen]
        return torch.from_numpy(numbers * (factors if isinstance(chosen, int) else factors[:, None]))

    def products(self, queries: Tensor) -> Tensor:
        """Return the `(n, rows)` inner products of all rows with `(n, dim)` float32 queries."""
        found = torch.empty(len(queries), len(self))
        arrays = self.numbers, self.factors, queries.float().contiguous().numpy(), found.numpy()
        in_parallel(partial(_products, *arrays), len(self), _ROWS_A_TASK)
        return found

    def save(self, folder: Path, name: str) -> None:
        """Write two arrays that `load` maps."""
        np.save(folder / f"{name}-numbers.npy", self.numbers)
        np.save(folder / f"{name}-factors.npy", self.factors)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Map what `save` wrote."""
        return cls(np.load(folder / f"{name}-numbers.npy", mmap_mode="c"), np.load(folder / f"{name}-factors.npy"))


@compiled
def _products(numbers, factors, queries, found, first, last):  # type: ignore[no-untyped-def]  # numba finds the types
    for row in range(first, last):
        for query in range(queries.shape[0]):
            total = np.float32(0)
            for place in range(numbers.shape[1]):
                total += np.float32(numbers[row, place]) * queries[query, place]
            found[query, row] = total * factors[row]
