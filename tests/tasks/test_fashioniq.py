import json
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.tasks.fashioniq import read_fashioniq
from isoenergy.tasks.triplets import Triplet
from tests.tasks.data_sets import TEXTS, write, write_fashioniq


def test_every_category_is_a_gallery_and_has_its_triplets(tmp_path: Path) -> None:
    found = read_fashioniq(str(write_fashioniq(tmp_path)))
    assert found.files[:2] == ("Bdred.png", "Bdgreen.png")
    assert found.keys[3:5] == ("dress/Bdwhite", "shirt/Bsred")
    assert len(found.triplets) == 24
    assert found.triplets[0] == Triplet(
        "dress/Bdred", "dress/Bdgreen", (TEXTS["green"], 2 * TEXTS["green"]), (), "dress"
    )
    assert found.unknown == ()


def test_an_unknown_asin_is_named_and_its_triplet_left_out(tmp_path: Path) -> None:
    other = {"candidate": "Bdred", "target": "B000000000", "captions": ["is longer"]}
    found = read_fashioniq(str(write_fashioniq(tmp_path, [other])))
    assert found.unknown == ("dress/B000000000",)
    assert len(found.triplets) == 24


def test_an_image_that_is_not_there_is_found_missing_when_it_is_embedded(tmp_path: Path) -> None:
    folder = write_fashioniq(tmp_path)
    before = read_fashioniq(str(folder)).digest
    (folder / "images/Bdred.png").rename(folder / "images/Bdred.jpg")
    assert read_fashioniq(str(folder)).files[0] == "Bdred.jpg"
    (folder / "images/Bdred.jpg").unlink()
    assert read_fashioniq(str(folder)).files[0] == "Bdred.png"
    assert read_fashioniq(str(folder)).digest != before


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"candidate": "Bdred", "captions": ["x"]}, "entry 12 must have candidate, target and captions"),
        ({"candidate": "Bdred", "target": "Bdblue", "captions": [" "]}, "entry 12 must have"),
        (7, "entry 12 must have"),
    ],
)
def test_an_entry_without_what_it_needs_is_named(tmp_path: Path, entry: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_fashioniq(str(write_fashioniq(tmp_path, [entry])))


def test_what_is_not_fashioniq_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no folder images/"):
        read_fashioniq(str(tmp_path))
    folder = write_fashioniq(tmp_path)
    with pytest.raises(InputError, match=r"no captions/cap.\*.train.json"):
        read_fashioniq(str(folder), "train")
    write(folder / "image_splits/split.dress.val.json", json.dumps([1]))
    with pytest.raises(InputError, match="must be a list of asins, got 1"):
        read_fashioniq(str(folder))
    write(folder / "image_splits/split.dress.val.json", "{")
    with pytest.raises(InputError, match="not a file of FashionIQ"):
        read_fashioniq(str(folder))
