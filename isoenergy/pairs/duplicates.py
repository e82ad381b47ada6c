"""Finding keys that occur twice, in pieces that need not fit on one machine."""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_PLACE = np.dtype([("high", "<u8"), ("low", "<u8"), ("file", "<u4"), ("row", "<u8")])
Places = npt.NDArray[np.void]


def key_places(keys: pa.ChunkedArray, file: int, parts: int) -> list[Places]:
    """Return where each key of one file stands, split by the key's digest into `parts` pieces.

    keys: binary; missing and empty keys are left out. A key always falls into the same piece, whatever its file.
    """
    places = np.zeros(len(keys), _PLACE)
    filled = 0
    for row, key in enumerate(keys):
        if raw := key.as_py():
            digest = hashlib.blake2b(raw, digest_size=16).digest()
            high, low = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
            places[filled] = (high, low, file, row)
            filled += 1
    places = places[:filled]
    piece = places["high"] % parts
    return [places[piece == part] for part in range(parts)]


def repeated(pieces: list[Places]) -> dict[int, list[int]]:
    """Return the rows, by file, whose key stands earlier (lower file number, then lower row) in any of `pieces`."""
    places = np.sort(np.concatenate(pieces), order=("high", "low", "file", "row"))
    again = (places["high"][1:] == places["high"][:-1]) & (places["low"][1:] == places["low"][:-1])
    rows: dict[int, list[int]] = {}
    for place in places[1:][again]:
        rows.setdefault(int(place["file"]), []).append(int(place["row"]))
    return rows
