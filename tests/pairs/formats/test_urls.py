from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.formats.urls import UrlPairs
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import PairColumns, RawPairs
from tests.pairs.download.server import Server, answer

FETCH = Downloader(DownloadConfig(allow_loopback=True, retries=0)).fetch


def opened(path: Path, **columns: str) -> UrlPairs:
    return UrlPairs(str(path), PairColumns(**columns), FETCH)


def everything(source: UrlPairs, rows_per_batch: int = 3) -> RawPairs:
    units = source.units(100)
    return RawPairs.joined([batch for unit in units for batch in source.read(unit, rows_per_batch)])


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_each_url_is_downloaded_once_and_passes_through(tmp_path: Path, server: Server, kind: pa.DataType) -> None:
    server.answers = {f"/{n}": answer(b"%d" % n) for n in range(7)} | {"/3": answer(status="404 x")}
    urls = [server.url(f"/{n}") for n in range(7)]
    table = {"Url": pa.array(urls).cast(kind), "Text": list("abcdefg"), "similarity": [0.5] * 7}
    pq.write_table(pa.table(table), tmp_path / "a.parquet", row_group_size=2)
    source = opened(tmp_path)
    pairs = everything(source)
    assert pairs.images == [None if n == 3 else b"%d" % n for n in range(7)]
    assert [rejection and rejection.reason for rejection in pairs.rejections] == [
        Reason.HTTP_CLIENT_ERROR if n == 3 else None for n in range(7)
    ]
    assert pairs.captions == [letter.encode() for letter in "abcdefg"]
    assert pairs.keys == [f"a/{n:09d}".encode() for n in range(7)]
    assert source.passed_through.names == ["Url", "similarity"]
    assert pairs.passed_through["Url"].cast(pa.string()).to_pylist() == urls
    assert set(server.tries.values()) == {1}


def test_what_is_no_url_costs_its_own_pair(tmp_path: Path, server: Server) -> None:
    server.answers["/x"] = answer(b"x")
    urls = [
        None,
        b"",
        b" ",
        b"\xff\xfe",
        b"x.jpg",
        server.url("/x").encode(),
        b"http://127.0.0.1:%d/x\xff" % server.port,
    ]
    pq.write_table(pa.table({"url": pa.array(urls, pa.binary()), "text": ["t"] * 7}), tmp_path / "a.parquet")
    pairs = everything(opened(tmp_path))
    assert pairs.images == [None] * 5 + [b"x", None]
    reasons = [rejection and rejection.reason for rejection in pairs.rejections]
    assert reasons[:2] == [Reason.MISSING_IMAGE] * 2
    assert reasons[2:] == [Reason.BAD_URL] * 3 + [None, Reason.BAD_URL]


def test_rows_that_cannot_be_read_are_not_asked_for(tmp_path: Path, server: Server) -> None:
    (tmp_path / "0.parquet").write_bytes(b"junk")
    server.answers["/x"] = answer(b"x")
    pq.write_table(pa.table({"url": [server.url("/x")], "text": ["t"]}), tmp_path / "1.parquet")
    pairs = everything(opened(tmp_path))
    assert [rejection and rejection.reason for rejection in pairs.rejections] == [Reason.UNREADABLE_FILE, None]
    assert len(server.requests) == 1


def test_names_can_be_given_and_a_wrong_one_is_listed(tmp_path: Path) -> None:
    pq.write_table(pa.table({"link": ["x"], "size": [3], "text": ["t"]}), tmp_path / "a.parquet")
    assert opened(tmp_path, image="link").passed_through.names == ["link", "size"]
    with pytest.raises(InputError, match="no column 'URL' for the url; it has link, size, text; name the right one"):
        opened(tmp_path, image="URL")
    with pytest.raises(InputError, match="column 'size' holds int64; that for the url must hold strings"):
        opened(tmp_path, image="size")
    with pytest.raises(
        InputError, match=r"no column of strings for the url: none of url, .*; name it with --columns\.image"
    ):
        opened(tmp_path)
