import os
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.formats.folder import FolderPairs
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import RawPairs


def write(folder: Path, **files: bytes) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def everything(source: FolderPairs, rows_per_unit: int = 100) -> RawPairs:
    return RawPairs.joined([batch for unit in source.units(rows_per_unit) for batch in source.read(unit, 2)])


def reasons(pairs: RawPairs) -> list[Reason | None]:
    return [rejection and rejection.reason for rejection in pairs.rejections]


def test_folders_are_files_and_every_image_is_a_pair(tmp_path: Path) -> None:
    write(tmp_path, b_jpg=b"ib", b_txt=b"tb", a_PNG=b"ia", a_TXT=b"ta", c_webp=b"ic", c_caption=b"tc")
    write(tmp_path, x__y__d_jpeg=b"id", x__y__d_txt=b"td", lonely_txt=b"no image", README_md=b"r")
    source = FolderPairs(str(tmp_path))
    assert source.files == [".", "x/y"]
    assert [(u.file, u.start, u.stop) for u in source.units(2)] == [(".", 0, 2), (".", 2, 3), ("x/y", 0, 1)]
    pairs = everything(source, 2)
    assert pairs.keys == [b"a.PNG", b"b.jpg", b"c.webp", b"x/y/d.jpeg"]
    assert pairs.images == [b"ia", b"ib", b"ic", b"id"]
    assert pairs.captions == [b"ta", b"tb", b"tc", b"td"]
    assert pairs.passed_through["path"].to_pylist() == ["a.PNG", "b.jpg", "c.webp", "x/y/d.jpeg"]


def test_an_image_without_a_caption_is_a_pair_without_one(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"ia", a_txt=b"ta", b_jpg=b"ib", c_jpg=b"", c_txt=b"")
    pairs = everything(FolderPairs(str(tmp_path)))
    assert (pairs.images, pairs.captions, reasons(pairs)) == ([b"ia", b"ib", b""], [b"ta", None, b""], [None] * 3)


def test_two_images_may_share_a_caption(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"ij", a_png=b"ip", a_txt=b"t")
    assert everything(FolderPairs(str(tmp_path))).captions == [b"t", b"t"]


def test_hidden_files_are_none(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"i", a_txt=b"t")
    for name in ("._a.jpg", ".thumbs/b.jpg", ".thumbs/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "_DSC0001.jpg").write_bytes(b"a camera's name")
    source = FolderPairs(str(tmp_path))
    assert source.files == ["."]
    assert everything(source).keys == [b"_DSC0001.jpg", b"a.jpg"]


def test_links_that_leave_the_folder_get_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(tmp_path, secret=b"secret")
    write(folder, a_jpg=b"i", a_txt=b"t", b_jpg=b"i", c_txt=b"t", d_txt=b"t")
    os.symlink("../secret", folder / "b.txt")
    os.symlink("../secret", folder / "c.jpg")
    os.symlink("..", folder / "up")
    os.symlink("a.jpg", folder / "d.jpg")
    pairs = everything(FolderPairs(str(folder)))
    assert pairs.keys == [b"a.jpg", b"b.jpg", b"c.jpg", b"d.jpg"]
    assert pairs.images == [b"i", b"i", None, b"i"]
    assert pairs.captions == [b"t", None, b"t", b"t"]
    assert reasons(pairs) == [None, Reason.UNSAFE_PATH, Reason.UNSAFE_PATH, None]


def test_a_caption_that_is_too_long_to_be_one_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"i", a_txt=bytes(2**16 + 1), b_jpg=b"i", b_txt=b"t")
    pairs = everything(FolderPairs(str(tmp_path)))
    assert pairs.captions == [None, b"t"]
    assert reasons(pairs) == [Reason.CAPTION_TOO_LONG, None]


def test_names_that_are_not_utf8_are_keys_that_are_not(tmp_path: Path) -> None:
    for suffix in (b".jpg", b".txt"):
        with open(os.fsencode(tmp_path) + b"/caf\xe9" + suffix, "wb") as file:
            file.write(b"x")
    pairs = everything(FolderPairs(str(tmp_path)))
    assert (pairs.keys, pairs.images, pairs.captions) == ([b"caf\xe9.jpg"], [b"x"], [b"x"])
    os.mkdir(os.fsencode(tmp_path) + b"/d\xe9p\xf4t")
    os.link(os.fsencode(tmp_path) + b"/caf\xe9.jpg", os.fsencode(tmp_path) + b"/d\xe9p\xf4t/a.jpg")
    with pytest.raises(InputError, match="not UTF-8; rename it"):
        FolderPairs(str(tmp_path))


def test_a_folder_that_changes_while_it_is_read_is_an_error_of_its_unit(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"i", a_txt=b"t", b_jpg=b"i")
    source = FolderPairs(str(tmp_path))
    (unit,) = source.units(9)
    (tmp_path / "b.jpg").unlink()
    with pytest.raises(OSError, match="had 2 pairs when the source was opened and has 1 now"):
        list(source.read(unit, 9))


def test_a_folder_without_captions_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"i", b_txt=b"t")
    with pytest.raises(
        InputError, match=r"holds 1 images .* none with a caption beside it; expected a\.txt for a\.jpg"
    ):
        FolderPairs(str(tmp_path))
