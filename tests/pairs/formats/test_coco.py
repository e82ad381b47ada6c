import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from isoenergy.errors import InputError
from isoenergy.pairs import image_files
from isoenergy.pairs.formats.coco import CocoPairs
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import RawPairs
from isoenergy.pairs.splits import split_of, split_of_pair

IMAGES = [{"id": 10, "file_name": "a.jpg"}, {"id": 20, "file_name": "b.jpg"}]


def opened(folder: Path, annotations: list, images: list | None = None, where: str = "images") -> CocoPairs:
    (folder / "images").mkdir(exist_ok=True)
    for name in "ab":
        (folder / "images" / f"{name}.jpg").write_bytes(f"image {name}".encode())
    content = {"info": {}, "images": IMAGES if images is None else images, "annotations": annotations}
    (folder / "captions.json").write_text(json.dumps(content))
    return CocoPairs(str(folder / "captions.json"), str(folder / where))


def everything(source: CocoPairs) -> RawPairs:
    return RawPairs.joined([batch for unit in source.units(2) for batch in source.read(unit, 2)])


def caption(number: Any, image: Any, text: Any = "c") -> dict:
    return {"id": number, "image_id": image, "caption": text}


def test_each_caption_is_its_own_pair(tmp_path: Path) -> None:
    source = opened(tmp_path, [caption(3, 20, "x"), caption(1, 10, "y"), caption(2, 20, "z")])
    pairs = everything(source)
    assert pairs.keys == source.keys("captions.json").to_pylist() == [b"20#3", b"10#1", b"20#2"]
    assert pairs.images == [b"image b", b"image a", b"image b"]
    assert pairs.captions == [b"x", b"y", b"z"]
    assert pairs.passed_through.to_pylist()[0] == {"image_id": 20, "file_name": "b.jpg"}


def test_ids_that_come_twice_or_are_no_ids(tmp_path: Path) -> None:
    ids = [1, 1, "one", None, 1.5, 10**30, [1], True]
    source = opened(tmp_path, [caption(number, 10) for number in ids])
    assert source.keys_may_repeat
    long = b"10#1" + b"0" * 30
    assert everything(source).keys == [b"10#1", b"10#1", b"one", None, None, long, None, None]


def test_all_captions_of_an_image_are_in_its_split(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": "a.jpg"} for number in (*range(40), "a", "b")]
    annotations = [caption(number, images[number % 42]["id"]) for number in range(210)]
    keys = [key.decode() for key in everything(opened(tmp_path, annotations, images)).keys if key]
    assert len(set(keys)) == 210
    splits = {(image["id"], split_of_pair(key)) for image, key in zip(images * 5, keys, strict=True)}
    assert splits == {(image["id"], split_of(str(image["id"]))) for image in images}


@pytest.mark.parametrize("image", [99, None, "10", 10.5, [10], {}, 2**70, True])
def test_a_caption_of_an_unknown_image_is_a_pair_without_one(tmp_path: Path, image: Any) -> None:
    pairs = everything(opened(tmp_path, [caption(1, 10), caption(2, image)]))
    assert pairs.images == [b"image a", None]
    assert [rejection and rejection.reason for rejection in pairs.rejections] == [None, Reason.MISSING_IMAGE]


def test_an_image_that_is_gone_and_one_that_is_outside(tmp_path: Path) -> None:
    names = {1: "gone.jpg", 2: "../captions.json", 4: 7, "s": "a.jpg"}
    images = [{"id": n, "file_name": name} for n, name in names.items()]
    images += [{"id": 3}, 7, {"id": [5], "file_name": "a.jpg"}]
    source = opened(tmp_path, [caption(n, n) for n in (1, 2, 3, 4, "s")], images)
    pairs = everything(source)
    assert pairs.images == [None, None, None, None, b"image a"]
    assert [rejection and rejection.reason for rejection in pairs.rejections] == [
        Reason.MISSING_IMAGE, Reason.UNSAFE_PATH, Reason.MISSING_IMAGE, Reason.MISSING_IMAGE, None
    ]  # fmt: skip
    assert pairs.passed_through["image_id"].to_pylist() == [1, 2, 3, 4, None]


def test_captions_that_are_no_text(tmp_path: Path) -> None:
    pairs = everything(opened(tmp_path, [caption(n, 10, text) for n, text in enumerate((None, 7, ["x"], "c"))] + [7]))
    assert pairs.captions == [None, None, None, b"c", None]
    assert pairs.keys[-1] is None


def test_half_of_a_surrogate_pair_costs_its_own_pair(tmp_path: Path) -> None:
    images = [{"id": 10, "file_name": "\ud800.jpg"}, {"id": 20, "file_name": "b.jpg"}]
    pairs = everything(opened(tmp_path, [caption("\udcff", 10, "\ud800"), caption(2, 20)], images))
    assert pairs.images == [None, b"image b"]
    assert pairs.captions[0] == b"\xed\xa0\x80"
    assert pairs.passed_through["file_name"].to_pylist() == ["?.jpg", "b.jpg"]


@pytest.mark.parametrize("front", ["", "train2017/", "coco/images/train2017/"])
def test_a_zip_may_have_folders_in_front(tmp_path: Path, front: str) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr(f"{front}a.jpg", b"zipped a")
        archive.writestr(f"{front}b.jpg", b"zipped b" * 1000, zipfile.ZIP_DEFLATED)
    source = opened(tmp_path, [caption(1, 10), caption(2, 20)], where="train.zip")
    assert everything(source).images == [b"zipped a", b"zipped b" * 1000]


def test_a_zip_in_which_a_name_comes_twice_gives_neither(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for folder in ("train", "val"):
            archive.writestr(f"{folder}/a.jpg", folder)
        archive.writestr("val/b.jpg", b"zipped b")
    images = [*IMAGES, {"id": 30, "file_name": "val/a.jpg"}, {"id": 40, "file_name": "test/b.jpg"}]
    source = opened(tmp_path, [caption(n, n) for n in (10, 20, 30, 40)], images, "all.zip")
    assert everything(source).images == [None, b"zipped b", b"val", None]


def test_a_spoilt_member_of_a_zip_costs_its_own_pairs(tmp_path: Path) -> None:
    path = tmp_path / "train.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(range(256)) * 100)
        archive.writestr("b.jpg", b"zipped b")
        archive.writestr("c.jpg", b"c", zipfile.ZIP_BZIP2)
    spoilt = bytearray(path.read_bytes())
    spoilt[60:100] = bytes(40)
    path.write_bytes(spoilt)
    images = [*IMAGES, {"id": 30, "file_name": "c.jpg"}]
    pairs = everything(opened(tmp_path, [caption(n, n) for n in (10, 20, 30)], images, "train.zip"))
    assert pairs.images == [None, b"zipped b", None]
    assert [rejection and rejection.reason for rejection in pairs.rejections] == [
        Reason.UNREADABLE_IMAGE, None, Reason.UNREADABLE_IMAGE
    ]  # fmt: skip


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.jpg", bytes(80 * 2**20))
    lying = (tmp_path / "bomb.zip").read_bytes().replace((80 * 2**20).to_bytes(4, "little"), b"\x10\0\0\0")
    (tmp_path / "lying.zip").write_bytes(lying)
    pairs = everything(opened(tmp_path, [caption(1, 10)], where="bomb.zip"))
    assert pairs.rejections[0].reason == Reason.IMAGE_TOO_LARGE
    pairs = everything(opened(tmp_path, [caption(1, 10)], where="lying.zip"))
    assert pairs.rejections[0] or len(pairs.images[0]) <= 16


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"images": [], "annotations": 7}',
        '{"images": 7, "annotations": []}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_what_is_not_coco_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "captions.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="not a COCO captions file"):
        CocoPairs(str(tmp_path / "captions.json"), str(tmp_path))


def test_bad_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say where they lie with --images"):
        CocoPairs(str(opened(tmp_path, [caption(1, 10)]).uri), "")
    with pytest.raises(InputError, match="nowhere is no folder and no zip"):
        opened(tmp_path, [caption(1, 10)], where="nowhere")
    for empty in ([], [{"id": 1, "image_id": 10, "category_id": 3}]):
        with pytest.raises(InputError, match="none of its annotations has a caption"):
            opened(tmp_path, empty)
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("a.jpg", b"a")
    good = (tmp_path / "good.zip").read_bytes()
    of_the_future = good.replace(b"PK\1\2" + good[good.index(b"PK\1\2") + 4 :][:4], b"PK\1\2\x14\3\xff\0")
    for spoilt in (b"", b"junk", good[:-30], of_the_future):
        (tmp_path / "junk.zip").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"junk\.zip is not a readable zip"):
            opened(tmp_path, [caption(1, 10)], where="junk.zip")


@pytest.mark.parametrize("where", ["images", "images.zip"])
def test_images_that_are_all_gone_are_an_error_and_not_missing_one_by_one(tmp_path: Path, where: str) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("a.jpg", b"a")
    source = opened(tmp_path, [caption(1, 10)], where=where)
    (tmp_path / where).rename(tmp_path / "elsewhere")
    image_files._open_zip.cache_clear()
    with pytest.raises(OSError, match="images"):
        everything(source)
