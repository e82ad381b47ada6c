"""`isoenergy embed` once more, after files were mended, moved or taken in by one store alone, and servers recovered."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import DownloadConfig
from tests.pairs.made_up_pairs import RowsWriter, encoded_image
from tests.workflows.embedding_stores import ENCODER, SMALL_ENCODER, keys, keys_of, times
from workflows import embed
from workflows.embed import EmbedConfig

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def test_spoilt_files_are_rejected_and_once_mended_taken_in(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    good = write_rows(bundled_rows[:60], tmp_path / "pairs" / "a.parquet")
    (tmp_path / "pairs" / "b.parquet").write_bytes(b"")
    whole = write_rows(bundled_rows[60:130], tmp_path / "whole" / "c.parquet").read_bytes()
    (tmp_path / "pairs" / "c.parquet").write_bytes(whole[: len(whole) // 2])
    (store,) = embed.run(EmbedConfig(**settings))
    assert store.rejected == {"unreadable_file": 2}
    assert keys(store) == keys_of(bundled_rows[:60])

    (tmp_path / "pairs" / "c.parquet").write_bytes(whole)
    with pytest.raises(InputError, match="--retry-rejected embeds them again"):
        embed.run(EmbedConfig(**settings))
    before = times(settings["output"])
    (store,) = embed.run(EmbedConfig(**settings, retry_rejected=True))
    assert keys(store) == keys_of(bundled_rows[:130])
    assert store.rejected == {"unreadable_file": 1}
    kept = {path for path in before if path.name.startswith(good.stem)}
    assert len(kept) == 4
    assert {path: times(settings["output"])[path] for path in kept} == {path: before[path] for path in kept}
    assert len(pq.read_table(tmp_path / "store" / "shards")) == 130
    assert len(pq.read_table(tmp_path / "store" / "rejected")) == 1


def test_a_mended_file_and_one_that_has_gone_keep_every_key_single(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    whole = write_rows(bundled_rows[:40], tmp_path / "whole" / "a.parquet").read_bytes()
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "a.parquet").write_bytes(whole[:1000])
    write_rows(bundled_rows[30:60], tmp_path / "pairs" / "b.parquet")
    (store,) = embed.run(EmbedConfig(**settings))
    assert keys(store) == keys_of(bundled_rows[30:60])
    (tmp_path / "pairs" / "a.parquet").write_bytes(whole)
    (store,) = embed.run(EmbedConfig(**settings, retry_rejected=True))
    assert keys(store) == keys_of(bundled_rows[:60])
    assert store.rejected == {"duplicate_key": 10}

    (tmp_path / "pairs" / "a.parquet").rename(tmp_path / "pairs" / "renamed.parquet")
    (store,) = embed.run(EmbedConfig(**settings))
    assert keys(store) == keys_of(bundled_rows[:60])
    assert store.rejected == {"duplicate_key": 50}


class _Site:
    """Images on a local server, some of which it refuses for a while."""

    def __init__(self) -> None:
        self.refused: dict[str, int] = {}
        self.asked: Counter[str] = Counter()

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked[path] += 1
        return self.refused.get(path, 200), encoded_image("JPEG", seed=int(path.strip("/").split(".")[0]))


@contextmanager
def serving(site: _Site) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = site.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_encoder_that_is_added_leaves_the_other_store_alone(tmp_path: Path, settings: dict) -> None:
    site = _Site()
    with serving(site) as address:
        (tmp_path / "pairs").mkdir()
        columns = {"id": ["a", "b"], "url": [f"{address}/0.jpg", f"{address}/1.jpg"], "caption": ["c", "d"]}
        pq.write_table(pa.table(columns), tmp_path / "pairs" / "a.parquet")
        of_both = EmbedConfig(
            **settings | {"encoder": f"{SMALL_ENCODER},{ENCODER}"},
            download=DownloadConfig(allow_loopback=True, retries=0),
        )
        place = of_both.outputs()[1]
        embed.run(replace(of_both, encoder=ENCODER, output=place))
        before = {path: path.read_bytes() for path in Path(place, "shards").iterdir()}
        site.refused = {"/1.jpg": 503}
        added, kept = embed.run(of_both)
    assert (len(added), added.rejected) == (1, {"http_server_error": 1})
    assert (len(kept), kept.rejected) == (2, {})
    assert {path: path.read_bytes() for path in Path(place, "shards").iterdir()} == before


def test_only_retriable_pairs_are_tried_again(tmp_path: Path, settings: dict) -> None:
    site = _Site()
    site.refused = {"/3.jpg": 503, "/7.jpg": 404, "/60.jpg": 429, "/61.jpg": 503}
    with serving(site) as address:
        table = {"SAMPLE_ID": range(70), "URL": [f"{address}/{n}.jpg" for n in range(70)], "TEXT": ["a picture"] * 70}
        (tmp_path / "pairs").mkdir()
        pq.write_table(pa.table({k: list(v) for k, v in table.items()}), tmp_path / "pairs" / "laion.parquet")
        config = EmbedConfig(**settings, download=DownloadConfig(allow_loopback=True, retries=0))
        (store,) = embed.run(config)
        assert store.manifest.source_format == "urls"
        assert store.rejected == {"http_server_error": 2, "http_client_error": 1, "http_too_many_requests": 1}
        before = times(settings["output"])
        embed.run(config)
        assert times(settings["output"]) == before

        site.refused = {"/61.jpg": 503}
        asked = site.asked.copy()
        again = EmbedConfig(**settings, download=config.download, retry_rejected=True)
        (store,) = embed.run(again)
        assert site.asked - asked == {"/3.jpg": 1, "/60.jpg": 1, "/61.jpg": 1}
        assert store.rejected == {"http_server_error": 1, "http_client_error": 1}
        site.refused = {}
        (store,) = embed.run(again)
    assert store.rejected == {"http_client_error": 1}
    assert keys(store) == sorted(str(n) for n in range(70) if n != 7)
    assert store.rows_in == 70
    whole = pq.read_table(tmp_path / "store" / "shards")
    assert whole["row"].to_pylist() == [n for n in range(70) if n != 7]
    assert whole["URL"].to_pylist()[0].endswith("/0.jpg")
    assert len(pq.read_table(tmp_path / "store" / "rejected")) == 1
