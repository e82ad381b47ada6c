"""What all sources have in common: the same pairs, stored in each way, come out the same."""

import io
import json
import pickle
import tarfile
import uuid
import zipfile
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.source import PairSource, RawPairs, SourceConfig
from tests.pairs.download.server import Server, answer

FILES = [7, 3]
"""Pairs in each file of a source."""
FETCH = Downloader(DownloadConfig(allow_loopback=True)).fetch


def image(number: int) -> bytes:
    return b"image" * number


def caption(number: int) -> str:
    return f"caption {number}, «süß»"


class Place:
    """A folder on some filesystem."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._filesystem, self._root = fsspec.core.url_to_fs(uri)

    def write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._filesystem.pipe_file(path, content)

    def read(self, name: str) -> bytes:
        return self._filesystem.cat_file(f"{self._root}/{name}")


def numbers() -> Iterator[tuple[int, range]]:
    first = 0
    for file, count in enumerate(FILES):
        yield file, range(first, first + count)
        first += count


def parquet_file(**columns: list) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, row_group_size=2)
    return sink.getvalue()


def in_parquet(place: Place, _: Server) -> SourceConfig:
    for file, rows in numbers():
        content = parquet_file(
            key=[f"k{n}" for n in rows], image=[image(n) for n in rows], caption=[caption(n) for n in rows]
        )
        place.write(f"sub/{file}.parquet", content)
    return SourceConfig(place.uri)


def in_urls(place: Place, server: Server) -> SourceConfig:
    for file, rows in numbers():
        server.answers |= {f"/{n}.jpg": answer(image(n)) for n in rows}
        urls = [server.url(f"/{n}.jpg") for n in rows]
        place.write(f"{file}.parquet", parquet_file(URL=urls, TEXT=[caption(n) for n in rows]))
    return SourceConfig(place.uri)


def in_tars(place: Place, _: Server) -> SourceConfig:
    for file, rows in numbers():
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for n in rows:
                for suffix, content in (("jpg", image(n)), ("txt", caption(n).encode())):
                    member = tarfile.TarInfo(f"{n:09d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        place.write(f"{file:05d}.tar", sink.getvalue())
    return SourceConfig(place.uri)


def in_coco(place: Place, _: Server) -> SourceConfig:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for n in range(sum(FILES)):
            archive.writestr(f"train/{n}.jpg", image(n))
    place.write("train.zip", sink.getvalue())
    images = [{"id": 100 + n, "file_name": f"{n}.jpg"} for n in range(sum(FILES))]
    captions = [{"id": n, "image_id": 100 + n, "caption": caption(n)} for n in range(sum(FILES))]
    place.write("captions.json", json.dumps({"images": images, "annotations": captions}).encode())
    return SourceConfig(f"{place.uri}/captions.json", images=f"{place.uri}/train.zip")


def in_tables(place: Place, _: Server) -> SourceConfig:
    for file, rows in numbers():
        for n in rows:
            place.write(f"{file}/images/{n}.jpg", image(n))
        lines = [{"file_name": f"images/{n}.jpg", "text": caption(n)} for n in rows]
        place.write(f"{file}/metadata.jsonl", "\n".join(map(json.dumps, lines)).encode())
    return SourceConfig(place.uri)


def in_a_folder(place: Place, _: Server) -> SourceConfig:
    for file, rows in numbers():
        for n in rows:
            place.write(f"{file}/{n}.jpg", image(n))
            place.write(f"{file}/{n}.txt", caption(n).encode())
    return SourceConfig(place.uri)


WRITERS = {
    "parquet": in_parquet,
    "urls": in_urls,
    "webdataset": in_tars,
    "coco": in_coco,
    "table": in_tables,
    "folder": in_a_folder,
}
Opened = tuple[str, PairSource]


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    if request.param == "local":
        return Place(str(tmp_path_factory.mktemp("pairs")))
    return Place(f"memory://{uuid.uuid4().hex}/pairs")


@pytest.fixture(params=WRITERS)
def opened(request: pytest.FixtureRequest, place: Place, server: Server) -> Opened:
    return request.param, open_source(WRITERS[request.param](place, server), FETCH)


def rows_of(source: PairSource, rows_per_unit: int, rows_per_batch: int) -> list[RawPairs]:
    batches = []
    for unit in source.units(rows_per_unit):
        of_unit = list(source.read(unit, rows_per_batch))
        assert all(len(batch) == rows_per_batch for batch in of_unit[:-1])
        assert all(0 < len(batch) <= rows_per_batch for batch in of_unit)
        numbers = [row for batch in of_unit for row in batch.rows]
        stop = unit.start + len(numbers) if unit.stop is None else unit.stop
        assert numbers == list(range(unit.start, stop))
        batches += of_unit
    return batches


def test_a_source_is_recognised_and_its_pairs_come_out_once_and_in_order(opened: Opened) -> None:
    kind, source = opened
    assert source.format == kind
    everything = range(sum(FILES))
    for rows_per_unit, rows_per_batch in ((1, 1), (3, 2), (4, 3), (100, 4), (100, 100)):
        batches = rows_of(source, rows_per_unit, rows_per_batch)
        assert [value for batch in batches for value in batch.images] == [image(n) for n in everything]
        assert [value for batch in batches for value in batch.captions] == [caption(n).encode() for n in everything]
        assert not any(rejection for batch in batches for rejection in batch.rejections)
        assert {batch.passed_through.schema for batch in batches} == {source.passed_through}
        units = source.units(rows_per_unit)
        assert len({unit.name for unit in units}) == len(units)


def test_keys_are_unique_and_known_before_reading_where_they_may_repeat(opened: Opened) -> None:
    _, source = opened
    keys = [key for batch in rows_of(source, 100, 4) for key in batch.keys]
    assert len(set(keys)) == sum(FILES)
    if source.keys_may_repeat:
        assert [key for file in source.files for key in source.keys(file).to_pylist()] == keys


def test_single_rows_can_be_read_again(opened: Opened, server: Server) -> None:
    _, source = opened
    unit = source.units(100)[0]
    whole = RawPairs.joined(list(source.read(unit, 100)))
    server.requests.clear()
    (batch,) = source.read(unit, 100, rows={5, 1, 999})
    assert batch.rows == [1, 5]
    assert batch.keys == [whole.keys[1], whole.keys[5]]
    assert (batch.images, batch.captions) == ([image(1), image(5)], [caption(1).encode(), caption(5).encode()])
    assert batch.passed_through == whole.passed_through.take([1, 5])
    assert [len(batch) for batch in source.read(unit, 2, rows=[0, 2, 4, 6, 3])] == [2, 2, 1]
    assert list(source.read(unit, 2, rows=[])) == []
    assert set(server.tries) <= {f"/{n}.jpg" for n in (0, 1, 2, 3, 4, 5, 6)}


def test_images_come_back_by_their_number(opened: Opened) -> None:
    _, source = opened
    assert source.images(source.files[0], [5, 1]) == {1: image(1), 5: image(5)}
    assert source.images(source.files[0], []) == {}


def test_a_source_travels(opened: Opened) -> None:
    _, source = opened
    message = pickle.dumps(source)
    assert len(message) < 4096
    copy = pickle.loads(message)
    assert copy.files == source.files
    unit = source.units(2)[0]
    assert [batch.images for batch in copy.read(unit, 2)] == [batch.images for batch in source.read(unit, 2)]


def test_what_is_written_again_has_another_digest(opened: Opened, place: Place) -> None:
    kind, source = opened
    first = source.files[0]
    digest = source.file_digest(first)
    assert source.file_digest(first) == digest
    if kind == "folder":
        place.write(f"{first}/another.png", b"")
        source = open_source(SourceConfig(place.uri), FETCH)
    else:
        place.write(first, place.read(first) + b"\n")
    assert source.file_digest(first) != digest
