"""`isoenergy embed` on Ray: every pair once, whatever comes in and whoever is killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.download import DownloadConfig
from isoenergy.store import EmbeddingStore
from tests.conftest import RowsWriter, bad_rows, encoded_image
from tests.pairs.test_webdataset import tar_of
from tests.workflows.conftest import files_in, run_until
from tests.workflows.deadly import DeadlyPairs
from workflows import embed, extraction, extraction_workers
from workflows.cluster_size import ray_state
from workflows.embed import EmbedConfig
from workflows.extraction_placement import Placement

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


@pytest.fixture
def settings(tmp_path: Path, other_encoder: Path) -> dict:
    return {
        "output": str(tmp_path / "store"),
        "pairs": str(tmp_path / "pairs"),
        "encoder": f"open_clip:{other_encoder}",
        "rows_per_unit": 50,
        "batch_rows": 20,
    }


def keys(store: EmbeddingStore) -> list[str]:
    return sorted(store.to_arrays().keys.tolist())


def keys_of(rows: list[dict]) -> list[str]:
    return sorted(row["key"] for row in rows)


def times(store: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in files_in(Path(store), "*/*")}


def options(settings: dict) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def test_each_bad_pair_is_rejected_with_its_reason_and_the_rest_is_embedded(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bad_rows()
    first, again = bundled_rows[:40], bundled_rows[5]
    write_rows([*first[:20], *bad.values(), *first[20:]], tmp_path / "pairs" / "a.parquet")
    write_rows([again, *bundled_rows[40:50]], tmp_path / "pairs" / "b.parquet")
    config = EmbedConfig(**settings | {"rows_per_unit": 16, "batch_rows": 6})
    (store,) = embed.run(config)
    expected = dict.fromkeys((reason for reason in bad if reason != "good"), 1) | {"duplicate_key": 2}
    assert store.rejected == expected
    rejected = pq.read_table(tmp_path / "store" / "rejected").to_pylist()
    assert {row["reason"]: row["row"] for row in rejected if row["file"] == "a.parquet"} == {
        reason: 20 + place for place, reason in enumerate(bad) if reason != "good"
    }
    assert [row["key"] for row in rejected if row["file"] == "b.parquet"] == [again["key"]]
    assert keys(store) == sorted(["good", *keys_of(bundled_rows[:50])])
    assert store.rows_in == len(store) + sum(store.rejected.values())
    printed = capsys.readouterr().out
    assert "parquet, 2 files" in printed
    assert "63 (exact)" in printed
    summary = json.loads((tmp_path / "store" / "summary.json").read_text())
    assert (summary["rows_in"], summary["embedded"], summary["rejected"]) == (63, len(store), store.rejected)
    assert summary["run"]["pairs"] == 63
    assert min(summary["run"]["work_seconds"].values()) > 0

    before = times(settings["output"])
    embed.run(config)
    assert times(settings["output"]) == before
    assert json.loads((tmp_path / "store" / "summary.json").read_text()) == summary


def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    for shard in range(4):
        write_rows(bundled_rows[shard * 400 :][:400], tmp_path / "pairs" / f"{shard}.parquet")
    commits = tmp_path / "store" / "commits"
    run_until(["embed", *options(settings)], lambda: len(files_in(commits, "*.json")) >= 2)
    done = {path: path.stat().st_mtime_ns for path in files_in(commits, "*.json")}
    assert len(done) < 32

    (store,) = embed.run(EmbedConfig(**settings))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(files_in(commits, "*.json")) == 32
    assert keys(store) == keys_of(bundled_rows[:1600])
    (whole,) = embed.run(EmbedConfig(**settings | {"output": str(tmp_path / "uninterrupted")}))
    assert EmbeddingStore.open(settings["output"]).fingerprint == whole.fingerprint


def test_a_killed_encoder_is_replaced_and_no_pair_is_lost(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:1200], tmp_path / "pairs" / "a.parquet")
    command = [sys.executable, "-m", "workflows.cli", "embed", *options(settings)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    watched = threading.Event()

    def kill_encoder() -> None:
        while len(files_in(tmp_path / "store" / "commits", "*.json")) < 3 and process.poll() is None:
            watched.wait(0.02)
        for encoder in ray_workers(process.pid, "Encode"):
            os.kill(encoder, signal.SIGKILL)
            watched.set()

    killer = threading.Thread(target=kill_encoder)
    killer.start()
    printed, _ = process.communicate()
    killer.join()
    assert watched.is_set(), "the encoder ended before it could be killed"
    assert process.returncode == 0, printed.decode()
    assert keys(EmbeddingStore.open(settings["output"])) == keys_of(bundled_rows[:1200])
    assert pairs_of_the_run(settings["output"]) == 1200
    (whole,) = embed.run(EmbedConfig(**settings | {"output": str(tmp_path / "undisturbed")}))
    assert EmbeddingStore.open(settings["output"]).fingerprint == whole.fingerprint


def pairs_of_the_run(store: str) -> int:
    return json.loads((Path(store) / "summary.json").read_text())["run"]["pairs"]


def test_an_image_that_ends_its_process_costs_its_unit_alone_and_is_told(
    tmp_path: Path,
    write_rows: RowsWriter,
    bundled_rows: list[dict],
    settings: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place, name in enumerate("abc"):
        write_rows(bundled_rows[place * 100 :][:100], tmp_path / "pairs" / f"{name}.parquet")
    source = DeadlyPairs(settings["pairs"], "b.parquet", row=30)
    with monkeypatch.context() as patch:
        patch.setattr(embed, "open_source", lambda *_: source)
        patch.setattr(extraction, "TIMES_TRIED", 2)
        told = r"^1 of 6 units could not .*b-\w+-0+: its process ended .* leave .* pairs 0 to 49 of b\.parquet, or the"
        with pytest.raises(InputError, match=told):
            embed.run(EmbedConfig(**settings))
    assert keys(EmbeddingStore.open(settings["output"])) == keys_of(bundled_rows[:100] + bundled_rows[150:300])


def test_a_batch_that_is_done_again_counts_once() -> None:
    nothing = dict.fromkeys(extraction_workers.OUTCOME.names)
    progress = extraction.Progress()
    for unit, number, rejected in (("a", 0, 1), ("b", 0, 0), ("a", 1, 0), ("a", 0, 1), ("a", None, 0), ("b", 0, 0)):
        pairs = 0 if number is None else 20
        outcome = {"unit": unit, "number": number, "pairs": pairs, "rejected": rejected, "encode_seconds": 1.0}
        extraction._count(nothing | outcome, progress)
    assert (progress.pairs, progress.rejected, progress.seconds["encode"]) == (60, 1, 6.0)


def ray_workers(session: int, what: str) -> list[int]:
    """The processes of a session that are Ray workers whose title holds `what`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
                if title.startswith("ray::") and what in title and os.getsid(int(folder.name)) == session:
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def test_several_encoders_in_one_pass_make_the_stores_of_a_pass_each(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:90], tmp_path / "pairs" / "a.parquet")
    both = EmbedConfig(**settings | {"encoder": f"{settings['encoder']},bundled"})
    together = embed.run(both)
    assert [store.manifest.dim for store in together] == [24, 256]
    for store, name in zip(together, both.encoders, strict=True):
        output = str(tmp_path / f"{store.manifest.dim}")
        (alone,) = embed.run(EmbedConfig(**settings | {"encoder": name, "output": output}))
        assert alone.fingerprint == store.fingerprint
        assert keys(alone) == keys(store)


def test_new_files_are_added_and_the_first_of_a_key_stays(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:60], tmp_path / "pairs" / "m.parquet")
    embed.run(EmbedConfig(**settings))
    before = times(settings["output"])
    write_rows([*bundled_rows[55:70]], tmp_path / "pairs" / "a.parquet")
    (store,) = embed.run(EmbedConfig(**settings))
    assert before.items() <= times(settings["output"]).items()
    assert keys(store) == keys_of(bundled_rows[:70])
    assert store.rejected == {"duplicate_key": 5}


def test_a_store_made_otherwise_is_not_mixed(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:10], tmp_path / "pairs" / "a.parquet")
    embed.run(EmbedConfig(**settings))
    before = times(settings["output"])
    for change, named in (
        ({"encoder": "bundled"}, "encoder_digest is"),
        ({"batch_rows": 21}, "batch_rows is 20 there and 21 here"),
        ({"dtype": "float32"}, 'dtype is "float16" there and "float32" here'),
        ({"precision": "bfloat16"}, 'precision is "float32" there and "bfloat16" here'),
    ):
        with pytest.raises(InputError, match=named):
            embed.run(EmbedConfig(**settings | change))
    assert times(settings["output"]) == before


def test_a_file_written_again_is_not_mixed_with_what_it_was(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:10], tmp_path / "pairs" / "a.parquet")
    embed.run(EmbedConfig(**settings))
    write_rows(bundled_rows[:11], tmp_path / "pairs" / "a.parquet")
    with pytest.raises(InputError, match=r"1 files of .* were written again since .* a\.parquet; give another"):
        embed.run(EmbedConfig(**settings))


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


def test_an_encoder_that_is_added_leaves_the_other_store_alone(tmp_path: Path, settings: dict) -> None:
    site = _Site()
    with serving(site) as address:
        (tmp_path / "pairs").mkdir()
        columns = {"id": ["a", "b"], "url": [f"{address}/0.jpg", f"{address}/1.jpg"], "caption": ["c", "d"]}
        pq.write_table(pa.table(columns), tmp_path / "pairs" / "a.parquet")
        place = Path(settings["output"])
        of_one = EmbedConfig(
            **settings | {"encoder": "bundled", "output": str(place / "bundled")},
            download=DownloadConfig(allow_loopback=True, retries=0),
        )
        embed.run(of_one)
        before = next((place / "bundled" / "shards").iterdir()).read_bytes()
        site.refused = {"/1.jpg": 503}
        of_both = EmbedConfig(**settings | {"encoder": f"{settings['encoder']},bundled"}, download=of_one.download)
        added, kept = embed.run(of_both)
    assert (len(added), added.rejected) == (1, {"http_server_error": 1})
    assert (len(kept), kept.rejected) == (2, {})
    assert next((place / "bundled" / "shards").iterdir()).read_bytes() == before


def test_tars_that_are_empty_or_cut_among_good_ones(tmp_path: Path, settings: dict) -> None:
    (tmp_path / "pairs").mkdir()
    good = tar_of([(f"{n}.{suffix}", content) for n in range(3) for suffix, content in _members(n)])
    for name, content in {"a": good, "b": tar_of([]), "c": b"", "d": good[: len(good) // 2]}.items():
        (tmp_path / "pairs" / f"{name}.tar").write_bytes(content)
    (store,) = embed.run(EmbedConfig(**settings))
    assert [record.rows_in for record in store.commits][:2] == [3, 0]
    assert store.rejected["unreadable_file"] == 2
    assert {key for key in keys(store) if key.startswith("a.tar")} == {f"a.tar/{n}" for n in range(3)}
    assert len(store) + sum(store.rejected.values()) == store.rows_in


def _members(number: int) -> list[tuple[str, bytes]]:
    return [("jpg", encoded_image("JPEG", seed=number)), ("txt", b"a caption")]


def test_a_file_that_disappears_costs_itself_alone(
    tmp_path: Path,
    write_rows: RowsWriter,
    bundled_rows: list[dict],
    settings: dict,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_rows(bundled_rows[:60], tmp_path / "pairs" / "a.parquet")
    gone = write_rows(bundled_rows[60:90], tmp_path / "pairs" / "b.parquet")
    prepare = embed._duplicate_rows

    def remove_then_go_on(*arguments: object) -> dict:
        found = prepare(*arguments)
        gone.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(embed, "_duplicate_rows", remove_then_go_on)
        with pytest.raises(InputError, match=r"1 of 3 units could not .* b\.parquet cannot"):
            embed.run(EmbedConfig(**settings))
    assert len(files_in(tmp_path / "store" / "commits")) == 2
    write_rows(bundled_rows[60:90], gone)
    (store,) = embed.run(EmbedConfig(**settings))
    assert keys(store) == keys_of(bundled_rows[:90])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"this user may not mount a file system: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_the_same_command_goes_on(
    small_disk: Path, tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:1600], tmp_path / "pairs" / "a.parquet")
    config = EmbedConfig(**settings | {"output": str(small_disk / "store")})
    with pytest.raises(InputError, match=r"cannot be written: .*No space left on device.* run the same command again"):
        embed.run(config)
    done = files_in(small_disk / "store" / "commits", "*.json")
    assert 0 < len(done) < 32
    assert len(EmbeddingStore.open(config.output)) == 50 * len(done)
    subprocess.run(["mount", "-o", "remount,size=16m", small_disk], check=True)
    (store,) = embed.run(config)
    assert keys(store) == keys_of(bundled_rows[:1600])
    assert not [path for path in (small_disk / "store").rglob("*") if path.name.endswith(".tmp")]


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


def test_a_plan_says_what_a_run_would_take_and_writes_nothing(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(bundled_rows[:300], tmp_path / "pairs" / "a.parquet")
    assert embed.run(EmbedConfig(**settings, dry_run=True)) == []
    printed = capsys.readouterr().out
    for words in (
        "parquet, 1 files",
        "300 (exact)",
        "6, of which 6 are to be done",
        "(24, float32, stored as float16)",
        "1 to 1 encoder actors on CPU",
        "probe      200 pairs, 0 rejected; ms a pair: read",
        "pairs/s, 0.0",
        "GB to store",
    ):
        assert words in printed
    assert not Path(settings["output"]).exists()


def test_too_many_actors_are_refused_before_the_start(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], settings: dict
) -> None:
    write_rows(bundled_rows[:10], tmp_path / "pairs" / "a.parquet")
    with pytest.raises(InputError, match=r"at least 9 encoders .* room for 1: the cluster has 1 nodes, 2 CPUs"):
        embed.run(EmbedConfig(**settings, actors=(9, 9)))
    assert not Path(settings["output"]).exists()


def test_a_cluster_counts_as_large_as_it_may_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [
        SimpleNamespace(resources={"CPU": 8, "GPU": 1}, max_count=8),
        SimpleNamespace(resources={"CPU": 32}, max_count=0),
    ]
    monkeypatch.setattr(ray_state, "get_cluster_config", lambda: SimpleNamespace(node_group_configs=groups))
    assert Placement.fit(None, 1.0).actors == (1, 8)
    placement = Placement.fit((2, 12), 0.5)
    assert (placement.actors, placement.gpus_per_actor, placement.cpus) == ((2, 12), 0.5, 64)
    with pytest.raises(InputError, match=r"at least 17 encoders of 0\.5 GPU, and there is room for 16"):
        Placement.fit((17, 20), 0.5)
    with pytest.raises(InputError, match=r"of 2 GPU, and there is room for 0"):
        Placement.fit(None, 2.0)
    groups[0].max_count = -1
    assert Placement.fit(None, 1.0).actors == (1, 1000)
    groups[0].resources = {"CPU": 8}
    assert Placement.fit((4, 8), 1.0).gpus_per_actor == 0
