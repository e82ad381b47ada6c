"""The same pairs, stored in each way that a source may be."""

import io
import json
import tarfile
import zipfile
from collections.abc import Iterator

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.pairs.download.downloader import DownloadConfig, Downloader
from isoenergy.pairs.source import SourceConfig
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
