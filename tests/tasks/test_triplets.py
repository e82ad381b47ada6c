import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.tasks.triplets import Triplet, labelled_triplets, read_triplets

PEOPLE = "people & body"
CONCEPTS = {
    "cook-woman-dark": ("woman cook: dark skin tone", "woman cook"),
    "cook-woman-light": ("woman cook: light skin tone", "woman cook"),
    "cook-woman": ("woman cook", "woman cook"),
    "cook-man-dark": ("man cook: dark skin tone", "man cook"),
    "cook-dark": ("cook: dark skin tone", "cook"),
    "pilot-woman-dark": ("woman pilot: dark skin tone", "woman pilot"),
    "elf-woman-dark": ("woman elf: dark skin tone", "woman elf"),
    "hair": ("man: medium-dark skin tone, red hair", "man: red hair"),
    "two": ("handshake: light skin tone, dark skin tone", "handshake"),
    "couple": ("woman and man holding hands: dark skin tone", "woman and man holding hands"),
}


def found(keys: dict[str, tuple[str, str]], styles: list[str] | None = None) -> dict[tuple[str, str], Triplet]:
    concepts, bases = zip(*keys.values(), strict=True)
    given = labelled_triplets(list(keys), concepts, bases, [PEOPLE] * len(keys), styles or ["noto"] * len(keys))
    assert len({(t.source, t.target) for t in given}) == len(given)
    return {(t.source, t.target): t for t in given}


def test_two_people_that_differ_in_one_attribute_are_a_triplet() -> None:
    triplets = found(CONCEPTS)
    assert triplets["cook-woman-dark", "cook-woman-light"] == Triplet(
        "cook-woman-dark", "cook-woman-light", ("light skin tone",), ("dark skin tone",), "tone"
    )
    assert triplets["cook-woman", "cook-woman-dark"].removed == ()  # yellow has no name
    assert ("cook-woman-dark", "cook-woman") not in triplets
    assert triplets["cook-man-dark", "cook-woman-dark"].added == ("woman",)
    assert triplets["cook-dark", "cook-man-dark"] == Triplet("cook-dark", "cook-man-dark", ("man",), (), "gender")
    assert triplets["pilot-woman-dark", "cook-woman-dark"].removed == ("pilot",)
    assert ("elf-woman-dark", "cook-woman-dark") not in triplets  # no profession
    assert not {"hair", "two", "couple"} & {key for pair in triplets for key in pair}


def test_people_of_two_styles_are_none_and_neither_are_things() -> None:
    two = {key: CONCEPTS[key] for key in ("cook-woman-dark", "cook-woman-light")}
    assert found(two)
    assert not found(two, ["noto", "twemoji"])
    concepts, bases = zip(*two.values(), strict=True)
    assert not labelled_triplets(list(two), concepts, bases, ["objects"] * 2, ["noto"] * 2)


ROWS = [
    {"source": "a", "target": "b", "added": "longer", "removed": None, "group": "dress"},
    {"source": "a", "target": "c", "added": "red", "removed": "blue", "group": None},
]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_file_of_triplets(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"triplets.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert read_triplets(str(file)) == [
        Triplet("a", "b", ("longer",), (), "dress"),
        Triplet("a", "c", ("red",), ("blue",), ""),
    ]


def test_lists_of_texts(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"source": [1], "target": [2], "added": [["is red", " ", "is long"]]}), tmp_path / "t.parquet"
    )
    assert read_triplets(str(tmp_path / "t.parquet")) == [Triplet("1", "2", ("is red", "is long"))]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"source": "a", "target": "b"}], "no column 'added'; it has source, target"),
        ([{**ROWS[0]}, {**ROWS[0], "added": " "}], "row 1: added must be a text"),
        ([{**ROWS[0], "target": None}, ROWS[1]], "row 0: target must be the key"),
        ([{**ROWS[0], "added": 3}], "row 0: added must be a text"),
    ],
)
def test_what_is_no_triplet_is_named(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    file = tmp_path / "triplets.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=message):
        read_triplets(str(file))


@pytest.mark.parametrize("content", [b"", b"{", b"PAR1"])
def test_what_is_no_file_of_triplets_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("t.jsonl", "t.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="triplets"):
            read_triplets(str(tmp_path / name))
    with pytest.raises(InputError, match="does not exist"):
        read_triplets(str(tmp_path / "gone.jsonl"))
