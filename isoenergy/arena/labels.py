"""Classes of an arena's pairs, from a column of their store."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split
from isoenergy.storage.files import without_secrets
from isoenergy.store.reader import EmbeddingStore

FEWEST_OF_A_CLASS = 10
"""Test pairs; of a smaller class pairs have no label."""


def label_values(store: EmbeddingStore, column: str, split: Split) -> npt.NDArray[np.object_]:
    """Return `(pairs,)` values of a split's column as text, None where there is none; in the store's order.

    A blank text and a NaN are none. Raises InputError if the store lacks the column, or it holds lists or bytes.
    """
    parts = [_unit_values(store, record.unit, column, split).to_pylist() for record in store.commits]
    return np.array([_label(value) for part in parts for value in part], dtype=object)


def _label(value: Any) -> str | None:
    text = str(value)
    return None if value is None or value != value or not text.strip() else text  # NaN is not itself


def _unit_values(store: EmbeddingStore, unit: str, column: str, split: Split) -> pa.ChunkedArray:
    try:
        values = store.read_unit(unit, [column], split)[column]
    except InputError as error:
        there = store.read_unit(unit).schema.names
        if column in there:
            raise
        raise InputError(
            f"{without_secrets(store.uri)} has no column {column!r} for labels; its columns are {', '.join(there)}"
        ) from error
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise InputError(
            f"{without_secrets(store.uri)}: column {column!r} holds {values.type}; labels are texts or numbers"
        )
    return values


def classes_that_count(values: npt.NDArray[np.object_], column: str) -> Sequence[str]:
    """Return the classes with enough of the test pairs.

    values: `(pairs,)` of the test pairs, None for none. Raises InputError if there are fewer than two.
    """
    names, counts = np.unique([value for value in values if value is not None], return_counts=True)
    usable: list[str] = names[counts >= FEWEST_OF_A_CLASS].tolist()
    if len(usable) < 2:
        raise InputError(
            f"column {column!r} has {len(usable)} classes with {FEWEST_OF_A_CLASS} or more of the {len(values)} "
            f"test pairs, of {len(names)} values; clusters are compared with two classes or more: give another column "
            f"as labels, or more test pairs"
        )
    return usable


def class_numbers(values: npt.NDArray[np.object_], classes: Sequence[str]) -> Tensor:
    """Return `(pairs,)` int64 places among the classes, -1 for a value that is none of them."""
    number: dict[str | None, int] = {name: place for place, name in enumerate(classes)}
    return torch.tensor([number.get(value, -1) for value in values], dtype=torch.int64)
