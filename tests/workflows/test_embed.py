from pathlib import Path

import pyarrow.parquet as pq
import pytest

from isoenergy.store import EmbeddingStore
from tests.conftest import RowsWriter, bad_rows
from tests.workflows.conftest import files_in, run_until
from workflows import embed
from workflows.embed import EmbedConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_ray")]


def test_each_bad_pair_is_rejected_with_its_reason_and_the_rest_is_embedded(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], other_encoder: Path
) -> None:
    bad = bad_rows()
    first, again = bundled_rows[:40], bundled_rows[5]
    write_rows([*first[:20], *bad.values(), *first[20:]], tmp_path / "pairs" / "a.parquet")
    write_rows([again, *bundled_rows[40:50]], tmp_path / "pairs" / "b.parquet")
    config = EmbedConfig(
        output=str(tmp_path / "store"),
        pairs=str(tmp_path / "pairs"),
        encoder=f"open_clip:{other_encoder}",
        rows_per_unit=16,
        batch_rows=6,
    )
    store = embed.run(config)
    assert store is not None
    expected = dict.fromkeys((reason for reason in bad if reason != "good"), 1) | {"duplicate_key": 2}
    assert store.rejected == expected
    rejected = pq.read_table(tmp_path / "store" / "rejected").to_pylist()
    assert {row["reason"]: row["row"] for row in rejected if row["file"] == "a.parquet"} == {
        reason: 20 + place for place, reason in enumerate(bad) if reason != "good"
    }
    assert [row["key"] for row in rejected if row["file"] == "b.parquet"] == [again["key"]]
    keys = store.to_arrays().keys.tolist()
    assert sorted(keys) == sorted(["good", *(row["key"] for row in bundled_rows[:50])])
    assert store.manifest.rows == len(store) + sum(store.rejected.values())

    before = {path: path.stat().st_mtime_ns for path in files_in(tmp_path / "store", "*/*")}
    embed.run(config)
    assert {path: path.stat().st_mtime_ns for path in files_in(tmp_path / "store", "*/*")} == before


def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, write_rows: RowsWriter, bundled_rows: list[dict], other_encoder: Path
) -> None:
    for shard in range(4):
        write_rows(bundled_rows[shard * 400 :][:400], tmp_path / "pairs" / f"{shard}.parquet")
    settings = {
        "output": str(tmp_path / "store"),
        "pairs": str(tmp_path / "pairs"),
        "encoder": f"open_clip:{other_encoder}",
        "rows_per_unit": 50,
        "batch_rows": 10,
    }
    arguments = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    commits = tmp_path / "store" / "commits"
    run_until(["embed", *arguments], lambda: len(files_in(commits, "*.json")) >= 2)
    done = {path: path.stat().st_mtime_ns for path in files_in(commits, "*.json")}
    assert len(done) < 32

    store = embed.run(EmbedConfig(**settings))
    assert store is not None
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert len(files_in(commits, "*.json")) == 32
    assert sorted(store.to_arrays().keys.tolist()) == sorted(row["key"] for row in bundled_rows[:1600])
    whole = embed.run(EmbedConfig(**settings | {"output": str(tmp_path / "uninterrupted")}))
    assert whole is not None
    assert EmbeddingStore.open(settings["output"]).fingerprint == whole.fingerprint
