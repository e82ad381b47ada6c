import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.formats.folder import FolderPairs
from isoenergy.pairs.opening import recognised
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import PairColumns, RawPairs
from tests.pairs.made_up_pairs import encoded_image


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


def test_a_listed_name_is_what_it_is(tmp_path: Path) -> None:
    stems = ["12:30", "C:x", "a\\b", "\\c", "x::y", "C:/d", " e ", "~f"]
    for stem in stems:
        (tmp_path / stem).parent.mkdir(exist_ok=True)
        (tmp_path / f"{stem}.jpg").write_bytes(stem.encode())
        (tmp_path / f"{stem}.txt").write_text(f"caption of {stem}")
    pairs = everything(FolderPairs(str(tmp_path)))
    assert reasons(pairs) == [None] * len(stems)
    assert {(i, c) for i, c in zip(pairs.images, pairs.captions, strict=True)} == {
        (stem.encode(), f"caption of {stem}".encode()) for stem in stems
    }


def test_a_caption_that_is_gone_is_missed_as_one(tmp_path: Path) -> None:
    write(tmp_path, a_jpg=b"ia", a_txt=b"ta", b_jpg=b"ib", c_jpg=b"ic")
    os.symlink("gone", tmp_path / "b.txt")
    os.mkfifo(tmp_path / "c.txt")
    assert reasons(everything(FolderPairs(str(tmp_path)))) == [None, *[Reason.MISSING_CAPTION] * 2]


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


def test_links_that_lie_in_the_folder_are_followed_and_loops_noticed(tmp_path: Path) -> None:
    folder, blobs = tmp_path / "snapshot", tmp_path / "blobs"
    write(blobs, i=b"image", t=b"text")
    write(tmp_path, elsewhere__x_jpg=b"x", elsewhere__x_txt=b"tx")
    write(folder, a_jpg=b"i", a_txt=b"t", d_txt=b"td")
    os.symlink("../blobs/i", folder / "b.jpg")
    os.symlink("../blobs/t", folder / "b.txt")
    os.symlink("gone", folder / "d.jpg")
    os.symlink("../elsewhere", folder / "linked")
    os.symlink("..", folder / "up")
    os.symlink("round.jpg", folder / "round.jpg")
    pairs = everything(FolderPairs(str(folder)))
    assert dict(zip(pairs.keys, zip(pairs.images, pairs.captions, strict=True), strict=True)) == {
        b"a.jpg": (b"i", b"t"), b"b.jpg": (b"image", b"text"), b"d.jpg": (None, b"td"), b"round.jpg": (None, None),
        b"linked/x.jpg": (b"x", b"tx"),
    }  # fmt: skip
    assert sorted(filter(None, reasons(pairs))) == [Reason.MISSING_IMAGE] * 2


def test_a_folder_is_read_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    names = [f"d{number}" for number in range(30)]
    for name in names:
        write(tmp_path, **{f"{name}__i_jpg": name.encode(), f"{name}__i_txt": b"t"})
        for other in set(names) - {name}:
            os.symlink(f"../{other}", tmp_path / name / f"a-{other}")
    os.symlink("d1", tmp_path / "a-first")
    assert everything(FolderPairs(str(tmp_path))).keys == [f"{name}/i.jpg".encode() for name in sorted(names)]
    assert len(everything(FolderPairs(str(tmp_path / "d1"))).keys) == 30


def test_a_folder_that_may_not_be_listed_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, n__a_jpg=b"i", n__a_txt=b"t", n__s__b_jpg=b"i", n__s__b_txt=b"t")
    for name in (".hidden", "_hidden"):
        (tmp_path / name).mkdir()
    whole = os.scandir

    def forbidding(path: str) -> Iterator[os.DirEntry[str]]:
        if path.rstrip("/").endswith(("n/s", "hidden")):  # root, who runs tests, may list everything
            raise PermissionError(13, "Permission denied", path)
        return whole(path)

    monkeypatch.setattr(os, "scandir", forbidding)
    with pytest.raises(InputError, match=r"n/s/ cannot be listed \(Permission denied\)"):
        FolderPairs(str(tmp_path))
    (tmp_path / "n" / "s").rename(tmp_path / "n" / "_s")
    assert everything(FolderPairs(str(tmp_path))).keys == [b"n/a.jpg"]


def test_a_file_that_may_not_be_read_costs_its_own_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a_jpg=b"i", a_txt=b"t", b_jpg=b"j", b_txt=b"u")
    whole = LocalFileSystem.cat_file

    def forbidding(self: LocalFileSystem, path: str, *arguments: int) -> bytes:
        if path.endswith("a.jpg"):  # root, who runs tests, may read everything
            raise PermissionError(13, "Permission denied")
        return whole(self, path, *arguments)

    monkeypatch.setattr(LocalFileSystem, "cat_file", forbidding)
    assert reasons(everything(FolderPairs(str(tmp_path)))) == [Reason.UNREADABLE_FILE, None]


@pytest.mark.parametrize(
    ("image", "caption"),
    [
        ("a.avif", "a.txt"), ("a.jfif", "a.caption"), ("a.image", "a.text"), ("a.img", "a.txt"), ("a.dat", "a.txt"),
        ("a", "a.txt"), ("a.1.2.jpg", "a.1.2.txt"), ("a.jpg", "a.jpg.txt"), ("a.image.jpg", "a.caption.txt"),
    ],
)  # fmt: skip
def test_an_image_is_told_by_its_first_bytes_and_paired_by_its_stem(tmp_path: Path, image: str, caption: str) -> None:
    content = encoded_image("AVIF")
    (tmp_path / image).write_bytes(content)
    (tmp_path / caption).write_bytes(b"t")
    (tmp_path / "b.npy").write_bytes(b"no image")
    (tmp_path / "b.txt").write_bytes(b"t")
    assert recognised(str(tmp_path), PairColumns()) == "folder"
    pairs = everything(FolderPairs(str(tmp_path)))
    assert (pairs.keys, pairs.images, pairs.captions) == ([image.encode()], [content], [b"t"])


def test_several_folders_are_one_source(tmp_path: Path) -> None:
    write(tmp_path, x__a_jpg=b"xa", x__a_txt=b"t", y__a_jpg=b"ya", y__a_txt=b"t", z1__a_jpg=b"za", z1__a_txt=b"t")
    for uri in (f"{tmp_path}/x::{tmp_path}/y", f"{tmp_path}/{{x,y}}", f"{tmp_path}/?"):
        assert everything(FolderPairs(uri)).keys == [b"x/a.jpg", b"y/a.jpg"]
    assert everything(FolderPairs(f"{tmp_path}/x/*")).keys == [b"a.jpg"]


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
