import pyarrow as pa
import pytest

from isoenergy.pairs.duplicates import key_places, repeated

FILES = [[b"a", b"b", b"a", None, b""], [b"c", b"b", b"d", None, b""], [b"a"]]


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_later_places_of_a_key_are_found_however_the_keys_are_parted(parts: int) -> None:
    pieces = [key_places(pa.chunked_array([pa.array(keys, pa.binary())]), n, parts) for n, keys in enumerate(FILES)]
    found: dict[int, list[int]] = {}
    for part in range(parts):
        for file, rows in repeated([piece[part] for piece in pieces]).items():
            found.setdefault(file, []).extend(rows)
    assert {file: sorted(rows) for file, rows in found.items()} == {0: [2], 1: [1], 2: [0]}
