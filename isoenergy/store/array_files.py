"""Arrays in `.npy`, `.npz` and safetensors, of which a range of rows is read at a time, wherever they lie.

A header is looked at before it is believed: what it says must be exactly what the file has bytes for. Nothing in it is
unpickled, and no array is read whole.
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fsspec import AbstractFileSystem
from numpy.lib import format as npy

from isoenergy.errors import InputError
from isoenergy.pairs.reach import open_file, unreachable
from isoenergy.storage.files import without_secrets

NPY, NPZ, SAFETENSORS = ".npy", ".npz", ".safetensors"
WIDEST = 2**16
"""Numbers of a vector; a unit of rows must fit into memory."""
_HEAD_BYTES = 2**14
_MOST_JSON = 2**24
_LOCAL_HEADER_BYTES = 30
_BFLOAT16 = "bfloat16"
_OF_SAFETENSORS = {
    "BF16": _BFLOAT16,
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    "I8": "|i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "|u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
    "BOOL": "|b1",
}
Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class StoredArray:
    """Where an array lies: `shape` of `dtype`, row by row from `offset` of its file, or of a compressed member."""

    name: str
    """Its name in a file of several; empty in a `.npy`."""
    shape: tuple[int, ...]
    dtype: str
    offset: int
    member: str = ""
    """Of a zip, if it is compressed; it is then read from its beginning."""

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * (2 if self.dtype == _BFLOAT16 else np.dtype(self.dtype).itemsize)

    @property
    def number(self) -> str:
        """What a number is called, in whatever order its bytes lie."""
        return self.dtype if self.dtype == _BFLOAT16 else np.dtype(self.dtype).name

    @property
    def is_vectors(self) -> bool:
        """Whether it has a vector of floats a row."""
        return len(self.shape) == 2 and 0 < self.shape[1] <= WIDEST and self._kind == "f"

    @property
    def is_column(self) -> bool:
        """Whether it has a number or a text a row."""
        return len(self.shape) == 1 and self._kind in "fiubUS" and 0 < self.row_bytes <= WIDEST

    @property
    def _kind(self) -> str:
        return "f" if self.dtype == _BFLOAT16 else np.dtype(self.dtype).kind

    def of_bytes(self, data: bytes) -> Rows:
        """Return rows from their bytes; bfloat16 becomes float32."""
        if self.dtype == _BFLOAT16:
            rows = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
        else:
            rows = np.frombuffer(data, self.dtype)
        return rows.reshape(-1, *self.shape[1:])


def arrays_in(filesystem: AbstractFileSystem, path: str) -> list[StoredArray]:
    """Return the arrays of a file, by its suffix.

    Raises InputError if its header is none, or says other than what is there; OSError if it cannot be reached.
    """
    try:
        size = filesystem.size(path)
    except Exception as error:  # each filesystem has exceptions of its own
        raise unreachable(path, error) from error
    try:
        if path.lower().endswith(NPZ):
            return _of_zip(filesystem, path)
        if path.lower().endswith(SAFETENSORS):
            return _of_safetensors(filesystem, path, size)
        return [_of_npy(read_range(filesystem, path, 0, min(size, _HEAD_BYTES)), size, "")]
    except OSError:
        raise
    except Exception as error:  # whatever a header that is none makes its readers raise
        shown = without_secrets(path)
        raise InputError(
            f"{shown} has no header that can be used ({error}); write it again, or leave it out"
        ) from error


def row_ranges(
    filesystem: AbstractFileSystem, path: str, array: StoredArray, ranges: Sequence[tuple[int, int]]
) -> Iterator[Rows]:
    """Yield the rows of each range, `(start, stop)`, which are given in order. Raises OSError if there are fewer."""
    if not array.member:
        for start, stop in ranges:
            first, last = (array.offset + row * array.row_bytes for row in (start, stop))
            yield array.of_bytes(read_range(filesystem, path, first, last))
        return
    with open_file(filesystem, path) as stream, zipfile.ZipFile(stream) as archive, archive.open(array.member) as data:
        for start, stop in ranges:
            try:
                data.seek(array.offset + start * array.row_bytes)
                found = data.read((stop - start) * array.row_bytes)
            except (zipfile.BadZipFile, EOFError, ValueError, zlib.error) as error:
                raise OSError(f"its member {array.member} is spoilt ({error})") from error
            if len(found) < (stop - start) * array.row_bytes:
                raise OSError(f"its member {array.member} ends early")
            yield array.of_bytes(found)


def read_range(filesystem: AbstractFileSystem, path: str, start: int, stop: int) -> bytes:
    """Return some bytes of a file.

    Raises OSError if it cannot be reached or has fewer, or if a web server that knows no ranges sends all of it.
    """
    try:
        data: bytes = filesystem.cat_file(path, start=start, end=stop) if stop > start else b""
    except Exception as error:  # each filesystem has exceptions of its own
        raise unreachable(path, error) from error
    if len(data) > stop - start:
        raise OSError(f"{without_secrets(path)}: its server gives no ranges of bytes; copy the file to a disk or to S3")
    if len(data) < stop - start:
        raise OSError(f"{without_secrets(path)} has no bytes {start + len(data):,} to {stop:,}: it was cut short")
    return data


def _of_npy(head: bytes, size: int, name: str, member: str = "", start: int = 0) -> StoredArray:
    """Parse the beginning of a `.npy` of `size` bytes, which lies at `start` of its file."""
    stream = io.BytesIO(head)
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the format, where 1.0 and 2.0 are known")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which would have to be unpickled")
    if is_fortran and len(shape) > 1:
        raise ValueError("it is in Fortran order, column by column; save np.ascontiguousarray of it")
    array = StoredArray(name, tuple(map(int, shape)), dtype.str, start + stream.tell(), member)
    _require_bytes(array, start + size)
    return array


def _of_zip(filesystem: AbstractFileSystem, path: str) -> list[StoredArray]:
    arrays = []
    with open_file(filesystem, path) as stream, zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(NPY):
                continue
            name = entry.filename.removesuffix(NPY)
            if entry.flag_bits & 1:
                raise ValueError(f"{entry.filename} is encrypted")
            with archive.open(entry) as data:
                head = data.read(_HEAD_BYTES)
            if entry.compress_type != zipfile.ZIP_STORED:
                arrays.append(_of_npy(head, entry.file_size, name, member=entry.filename))
                continue
            stream.seek(entry.header_offset)
            local = stream.read(_LOCAL_HEADER_BYTES)
            lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
            begin = entry.header_offset + _LOCAL_HEADER_BYTES + lengths
            arrays.append(_of_npy(head, entry.file_size, name, start=begin))
    if len({array.name for array in arrays}) < len(arrays):
        raise ValueError("two of its arrays have one name")
    return arrays


def _of_safetensors(filesystem: AbstractFileSystem, path: str, size: int) -> list[StoredArray]:
    length = int.from_bytes(read_range(filesystem, path, 0, min(8, size)), "little")
    if not 2 <= length <= min(size - 8, _MOST_JSON):
        raise ValueError(f"a header of {length:,} bytes in a file of {size:,}")
    header = json.loads(read_range(filesystem, path, 8, 8 + length))
    arrays = []
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in _OF_SAFETENSORS:
            continue
        begin, end = entry["data_offsets"]
        shape = tuple(map(int, entry["shape"]))
        array = StoredArray(name, shape, _OF_SAFETENSORS[entry["dtype"]], 8 + length + int(begin))
        if not 0 <= begin <= end <= size - 8 - length:
            raise ValueError(f"{name} lies from {begin:,} to {end:,} of {size - 8 - length:,} bytes")
        _require_bytes(array, 8 + length + int(end))
        arrays.append(array)
    return arrays


def _require_bytes(array: StoredArray, end: int) -> None:
    """Raise ValueError unless an array of this shape ends at `end`."""
    if any(length < 0 for length in array.shape):
        raise ValueError(f"a shape of {array.shape}")
    rows = array.shape[0] if array.shape else 1
    expected, there = rows * array.row_bytes, end - array.offset
    if expected != there:
        raise ValueError(f"{array.dtype} of shape {array.shape} are {expected:,} bytes, and it has {there:,}")
