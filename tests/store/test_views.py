"""Stores that are views: vectors stay in their files, results are those of a copy, and a changed file is an error."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from safetensors.numpy import save_file

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore, PairIndex, array_files
from isoenergy.store.manifest import Manifest
from isoenergy.store.paired_vectors import ROWS_A_UNIT
from isoenergy.store.row_sources import ShardReader
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from isoenergy.store.verification import faults
from tests.store.given_vectors import WIDTH, vectors, write_clip_retrieval
from workflows.training.vector_stores import VectorCopy, store_of

ROWS = ROWS_A_UNIT + 500


def made(source: Path, place: Path, view: bool, **settings: bool) -> EmbeddingStore:
    files = open_vectors(str(source))
    return VectorCopy(files.viewed() if view else files, str(place), **settings).run()


def arrays(dtype: str = "float16") -> dict[str, np.ndarray]:
    return {"image": vectors(ROWS, 0, dtype), "text": vectors(ROWS, 1, dtype)}


def listed(dtype: str = "float16") -> pa.Table:
    columns = {name: pa.FixedSizeListArray.from_arrays(rows.ravel(), WIDTH) for name, rows in arrays(dtype).items()}
    return pa.table({"id": [f"k{row}" for row in range(ROWS)], **columns, "year": list(range(ROWS))})


def lists_of_any_length(folder: Path) -> None:
    columns = {name: pa.array(rows.tolist(), pa.list_(pa.float64())) for name, rows in arrays("float32").items()}
    pq.write_table(pa.table(columns), folder / "v.parquet", row_group_size=3000)


def saved_dataset(folder: Path) -> None:
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", listed().schema) as writer:
        writer.write_table(listed(), max_chunksize=1000)


def single_precision(folder: Path) -> None:
    for name, rows in arrays("float32").items():
        np.save(folder / f"{name}.npy", rows)


SOURCES: dict[str, Callable[[Path], object]] = {
    "clip-retrieval": lambda folder: write_clip_retrieval(folder, [ROWS, 40]),
    "float32 .npy": single_precision,
    "Parquet": lambda folder: pq.write_table(listed(), folder / "v.parquet", row_group_size=5000),
    "lists of any length": lists_of_any_length,
    "a saved dataset": saved_dataset,
    "safetensors": lambda folder: save_file(arrays(), folder / "v.safetensors"),
    ".npz": lambda folder: np.savez(folder / "v.npz", **arrays()),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_view_reads_what_a_copy_has(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "theirs"
    source.mkdir()
    SOURCES[kind](source)
    copy, view = made(source, tmp_path / "copy", view=False), made(source, tmp_path / "view", view=True)
    assert [record.unit for record in view.commits] == [record.unit for record in copy.commits]
    for record in copy.commits:
        assert view.read_unit(record.unit).replace_schema_metadata() == copy.read_unit(record.unit)
        some = ["text", "key"]
        assert view.read_unit(record.unit, some, "test").replace_schema_metadata() == copy.read_unit(
            record.unit, some, "test"
        )
    indices = [PairIndex.build(store, "train") for store in (view, copy)]
    assert (indices[0].means, indices[0].counts) == (indices[1].means, indices[1].counts)
    for ours, theirs in zip(*(store.batches("train", 64, seed=3).epoch(0) for store in (view, copy)), strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_view_takes_few_bytes_and_reads_none_but_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "theirs"
    source.mkdir()
    rows = np.random.default_rng(0).normal(size=(3 * ROWS_A_UNIT, 256)).astype(np.float16)
    np.save(source / "image.npy", rows)
    np.save(source / "text.npy", rows + 1)
    view = made(source, tmp_path / "view", view=True)
    stored = sum(file.stat().st_size for file in (tmp_path / "view").rglob("*") if file.is_file())
    assert stored < 0.02 * 2 * rows.nbytes
    sizes: list[int] = []
    read_range = array_files.read_range

    def counting(filesystem: object, path: str, start: int, stop: int) -> bytes:
        sizes.append(stop - start)
        return read_range(filesystem, path, start, stop)  # type: ignore[arg-type]

    monkeypatch.setattr(array_files, "read_range", counting)
    view.read_unit(view.commits[1].unit, ["key", "caption"])
    assert sizes == []
    view.read_unit(view.commits[1].unit, ["key", "text"])
    assert sizes == [ROWS_A_UNIT * 256 * 2]


def test_a_file_that_has_changed_is_named_and_its_rows_are_not_taken(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [30, 20])
    view = made(source, tmp_path / "view", view=True)
    place = source / "text_emb/text_emb_1.npy"
    whole, times = place.read_bytes(), place.stat()
    changed = bytearray(whole)
    changed[-7 * WIDTH] ^= 1
    place.write_bytes(changed)
    os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
    first, second = view.commits
    assert len(view.read_unit(first.unit)) == 30
    for read in (
        lambda: view.read_unit(second.unit),
        lambda: PairIndex.build(view, "train"),
        lambda: store_of(str(source), "", str(tmp_path / "output")) and made(source, tmp_path / "view", view=True),
    ):
        with pytest.raises(InputError, match=r"text_emb_1\.npy (has changed|or .* of .* is not what)"):
            read()
    assert "image" in view.read_unit(second.unit, ["image"]).column_names
    assert faults(view, first) == []
    assert "text_emb_1.npy has changed: its rows 0 to 20" in faults(view, second)[0]
    place.write_bytes(whole[:-WIDTH])
    with pytest.raises(InputError, match=r"text_emb_1\.npy cannot be read .*cut short"):
        view.read_unit(second.unit)
    place.unlink()
    with pytest.raises(InputError, match=r"text_emb_1\.npy cannot be read"):
        view.read_unit(second.unit)


def test_training_sees_a_file_that_changes_while_it_runs(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [300])
    view = made(source, tmp_path / "view", view=True)
    index = PairIndex.build(view, "train")
    np.save(source / "img_emb/img_emb_0.npy", vectors(300, 9))
    with pytest.raises(InputError, match=r"img_emb_0\.npy has changed"):
        ShardReader(index).read(0)


def test_bad_rows_are_left_out_of_a_view_too(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [9])
    rows = vectors(9, 1)
    rows[[2, 5]] = [[np.nan], [0]]
    np.save(source / "text_emb/text_emb_0.npy", rows)
    view = made(source, tmp_path / "view", True, skip_bad_rows=True)
    copy = made(source, tmp_path / "copy", False, skip_bad_rows=True)
    assert (len(view), view.rejected) == (7, copy.rejected)
    assert view.read_unit(view.commits[0].unit).replace_schema_metadata() == copy.read_unit(copy.commits[0].unit)


def test_a_source_that_has_moved_needs_no_new_pass(tmp_path: Path) -> None:
    made(write_clip_retrieval(tmp_path / "theirs", [30]), tmp_path / "view", view=True)
    shard = next((tmp_path / "view/shards").iterdir())
    before = shard.stat().st_mtime_ns
    (tmp_path / "theirs").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"theirs/img_emb/img_emb_0\.npy cannot be read"):
        EmbeddingStore.open(str(tmp_path / "view")).to_arrays()
    moved = made(tmp_path / "elsewhere", tmp_path / "view", view=True)
    assert moved.manifest.view_of == str(tmp_path / "elsewhere")
    assert len(moved.to_arrays()) == 30
    assert shard.stat().st_mtime_ns == before


def test_what_is_asked_to_train_on_is_viewed_where_it_can_be(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [30])
    place = store_of(str(source), "", str(tmp_path / "one"))
    assert EmbeddingStore.open(place).manifest.view_of == str(source)
    np.savez_compressed(tmp_path / "v.npz", image=vectors(9, 0), text=vectors(9, 1))
    files = open_vectors(str(tmp_path / "v.npz"))
    assert files.plan()[-2] == "copied      no view of them can be made: v.npz is compressed"
    assert not EmbeddingStore.open(store_of(str(tmp_path / "v.npz"), "", str(tmp_path / "two"))).manifest.view_of
    with pytest.raises(InputError, match=r"no view can be made of: v\.npz is compressed; leave --view out"):
        files.viewed()


def test_a_copy_that_is_there_stays_a_copy(tmp_path: Path) -> None:
    source = write_clip_retrieval(tmp_path / "theirs", [30])
    made(source, tmp_path / "output/store", view=False)
    assert not EmbeddingStore.open(store_of(str(source), "", str(tmp_path / "output"))).manifest.view_of
    with pytest.raises(InputError, match=r"is a view"):
        made(source, tmp_path / "output/store", view=True)


@pytest.mark.parametrize("rows", [2**17, 2**17 + 1])
def test_parquet_with_row_groups_that_are_too_large_is_copied(rows: int, tmp_path: Path) -> None:
    column = pa.FixedSizeListArray.from_arrays(np.ones(rows * WIDTH, np.float16), WIDTH)
    pq.write_table(pa.table({"image": column, "text": column}), tmp_path / "v.parquet", row_group_size=rows)
    why = open_vectors(str(tmp_path / "v.parquet")).why_copied
    assert ("row groups of 131,073 rows" in why) == (rows > 2**17)


def test_what_takes_as_many_bytes_as_vectors_stays_in_the_source(tmp_path: Path) -> None:
    others = {"jpg": pa.array([b"x"] * ROWS), "box": pa.array([[1.0, 2.0]] * ROWS), "audio": listed()["text"]}
    table = listed()
    for name, column in others.items():
        table = table.append_column(name, column)
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=4096)
    files = open_vectors(str(tmp_path / "v.parquet"), ("image", "text")).viewed()
    for name in ("jpg", "audio"):
        assert f"left out    {name}: it stays in the source: a view has texts and numbers" in files.plan()
    assert [*files.manifest().passed_through] == ["year", "box"]


def test_a_shard_cannot_lend_from_outside_its_source(tmp_path: Path) -> None:
    view = made(write_clip_retrieval(tmp_path / "theirs", [30]), tmp_path / "view", view=True)
    path = tmp_path / "view/shards" / view.commits[0].shard
    table = pq.read_table(path)
    text = table.schema.metadata[b"isoenergy.lent"].replace(b"img_emb/img_emb_0", b"../elsewhere/img_emb_0")
    pq.write_table(table.replace_schema_metadata({b"isoenergy.lent": text}), path)
    with pytest.raises(InputError, match=r"is no file of a source"):
        view.read_unit(view.commits[0].unit)
    rows = pa.array(range(30, 60), pa.int64())
    pq.write_table(table.set_column(1, table.schema.field("row"), rows), path)
    with pytest.raises(InputError, match=r"its rows are not from 0 to 30"):
        view.read_unit(view.commits[0].unit)


def test_an_older_manifest_is_no_view(tmp_path: Path) -> None:
    store = made(write_clip_retrieval(tmp_path / "theirs", [30]), tmp_path / "copy", view=False)
    text = store.manifest.to_json().replace('  "view_of": "",\n', "")
    assert Manifest.from_json(text) == store.manifest


def test_a_lance_dataset_is_imported_and_viewed_at_its_version(tmp_path: Path) -> None:
    place = tmp_path / "theirs/v.lance"
    lance.write_dataset(listed(), str(place), max_rows_per_file=3000)
    assert holds_vectors(str(place))
    copy, view = made(place, tmp_path / "copy", False), made(tmp_path / "theirs", tmp_path / "view", True)
    np.testing.assert_array_equal(copy.to_arrays().texts, arrays()["text"])
    assert copy.to_arrays().keys[-1] == f"k{ROWS - 1}"
    for record in copy.commits:
        assert view.read_unit(record.unit).replace_schema_metadata() == copy.read_unit(record.unit)
    lance.write_dataset(listed().slice(0, 10), str(place), mode="append")
    assert len(view.to_arrays()) == ROWS  # of the version that it was made of
    with pytest.raises(InputError, match=r"v\.lance of .* is not what .*view was made of"):
        made(place, tmp_path / "view", True)
    shutil.rmtree(place)
    with pytest.raises(InputError, match=r"v\.lance cannot be read"):
        view.to_arrays()


def test_rows_that_were_deleted_of_a_lance_dataset_are_none(tmp_path: Path) -> None:
    lance.write_dataset(listed().slice(0, 40), str(tmp_path / "v.lance"), max_rows_per_file=15).delete("year < 7")
    lance.write_dataset(listed().slice(0, 4), str(tmp_path / "other.lance"))
    view = made(tmp_path / "v.lance", tmp_path / "view", True)
    np.testing.assert_array_equal(view.to_arrays().images, arrays()["image"][7:40])
    with pytest.raises(InputError, match=r"holds 2 Lance datasets; give one"):
        open_vectors(str(tmp_path))


def test_the_plan_says_what_lies_where_it_stays(tmp_path: Path) -> None:
    images = torch.from_numpy(vectors(6, 0, "float32")).to(torch.bfloat16)
    texts = torch.from_numpy(vectors(6, 1, "float64"))
    safetensors.torch.save_file({"image": images, "text": texts}, tmp_path / "v.safetensors")
    plan = open_vectors(str(tmp_path / "v.safetensors")).viewed().plan()
    lent = "image (192 bytes of bfloat16), text (768 bytes of float64) stay where they are, and are read as float32"
    assert plan[-1] == f"lent        {lent}"
    for number, dtype in enumerate(("float16", "float32")):
        rows = {name: vectors(3 + number, 0, dtype) for name in ("image", "text")}
        columns = {name: pa.FixedSizeListArray.from_arrays(x.ravel(), WIDTH) for name, x in rows.items()}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    plan = open_vectors(f"{tmp_path}/*.parquet").viewed().plan()
    assert plan[-1].startswith("lent        image (96 bytes of float16 and 256 bytes of float32), text (96 bytes")
