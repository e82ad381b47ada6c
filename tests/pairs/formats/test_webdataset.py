import gzip
import io
import json
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.bounds import MAX_IMAGE_BYTES
from isoenergy.pairs.formats.samples import grouped
from isoenergy.pairs.formats.tar import Member
from isoenergy.pairs.formats.webdataset import WebDatasetPairs
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import RawPairs
from tests.pairs.download.faulty import Faulty
from tests.pairs.formats.tars import Members, tar_of
from tests.pairs.made_up_pairs import encoded_image

MEMBER_BYTES = {"jpg": 3000, "txt": 40, "json": 300}


def read(folder: Path, content: bytes, name: str = "a.tar") -> RawPairs:
    (folder / name).write_bytes(content)
    source = WebDatasetPairs(str(folder / name))
    (unit,) = source.units(1)
    return RawPairs.joined(list(source.read(unit, 100)))


def reasons(pairs: RawPairs) -> list[Reason | None]:
    return [rejection and rejection.reason for rejection in pairs.rejections]


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo()
    member.type, member.linkname = kind, target
    return member


def test_members_of_a_key_are_a_pair_in_whatever_order_they_stand(tmp_path: Path) -> None:
    described = json.dumps({"caption": "not this", "width": 3}).encode()
    pairs = read(tmp_path, tar_of([
        ("0.jpg", b"i0"), ("0.txt", b"t0"), ("0.json", described),
        ("1.json", described), ("1.txt", b"t1"), ("1.JPG", b"i1"),
        ("2.cls", b"9"), ("2.Txt", b"t2"), ("2.seg.png", b"mask"), ("2.webp", b"i2"), ("2.npy", b"x"),
    ]))  # fmt: skip
    assert pairs.keys == [b"a.tar/0", b"a.tar/1", b"a.tar/2"]
    assert pairs.images == [b"i0", b"i1", b"i2"]
    assert pairs.captions == [b"t0", b"t1", b"t2"]
    assert pairs.passed_through.to_pylist() == [
        {"json": described.decode()},
        {"json": described.decode()},
        {"json": None},
    ]


@pytest.mark.parametrize(
    ("described", "caption"),
    [
        ('{"caption": "c"}', b"c"), ('{"TEXT": "c"}', b"c"), ('{"caption": null}', None), ('{"caption": 7}', None),
        ("{}", None), ("[1]", None), ("7", None), ("{", None), ("[" * 100_000, None),
        ('{"caption": "\\ud800"}', b"\xed\xa0\x80"),
    ],
)  # fmt: skip
def test_without_a_text_the_caption_is_the_json_s(tmp_path: Path, described: str, caption: bytes | None) -> None:
    pairs = read(tmp_path, tar_of([("0.jpg", b"i"), ("0.json", described.encode())]))
    assert pairs.captions == [caption]
    assert pairs.passed_through["json"].to_pylist() == [described]


def test_each_caption_of_a_json_is_a_pair(tmp_path: Path) -> None:
    described = b'{"captions": ["x", {"raw": "y"}]}'
    pairs = read(tmp_path, tar_of([("0.jpg", b"i"), ("0.json", described), ("1.jpg", b"j"), ("1.txt", b"t")]))
    assert pairs.keys == [b"a.tar/0#0", b"a.tar/0#1", b"a.tar/1"]
    assert (pairs.rows, pairs.images, pairs.captions) == ([0, 1, 2], [b"i", b"i", b"j"], [b"x", b"y", b"t"])


def test_json_that_is_not_utf8_passes_through_as_text(tmp_path: Path) -> None:
    pairs = read(tmp_path, tar_of([("0.jpg", b"i"), ("0.json", b'{"a": "\xff"}')]))
    assert pairs.passed_through["json"].to_pylist() == ['{"a": "\ufffd"}']


def test_folders_are_part_of_a_key_and_what_has_no_key_is_passed_over(tmp_path: Path) -> None:
    pairs = read(tmp_path, tar_of([
        ("./x.y/0.jpg", b"i"), ("./x.y/._0.txt", b"a Mac's"), ("./x.y/0.txt", b"t"), (".hidden", b"h"),
        ("README", b"r"), ("x.y/dir.jpg", special(tarfile.DIRTYPE)),
    ]))  # fmt: skip
    assert (pairs.keys, pairs.images, pairs.captions) == ([b"a.tar/x.y/0"], [b"i"], [b"t"])


def test_only_the_suffix_from_the_first_dot_counts(tmp_path: Path) -> None:
    pairs = read(tmp_path, tar_of([("a.cls.txt", b"9"), ("a.jpg.json", b"{}"), ("a.jpg", b"i"), ("a.txt", b"t")]))
    assert (pairs.keys, pairs.images, pairs.captions) == ([b"a.tar/a"], [b"i"], [b"t"])
    assert pairs.passed_through["json"].to_pylist() == [None]


def test_links_and_devices_have_no_content(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_bytes(b"secret")
    pairs = read(tmp_path, tar_of([
        ("0.jpg", special(tarfile.SYMTYPE, str(tmp_path / "secret.txt"))), ("0.txt", b"t0"),
        ("1.jpg", b"i1"), ("1.txt", special(tarfile.LNKTYPE, "0.txt")),
        ("2.jpg", special(tarfile.CHRTYPE)), ("2.txt", b"t2"),
        ("3.jpg", special(tarfile.FIFOTYPE)), ("3.txt", b"t3"),
    ]))  # fmt: skip
    assert pairs.images == [None, b"i1", None, None]
    assert pairs.captions == [b"t0", b"t0", b"t2", b"t3"]
    assert reasons(pairs)[0] == Reason.MISSING_IMAGE
    assert "which does not stand shortly before it in the tar" in pairs.rejections[0].detail


def test_a_sample_without_an_image_or_a_caption_is_still_a_pair(tmp_path: Path) -> None:
    pairs = read(tmp_path, tar_of([("0.jpg", b"i0"), ("1.txt", b"t1"), ("2.cls", b"3")]))
    assert (pairs.images, pairs.captions, reasons(pairs)) == ([b"i0", None, None], [None, b"t1", None], [None] * 3)


def test_a_key_that_comes_again_is_a_pair_of_its_own_and_rejected(tmp_path: Path) -> None:
    first, second = [("0.jpg", b"i"), ("0.txt", b"t")], [("1.jpg", b"j"), ("1.txt", b"u")]
    pairs = read(tmp_path, tar_of([*first, *first, *second, *first]))
    assert pairs.keys == [b"a.tar/0", b"a.tar/0", b"a.tar/1", b"a.tar/0"]
    assert reasons(pairs) == [None, Reason.DUPLICATE_KEY, None, Reason.DUPLICATE_KEY]


@pytest.mark.parametrize("order", ["suffix", "reversed", "shuffled", "notes last"])
def test_members_need_not_be_adjacent(tmp_path: Path, order: str) -> None:
    members: Members = [(f"{n}.{kind}", f"{kind} {n}".encode()) for kind in ("jpg", "txt", "json") for n in range(20)]
    if order == "reversed":
        members.reverse()
    elif order == "shuffled":
        random.Random(0).shuffle(members)
    elif order == "notes last":
        members = [m for n in range(20) for m in members[n:40:20]] + members[40:]
    pairs = read(tmp_path, tar_of(members))
    assert sorted(pairs.keys) == sorted(f"a.tar/{n}".encode() for n in range(20))
    assert [image.removeprefix(b"jpg") for image in pairs.images] == [text[3:] for text in pairs.captions]
    assert reasons(pairs) == [None] * 20
    assert sorted(pairs.passed_through["json"].to_pylist()) == sorted(f"json {n}" for n in range(20))


@pytest.mark.parametrize("in_window", [True, False])
def test_notes_behind_all_pairs_are_theirs_or_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_window: bool
) -> None:
    monkeypatch.setattr("isoenergy.pairs.formats.samples.WINDOW_SAMPLES", 20 if in_window else 3)
    members: Members = [(f"{n}.{kind}", kind.encode()) for n in range(8) for kind in ("jpg", "txt")]
    pairs = read(tmp_path, tar_of([*members, *((f"{n}.json", b'{"caption": "c"}') for n in range(8))]))
    good = [key for key, why in zip(pairs.keys, pairs.rejections, strict=True) if why is None]
    assert good == [f"a.tar/{n}".encode() for n in range(8)]
    assert pairs.captions[:8] == [b"txt"] * 8
    if in_window:
        assert pairs.passed_through["json"].to_pylist() == ['{"caption": "c"}'] * 8
    else:
        assert (pairs.keys[8:], reasons(pairs)[8:]) == ([b"a.tar/late-notes"], [Reason.NOT_ADJACENT])
        lost = pairs.passed_through["json"].to_pylist()[:8].count(None)
        assert f"{lost} .json members come when their pairs have been read" in pairs.rejections[8].detail


@pytest.mark.parametrize(
    "names",
    ["1.json 1.jpg 0.txt 1.txt 0.jpg", "0.jpg 0.json 1.jpg 1.json 0.txt 1.txt", "0.json 0.jpg 1.jpg 1.txt 0.txt"],
)
def test_the_text_is_the_caption_from_the_beginning_of_an_unsorted_tar(tmp_path: Path, names: str) -> None:
    content = {"json": b'{"caption": "from json"}', "txt": b"from txt", "jpg": b"i"}
    pairs = read(tmp_path, tar_of([(name, content[name.split(".")[1]]) for name in names.split()]))
    assert sorted(pairs.keys) == [b"a.tar/0", b"a.tar/1"]
    assert (pairs.captions, reasons(pairs)) == ([b"from txt"] * 2, [None] * 2)


@pytest.mark.parametrize("note", [b'{"caption": "from json"}', b'{"width": 3}'])
def test_notes_far_before_their_pairs_cost_no_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: bytes
) -> None:
    monkeypatch.setattr("isoenergy.pairs.formats.samples.WINDOW_SAMPLES", 3)
    members: Members = [(f"{n}.{kind}", kind.encode()) for n in range(8) for kind in ("jpg", "txt")]
    pairs = read(tmp_path, tar_of([*((f"{n}.json", note) for n in range(8)), *members]))
    good = [key for key, why in zip(pairs.keys, pairs.rejections, strict=True) if why is None]
    assert sorted(good) == [f"a.tar/{n}".encode() for n in range(8)]
    assert [why for why in reasons(pairs) if why] == [Reason.NOT_ADJACENT]
    assert pairs.keys[-1] == b"a.tar/late-notes"


def test_a_note_in_another_coding_passes_through_as_text(tmp_path: Path) -> None:
    note = '{"caption": "süß"}'
    codings = ("utf-8", "utf-8-sig", "utf-16", "utf-32")
    members: Members = [(f"{n}.json", note.encode(coding)) for n, coding in enumerate(codings)]
    pairs = read(tmp_path, tar_of(sorted([*members, *((f"{n}.jpg", b"i") for n in range(4))])))
    assert pairs.captions == ["süß".encode()] * 4
    assert pairs.passed_through["json"].to_pylist() == [note] * 4


@pytest.mark.parametrize("order", ["json jpg txt", "jpg json txt", "txt jpg json", "jpg txt json"])
def test_in_an_unsorted_tar_the_text_is_the_caption_and_the_note_passes_through(tmp_path: Path, order: str) -> None:
    content = {"json": b'{"caption": "from json"}', "txt": b"from txt", "jpg": b"i"}
    members: Members = [(f"{n}.{kind}", content[kind]) for kind in order.split() for n in range(9)]
    pairs = read(tmp_path, tar_of(members))
    assert pairs.keys == [f"a.tar/{n}".encode() for n in range(9)]
    assert pairs.captions == [b"from txt"] * 9
    assert pairs.passed_through["json"].to_pylist() == ['{"caption": "from json"}'] * 9


def test_no_image_and_no_text_of_a_key_that_comes_twice_vanishes(tmp_path: Path) -> None:
    pairs = read(
        tmp_path, tar_of([("0.jpg", b"i"), ("0.txt", b"t"), ("0.txt", b"u"), ("1.jpg", b"i"), ("1.txt", b"t")])
    )
    assert pairs.keys == [b"a.tar/0", b"a.tar/0", b"a.tar/1"]
    assert reasons(pairs) == [None, Reason.DUPLICATE_KEY, None]
    pairs = read(tmp_path, tar_of([("0.jpg", b"i"), ("0.jpg", b"j"), ("0.txt", b"t")]))
    assert (pairs.images, pairs.captions, reasons(pairs)) == ([b"i", b"j"], [None, b"t"], [None, None])


@pytest.mark.parametrize(
    "text", [b"GIF89a was a format of images", b"GIF87a is older\nthan that", b"RIFF and WEBPs again"]
)
def test_a_text_that_begins_as_images_do_is_one(tmp_path: Path, text: bytes) -> None:
    pairs = read(tmp_path, tar_of([("0.jpg", b"i"), ("0.txt", text)]))
    assert (pairs.images, pairs.captions) == ([b"i"], [text])


def test_a_cache_of_the_hugging_face_hub_in_a_tar_is_its_links(tmp_path: Path) -> None:
    image = encoded_image("PNG")
    pairs = read(tmp_path, tar_of([
        ("blobs/aa", image), ("blobs/bb", b"t"), ("blobs/cc", image),
        ("snap/0.jpg", special(tarfile.SYMTYPE, "../blobs/aa")),
        ("snap/0.txt", special(tarfile.SYMTYPE, "../blobs/bb")),
    ]))  # fmt: skip
    assert dict(zip(pairs.keys, zip(pairs.images, pairs.captions, strict=True), strict=True)) == {
        b"a.tar/snap/0": (image, b"t"), b"a.tar/blobs/cc": (image, None)
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["gnu", "posix"])
def test_a_sparse_member_is_told(tmp_path: Path, kind: str) -> None:
    for name in ("0.jpg", "1.jpg"):
        with (tmp_path / name).open("wb") as file:
            for place in range(1, 30):
                file.seek(place * 2**17)
                file.write(b"x")
    (tmp_path / "0.txt").write_bytes(b"t")
    (tmp_path / "1.txt").write_bytes(b"u")
    names = ["0.jpg", "0.txt", "1.jpg", "1.txt"]
    subprocess.run(["tar", "-S", f"--format={kind}", "-cf", "b.tar", *names], cwd=tmp_path, check=True)
    content = (tmp_path / "b.tar").read_bytes()
    assert len(content) < 2**20
    pairs = read(tmp_path, content)
    assert (pairs.keys, pairs.captions) == ([b"a.tar/0", b"a.tar/1"], [b"t", b"u"])
    assert reasons(pairs) == [Reason.MISSING_IMAGE] * 2
    assert "0.jpg is a sparse file" in pairs.rejections[0].detail


def test_members_too_far_apart_are_one_rejection_that_says_how_to_sort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("isoenergy.pairs.formats.samples.WINDOW_SAMPLES", 3)
    order = [*(f"{n}.jpg" for n in range(6)), *(f"{n}.txt" for n in (5, 4, 3, 0, 1))]
    pairs = read(tmp_path, tar_of([(name, name.encode()) for name in order]))
    found = dict(zip(pairs.keys, reasons(pairs), strict=True))
    apart, lacking = Reason.NOT_ADJACENT, Reason.MISSING_CAPTION
    assert found == {f"a.tar/{n}".encode(): why for n, why in enumerate([apart, apart, lacking, None, None, None])}
    assert "tar --sort=name" in next(r.detail for r in pairs.rejections if r and r.reason == apart)


def test_what_waits_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoenergy.pairs.formats.samples.WINDOW_BYTES", 1000)
    pairs = read(tmp_path, tar_of([("0.jpg", bytes(900)), ("1.jpg", bytes(900)), ("0.txt", b"t"), ("1.txt", b"u")]))
    assert reasons(pairs).count(Reason.NOT_ADJACENT) >= 1
    assert len(pairs) == 2


DOTS = [f"Screen 10.{n}.0{n}" for n in range(4)]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([f"{stem}.{kind}" for stem in DOTS for kind in ("jpg", "txt", "json")], DOTS),
        ([f"{stem}.{kind}" for kind in ("jpg", "txt") for stem in DOTS], DOTS),
        ([f"{n}.image.jpg" for n in range(3)] + [f"{n}.caption.txt" for n in range(3)], ["0", "1", "2"]),
        (["0.image.jpg", "0.caption.txt", "1.image.jpg", "1.caption.txt"], ["0", "1"]),
        (["0.jpg", "0.jpg.txt", "1.jpg", "1.jpg.txt"], ["0", "1"]),
        (["v1.2.jpg", "v1.2.txt"], ["v1.2"]),
        (["v1.2.jpg", "v1.2.txt", "x.jpg", "x.txt", "v1.3.jpg", "v1.3.txt"], ["v1.2", "v1.3", "x"]),
        (["a.jpg", "a.txt", "a.b.jpg", "a.b.txt"], ["a", "a.b"]),
        (["0.jpg", "0.txt", "0.mask.png", "1.jpg", "1.txt", "1.mask.png"], ["0", "1"]),
        (["0.mask.png", "0.seg.json", "0.jpg", "0.txt"], ["0"]),
        (["0.mask.png", "0.image.jpg", "0.caption.txt"], ["0"]),
        (["d.x/0.1.jpg", "d.x/0.1.txt", "d.x/0.2.jpg", "d.x/0.2.txt"], ["d.x/0.1", "d.x/0.2"]),
        (["0.left.jpg", "0.right.jpg", "0.txt"], ["0"]),
    ],
)  # fmt: skip
def test_dots_in_names(tmp_path: Path, names: list[str], keys: list[str]) -> None:
    pairs = read(tmp_path, tar_of([(name, name.encode()) for name in names]))
    assert pairs.keys == [f"a.tar/{key}".encode() for key in keys]
    assert reasons(pairs) == [None] * len(keys)
    for key, image, text in zip(keys, pairs.images, pairs.captions, strict=True):
        assert image.decode().startswith(f"{key}.")
        assert text.decode().startswith(f"{key}.")
        assert b"mask" not in image


def test_a_picture_without_a_text_does_not_take_that_of_another(tmp_path: Path) -> None:
    pairs = read(tmp_path, tar_of([("a.1.jpg", b"1"), ("a.2.jpg", b"2"), ("a.2.txt", b"t2")]))
    assert dict(zip(pairs.keys, zip(pairs.images, pairs.captions, strict=True), strict=True)) == {
        b"a.tar/a.1": (b"1", None), b"a.tar/a.2": (b"2", b"t2")
    }  # fmt: skip


@pytest.mark.parametrize("name", ["0.avif", "0.jfif", "0.img", "0.image", "0.jp2", "0.dat", "0", "0.what.ever"])
def test_an_image_is_told_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    image = encoded_image("AVIF")
    pairs = read(tmp_path, tar_of([(name, image), ("0.caption", b"t"), ("1.cls", b"7"), ("LICENSE", b"l")]))
    assert (pairs.keys, pairs.images, pairs.captions) == ([b"a.tar/0", b"a.tar/1"], [image, None], [b"t", None])


@pytest.mark.parametrize(
    "content",
    [
        bytes(1024), gzip.compress(bytes(10240)), tar_of([("README", b"r")]),
        tar_of([("README.md", b"r"), ("._0.txt", b"a Mac's"), ("0.cls", b"1"), ("0.json", b'{"width": 3}')]),
    ],
    ids=["end mark", "gzip", "no pair", "no image and no text"],
)  # fmt: skip
def test_tars_without_a_sample_are_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    (tmp_path / "1.tar").write_bytes(bytes(10240))
    with pytest.raises(InputError, match="holds no pairs: no image and no text in its 2 tars"):
        WebDatasetPairs(str(tmp_path))
    (tmp_path / "1.tar").write_bytes(tar_of([("0.jpg", b"i")]))
    assert len(WebDatasetPairs(str(tmp_path)).units(1)) == 2


@pytest.mark.parametrize(("kind", "text"), [("bin", "txt"), ("jpg_large", "txt"), ("data", "json")])
@pytest.mark.parametrize("is_sorted", [True, False])
def test_images_of_a_suffix_that_says_nothing_have_the_stem_of_their_text(
    tmp_path: Path, kind: str, text: str, is_sorted: bool
) -> None:
    image, note = encoded_image("PNG"), json.dumps({"caption": "t"}).encode()
    members: Members = [(f"Screen 10.{n}.{s}", c) for s, c in ((kind, image), (text, note)) for n in range(100)]
    pairs = read(tmp_path, tar_of(sorted(members) if is_sorted else members))
    assert sorted(pairs.keys) == sorted(f"a.tar/Screen 10.{n}".encode() for n in range(100))
    assert (set(pairs.images), set(reasons(pairs))) == ({image}, {None})
    assert all(pairs.captions)


def test_images_without_a_suffix_keep_their_numbers(tmp_path: Path) -> None:
    names = [f"v1.{n}{suffix}" for n in range(9) for suffix in ("", ".txt")]
    pairs = read(tmp_path, tar_of([(name, b"t" if name.endswith("t") else encoded_image("PNG")) for name in names]))
    assert pairs.keys == [f"a.tar/v1.{n}".encode() for n in range(9)]


def test_members_that_are_not_read_make_no_samples_of_their_own(tmp_path: Path) -> None:
    names = [f"v1.{n:03d}.{kind}" for n in range(100) for kind in ("cls", "jpg", "npy", "txt")]
    pairs = read(tmp_path, tar_of([(name, name.encode()) for name in names]))
    assert pairs.keys == [f"a.tar/v1.{n:03d}".encode() for n in range(100)]
    assert set(reasons(pairs)) == {None}
    assert all(pairs.captions)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_key_that_a_caption_s_number_makes_is_unique(tmp_path: Path, is_first: bool) -> None:
    several: Members = [("a.jpg", b"i"), ("a.json", b'{"caption": ["p", "q"]}')]
    named: Members = [("a#0.jpg", b"j"), ("a#0.txt", b"t")]
    pairs = read(tmp_path, tar_of(several + named if is_first else named + several))
    good = [key for key, why in zip(pairs.keys, reasons(pairs), strict=True) if why is None]
    assert sorted(good) == [b"a.tar/a#0", b"a.tar/a#1"]
    assert reasons(pairs).count(Reason.DUPLICATE_KEY) == 1


def test_a_name_that_is_not_utf8_is_a_key_that_is_not(tmp_path: Path) -> None:
    pairs = read(tmp_path, tar_of([("caf\udce9.jpg", b"i"), ("caf\udce9.txt", b"t")]))
    assert pairs.keys == [b"a.tar/caf\xe9"]


def test_tars_may_number_their_samples_alike(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.tar", "a.tar.gz", "b/a.TAR"):
        (tmp_path / name).write_bytes(tar_of([("0.jpg", b"i"), ("0.txt", b"t")]))
    source = WebDatasetPairs(str(tmp_path))
    keys = [key for unit in source.units(9) for batch in source.read(unit, 9) for key in batch.keys]
    assert keys == [b"a.tar/0", b"a.tar.gz/0", b"b/a.TAR/0"]
    assert not source.keys_may_repeat


def test_what_img2dataset_leaves_beside_its_tars_is_no_tar(tmp_path: Path) -> None:
    for name in ("00000.tar", "00000.parquet", "00000_stats.json", "._00000.tar", "_tmp/0.tar", "00001.tar.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert WebDatasetPairs(str(tmp_path)).files == ["00000.tar"]
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(InputError, match=r"holds no \.tar files"):
        WebDatasetPairs(str(tmp_path))


def test_an_image_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, size in (("0.jpg", MAX_IMAGE_BYTES + 1), ("0.txt", 2), ("1.jpg", 2), ("1.txt", 2**16 + 1)):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(bytes(size)))
    source = WebDatasetPairs(str(tmp_path))
    (pairs,) = source.read(source.units(1)[0], 9)
    assert reasons(pairs) == [Reason.IMAGE_TOO_LARGE, Reason.CAPTION_TOO_LONG]
    assert (pairs.images, pairs.captions) == ([None, bytes(2)], [bytes(2), None])


# --- spoilt tars ---------------------------------------------------------------------------------------------------

FOUR = tar_of([m for n in range(4) for m in ((f"{n}.jpg", b"i" * 600), (f"{n}.txt", b"t"))])
SAMPLE = 512 + 1024 + 512 + 512
CUT = {
    "empty": 0,
    "within a header": SAMPLE + 100,
    "within an image": SAMPLE + 512 + 100,
    "within a caption's padding": 2 * SAMPLE - 5,
    "between samples, without an end mark": 2 * SAMPLE,
    "between members": 2 * SAMPLE + 512 + 1024,
}


@pytest.mark.parametrize("place", CUT)
def test_a_tar_cut_short_keeps_what_is_whole_and_says_so_once(tmp_path: Path, place: str) -> None:
    pairs = read(tmp_path, FOUR[: CUT[place]])
    whole = CUT[place] // SAMPLE + (place == "within a caption's padding")
    good = [key for key, image, text in zip(pairs.keys, pairs.images, pairs.captions, strict=True) if image and text]
    assert good == [f"a.tar/{n}".encode() for n in range(whole)]
    assert reasons(pairs).count(Reason.UNREADABLE_FILE) == 1
    assert len(pairs) == whole + 1 + (place == "between members")
    assert len(set(pairs.keys)) == len(pairs)


def test_a_spoilt_member_costs_its_own_pair_alone(tmp_path: Path) -> None:
    spoilt = FOUR[:SAMPLE] + os.urandom(512) + FOUR[SAMPLE + 512 :]
    pairs = read(tmp_path, spoilt)
    assert pairs.keys == [b"a.tar/unreadable-000000000", b"a.tar/0", b"a.tar/1", b"a.tar/2", b"a.tar/3"]
    assert reasons(pairs) == [Reason.UNREADABLE_FILE, None, None, None, None]
    assert pairs.images == [None, b"i" * 600, None, b"i" * 600, b"i" * 600]
    assert pairs.captions == [None, b"t", b"t", b"t", b"t"]
    source = WebDatasetPairs(str(tmp_path))
    assert source.images("a.tar", [1, 2]) == {1: b"i" * 600, 2: None}


def test_a_pair_whose_caption_lies_behind_a_spoilt_place_is_kept(tmp_path: Path) -> None:
    spoilt = FOUR[: SAMPLE + 512 + 1024] + b"?" * 512 + FOUR[SAMPLE + 512 + 1024 :]
    pairs = read(tmp_path, spoilt)
    assert len(pairs) == 5
    assert pairs.images.count(b"i" * 600) == pairs.captions.count(b"t") == 4


def test_a_gzipped_tar_cut_short_keeps_what_is_whole(tmp_path: Path) -> None:
    plain = tar_of([m for n in range(4) for m in ((f"{n}.jpg", os.urandom(30_000)), (f"{n}.txt", b"t"))])
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as zipped, tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for member in tar:
            zipped.addfile(member, tar.extractfile(member))
    assert len(read(tmp_path, sink.getvalue(), "a.tgz")) == 4
    pairs = read(tmp_path, sink.getvalue()[:-20_000], "a.tar.gz")
    assert sum(1 for image, text in zip(pairs.images, pairs.captions, strict=True) if image and text) == 3
    assert reasons(pairs).count(Reason.UNREADABLE_FILE) == 1


def test_a_tar_that_is_gone_is_an_error_of_its_unit(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (tmp_path / name).write_bytes(FOUR)
    source = WebDatasetPairs(str(tmp_path))
    (tmp_path / "a.tar").unlink()
    first, second = source.units(9)
    with pytest.raises(OSError, match=r"a\.tar"):
        list(source.read(first, 9))
    assert len(next(source.read(second, 9))) == 4


def test_pairs_are_estimated_from_the_size_of_tars(tmp_path: Path) -> None:
    for number in range(40):
        samples = [(f"{row:05d}.{suffix}", bytes(size)) for row in range(100) for suffix, size in MEMBER_BYTES.items()]
        (tmp_path / f"{number:05d}.tar").write_bytes(tar_of(samples))
    estimated = WebDatasetPairs(str(tmp_path)).estimated_pairs(sum(MEMBER_BYTES.values()))
    assert estimated == pytest.approx(4000, rel=0.1)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_storage_that_fails_on_the_way_is_not_taken_for_a_spoilt_tar(name: str) -> None:
    place = Faulty.place()
    content = tar_of([(f"{n}.jpg", os.urandom(10_000)) for n in range(100)])
    Faulty().pipe_file(f"{place}/{name}", gzip.compress(content) if name.endswith("gz") else content)
    source = WebDatasetPairs(f"faulty://{place}")
    (unit,) = source.units(9)
    assert sum(len(batch) for batch in source.read(unit, 9)) == 100
    Faulty.broken = range(600_000, 600_001)
    with pytest.raises(OSError, match="LookupError: no such luck"):
        list(source.read(unit, 9))


def test_what_waits_is_bounded_where_all_of_a_tar_has_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoenergy.pairs.formats.samples.WINDOW_BYTES", 100_000)
    alive = 0

    class Content(bytes):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def members() -> Iterator[Member]:
        nonlocal alive
        for number in range(20_000):
            content = Content(b"\xff\xd8\xff" + bytes(997))
            alive += 1
            assert alive < 300
            yield Member(f"a.{number:05d}.jpg", len(content), content)

    samples = list(grouped(members()))
    assert sorted(sample.key for sample in samples) == [f"a.{number:05d}" for number in range(20_000)]
