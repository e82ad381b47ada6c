"""The tar reader against what other programs write, and against what nobody should."""

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoenergy.pairs.formats.tar import Damage, Member, read_tar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def written(members: dict[str, bytes], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=kind, encoding="utf-8", errors="surrogateescape") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return sink.getvalue()


def entries(content: bytes, most: int = 2**20) -> list[Member | Damage]:
    return list(read_tar(io.BufferedReader(io.BytesIO(content)), lambda *_: most))  # type: ignore[arg-type]


def contents(content: bytes) -> dict[str, bytes | None]:
    return {entry.name: entry.content for entry in entries(content) if isinstance(entry, Member)}


def damages(content: bytes) -> list[str]:
    return [entry.detail for entry in entries(content) if isinstance(entry, Damage)]


MEMBERS = {
    "a.jpg": os.urandom(1000),
    "b/empty.txt": b"",
    "b/block.txt": bytes(512),
    "süß/" + "long" * 40 + ".txt": b"x" * 513,
    "z.json": b"{}",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_what_python_writes_is_read(kind: str, zipped: bool) -> None:
    members = {name: content for name, content in MEMBERS.items() if kind != "ustar" or len(name) < 100}
    content = written(members, FORMATS[kind])
    assert contents(gzip.compress(content) if zipped else content) == members
    assert damages(gzip.compress(content) if zipped else content) == []


@pytest.mark.parametrize("kind", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_what_gnu_tar_writes_is_read(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "folder"
    for name, content in MEMBERS.items():
        if len(name) < 90 or kind in ("oldgnu", "gnu", "posix"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    os.symlink("a.jpg", folder / "link.jpg")
    os.link(folder / "a.jpg", folder / "zz-hard-link.jpg")
    if kind != "v7":
        os.mkfifo(folder / "pipe.jpg")
    subprocess.run(
        ["tar", f"--format={kind}", "--sort=name", "-C", folder, "-cf", tmp_path / "a.tar", "."],
        check=True, capture_output=True,
    )  # fmt: skip
    content = (tmp_path / "a.tar").read_bytes()
    expected = {f"./{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*")
                if path.is_file()}  # fmt: skip
    assert contents(content) == expected
    assert damages(content) == []


def test_names_need_not_be_utf8() -> None:
    (member,) = entries(written({"caf\udce9.jpg": b"x"}))
    assert os.fsencode(member.name) == b"caf\xe9.jpg"


def test_what_is_too_large_is_passed_over() -> None:
    content = written({"a": b"x" * 100_000, "b": b"y" * 10})
    assert [(m.name, m.size, m.content) for m in entries(content, most=10)] == [
        ("a", 100_000, None), ("b", 10, b"y" * 10)
    ]  # fmt: skip


def test_archives_one_after_the_other_are_one() -> None:
    assert contents(written({"a": b"1"}) + written({"b": b"2"})) == {"a": b"1", "b": b"2"}
    assert damages(written({"a": b"1"}) + written({"b": b"2"})) == []


# --- spoilt archives -----------------------------------------------------------------------------------------------

THREE = written({"a": b"1" * 700, "b": b"2" * 700, "c": b"3" * 700})
SECOND = 512 + 1024
"""Where the header of b begins."""


@pytest.mark.parametrize("length", range(0, 6 * 512 + 2 * 512 + 300, 100))
def test_an_archive_cut_short_anywhere_says_so(length: int) -> None:
    assert len(damages(THREE[:length])) == 1
    whole = sum(length >= end for end in (512 + 700, SECOND + 512 + 700, 2 * SECOND + 512 + 700))
    assert list(contents(THREE[:length])) == list("abc")[:whole]


@pytest.mark.parametrize("length", [1, 9, 10, 60, -1, -9])
def test_a_gzipped_archive_cut_short_says_so(length: int) -> None:
    assert len(damages(gzip.compress(THREE)[:length])) == 1


@pytest.mark.parametrize("hole", [bytes(512), b"\xff" * 512, os.urandom(512)], ids=["zeros", "ones", "noise"])
def test_what_follows_a_spoilt_header_is_found_again(hole: bytes) -> None:
    spoilt = THREE[:SECOND] + hole + THREE[SECOND + 512 :]
    assert len(damages(spoilt)) == 1
    assert list(contents(spoilt)) == ["a", "c"]


def test_what_is_lost_within_an_archive_is_said_once() -> None:
    spoilt = THREE[:SECOND] + os.urandom(5120) + THREE[SECOND:]
    assert len(damages(spoilt)) == 1
    assert list(contents(spoilt)) == ["a", "b", "c"]
    assert len(damages(THREE + b"something else")) == 1
    shifted = THREE[: SECOND + 5] + THREE[SECOND + 6 :]
    assert len(damages(shifted)) == 1


def header(name: bytes = b"a", size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = block[108:116] = block[116:124] = b"0000644\0"
    block[124:136], block[136:148], block[156:157], block[257:265] = size, b"0" * 11 + b"\0", kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


SANE = header(b"good", b"00000000003\0") + b"yes".ljust(512, b"\0") + bytes(1024)


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_an_extended_header_that_claims_a_huge_size_costs_nothing(kind: bytes) -> None:
    huge = header(size=b"\x80" + (2**40).to_bytes(11, "big"), kind=kind) + SANE
    tracemalloc.start()
    assert contents(huge) == {"good": b"yes"}
    assert len(damages(huge)) == 1
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"x", b"0", b"S"])
def test_a_gzip_bomb_is_read_in_bounded_memory(kind: bytes) -> None:
    size = 2**30
    bomb = io.BytesIO()
    with gzip.GzipFile(fileobj=bomb, mode="wb", compresslevel=1) as zipped:
        zipped.write(header(b"bomb", b"%011o\0" % size, kind))
        for _ in range(32):
            zipped.write(b"#" * 2**20)
    tracemalloc.start()
    found = entries(bomb.getvalue())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 2**20
    assert len([entry for entry in found if isinstance(entry, Damage)]) == 1


@pytest.mark.parametrize(
    "records",
    [
        b"99999999999999999999 path=b\n", b"0 path=b\n", b"-5 path=b\n", b"x path=b\n", b"11 pat", b"3\n",
        b"11 size=-1\n", b"27 size=" + b"9" * 18 + b"\n" + b"13 path=../b\n", b"1 " * 10_000,
    ],
)  # fmt: skip
def test_spoilt_records_of_an_extended_header_do_no_harm(records: bytes) -> None:
    extended = header(size=b"%011o\0" % len(records), kind=b"x") + records + bytes(-len(records) % 512)
    assert len(entries(extended + SANE)) in (1, 2)


def test_a_negative_size_is_no_header() -> None:
    assert contents(header(size=b"\xff" * 12) + SANE) == {"good": b"yes"}
    assert contents(header(size=b"-0000000001\0") + SANE) == {"good": b"yes"}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_bytes_break_the_reader_and_it_always_says_when_it_lost_something(data: st.DataObject) -> None:
    spoilt = bytearray(THREE)
    for _ in range(data.draw(st.integers(1, 20))):
        place = data.draw(st.integers(0, len(THREE) - 1))
        spoilt[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    members = [entry for entry in entries(bytes(spoilt)) if isinstance(entry, Member)]
    assert len(members) >= 3 or damages(bytes(spoilt))


class Failing(io.RawIOBase):
    """A stream of which one block can be read."""

    def __init__(self) -> None:
        self.left = SANE[:512]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        return place + whence

    def readinto(self, buffer: memoryview) -> int:
        if not self.left:
            raise ConnectionResetError
        buffer[:512], self.left = self.left, b""
        return 512


def test_a_stream_that_fails_is_not_taken_for_a_spoilt_archive() -> None:
    with pytest.raises(ConnectionResetError):
        list(read_tar(io.BufferedReader(Failing()), lambda *_: 9))  # type: ignore[arg-type]


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_other_compressions_are_read_and_say_where_they_are_cut(compress: Callable[[bytes], bytes]) -> None:
    content = written(MEMBERS, tarfile.PAX_FORMAT)
    packed = compress(content)
    assert contents(packed) == MEMBERS
    assert damages(packed) == []
    assert contents(compress(content[:1536]) + compress(content[1536:])) == MEMBERS
    assert damages(packed[:-20])
    assert damages(packed[:40] + bytes(8) + packed[48:])


def test_an_xz_archive_that_asks_for_much_memory_is_refused() -> None:
    greedy = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    (damage,) = damages(lzma.compress(written({"a.jpg": b"i"}), filters=greedy))
    assert "memory" in damage.lower()


def test_a_tar_whose_first_name_begins_as_bzip2_does_is_none() -> None:
    assert contents(written({"BZh9.jpg": b"i"})) == {"BZh9.jpg": b"i"}


def test_links_are_the_members_that_they_name() -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, kind, target in (
            ("a/x.jpg", tarfile.REGTYPE, ""),
            ("a/hard.jpg", tarfile.LNKTYPE, "a/x.jpg"),
            ("b/hard-again.jpg", tarfile.LNKTYPE, "./a/x.jpg"),
            ("a/soft.jpg", tarfile.SYMTYPE, "x.jpg"),
            ("b/soft.jpg", tarfile.SYMTYPE, "../a/x.jpg"),
            ("b/" + "long" * 40 + ".jpg", tarfile.LNKTYPE, "b/" + "long" * 41 + ".jpg"),
            ("out.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("round.jpg", tarfile.SYMTYPE, "round.jpg"),
            ("again.jpg", tarfile.SYMTYPE, "b/soft.jpg"),
            ("and-again.jpg", tarfile.SYMTYPE, "again.jpg"),
            ("hard.jpg", tarfile.LNKTYPE, "b/hard-again.jpg"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, 0 if target else 3
            tar.addfile(member, io.BytesIO(b"" if target else b"pic"))
    found = [entry for entry in entries(sink.getvalue()) if isinstance(entry, Member)]
    assert [entry.content for entry in found] == [b"pic"] * 5 + [None] * 3 + [b"pic"] * 3
    assert [bool(entry.fault) for entry in found] == [False] * 5 + [True] * 3 + [False] * 3
    assert "'/etc/passwd', which does not stand shortly before it" in found[6].fault
