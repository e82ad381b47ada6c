"""A tar of `.npy` members, as webdataset has them: `KEY.img_emb.npy`, `KEY.text_emb.npy`, perhaps `KEY.txt`."""

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.lib import format as npy

from isoenergy.errors import InputError
from isoenergy.pairs.formats.tar import Damage, Member, read_tar
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.pairs.reach import open_file
from isoenergy.store.column_files import FilePlace, Ranges, texts_as_they_are

SUFFIX = ".tar"
_NPY, _TXT = ".npy", ".txt"
_LARGEST = 2**20
_BUFFER_BYTES = 2**20
_LOOKED_AT = 16
_KEY, _CAPTION = "key", "caption"

Vector = npt.NDArray[Any]


@dataclass(frozen=True)
class TarColumns:
    """A row a key, in the order of the tar; it is read from its beginning, each time, and one row is held at a time."""

    at: FilePlace
    rows: int
    schema: pa.Schema

    @classmethod
    def of(cls, at: FilePlace) -> "TarColumns":
        """Read the tar once; its columns are what any of the first rows has, and none of an empty one.

        Raises InputError for one that is spoilt, or whose first rows have no vector.
        """
        samples = _samples(at, range(_LOOKED_AT))
        first = list(islice(samples, _LOOKED_AT))
        if not first:
            return cls(at, 0, pa.schema([]))
        there = {name: x for sample in reversed(first) for name, x in sample.items()}
        arrays = {name: there[name] for name in sorted(there) if isinstance(there[name], np.ndarray)}
        if not arrays:
            raise InputError(f"{at.shown} holds no vectors; expected KEY.NAME.npy, a vector of floats each")
        vectors = [(name, pa.list_(pa.from_numpy_dtype(x.dtype), len(x))) for name, x in arrays.items()]
        texts = [(name, pa.string()) for name in (_KEY, _CAPTION) if name in there]
        return cls(at, len(first) + sum(1 for _ in samples), pa.schema([*texts, *vectors]))

    def tables(self, ranges: Ranges, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield rows; what a row lacks, or has of another width or type, is null."""
        schema = pa.schema([field for field in self.schema if field.name in columns])
        wanted = [row for start, stop in ranges for row in range(start, stop)] if schema.names != [_KEY] else []
        samples = _samples(self.at, frozenset(wanted))
        row = -1
        for start, stop in ranges:
            found: list[Mapping[str, Any]] = []
            while row + 1 < stop:
                sample = next(samples, None)
                if sample is None:
                    raise OSError(f"{self.at.shown} has {row + 1:,} rows now, and had {self.rows:,}")
                row += 1
                if row >= start:
                    found.append(sample)
            yield pa.Table.from_arrays([_column(field, found) for field in schema], schema=schema)


def holds_arrays(at: FilePlace) -> bool | None:
    """Return whether a tar begins with `.npy` members and no image: else it is one of pairs; None of an empty one."""
    with open_file(at.filesystem, at.path) as stream:
        buffered = io.BufferedReader(stream, _BUFFER_BYTES)
        members = list(islice(read_tar(buffered, lambda _name, _head: 0), _LOOKED_AT))
    names = [member.name.lower() for member in members if isinstance(member, Member)]
    is_of_arrays = any(name.endswith(_NPY) for name in names)
    return is_of_arrays and not any(name.endswith(IMAGE_SUFFIXES) for name in names) if members else None


def _column(field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> pa.Array:
    values = [row.get(field.name) for row in rows]
    if pa.types.is_string(field.type):
        return texts_as_they_are(values)
    width, dtype = field.type.list_size, field.type.value_type.to_pandas_dtype()
    good = [isinstance(x, np.ndarray) and x.shape == (width,) and x.dtype == dtype for x in values]
    zeros = np.zeros(width, dtype)
    flat = np.concatenate([zeros[:0], *(x if ok else zeros for x, ok in zip(values, good, strict=True))])
    mask = pa.array([not ok for ok in good], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), width, mask=mask)


def _samples(at: FilePlace, wanted: Collection[int]) -> Iterator[Mapping[str, Any]]:
    """Yield what each key has; arrays and texts of the rows that are wanted alone."""
    with open_file(at.filesystem, at.path) as stream:
        row, key = -1, ""
        sample: dict[str, Any] = {}
        for member in read_tar(io.BufferedReader(stream, _BUFFER_BYTES), lambda _name, _head: _LARGEST):
            if isinstance(member, Damage):
                raise InputError(f"{at.shown} is spoilt ({member.detail}); write it again")
            folder, _, name = member.name.rpartition("/")
            stem, _, kind = name.partition(".")
            own = f"{folder}/{stem}" if folder else stem
            if own != key or row < 0:
                if row >= 0:
                    yield sample
                row, key, sample = row + 1, own, {_KEY: own}
            if row in wanted:
                sample |= _value(f".{kind}", member)
        if row >= 0:
            yield sample


def _value(kind: str, member: Member) -> dict[str, Any]:
    if member.content is None:
        return {}
    if kind == _TXT:
        return {_CAPTION: member.content.strip()}
    if not kind.endswith(_NPY) or kind == _NPY:
        return {}
    stream = io.BytesIO(member.content)
    try:
        found = npy.read_array(stream, allow_pickle=False)
    except Exception:  # whatever a header that is none makes its reader raise: there is no vector
        return {}
    flat = found.reshape(-1) if found.ndim == 2 and 1 in found.shape else found
    return {kind[1 : -len(_NPY)]: flat} if flat.ndim == 1 and flat.dtype.kind == "f" and len(flat) else {}
