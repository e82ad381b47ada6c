"""Paired vectors in Parquet: what is taken for a modality, what is refused by file, column and row, and their store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.splits import split_of
from isoenergy.store import EmbeddingStore, PairIndex
from isoenergy.store.paired_vectors import ROWS_A_UNIT
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from tests.store.stores import write_store
from workflows.training.vector_stores import store_of

ROWS = 40
AUDIO = np.random.default_rng(0).normal(size=(ROWS, 18)).astype(np.float32)
LYRICS = np.random.default_rng(1).normal(size=(ROWS, 20))


def fixed(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])


def columns(**others: object) -> dict[str, object]:
    return {"audio": fixed(AUDIO), "lyrics": pa.array(LYRICS.tolist(), pa.list_(pa.float64())), **others}


def write(folder: Path, name: str = "vectors.parquet", rows_a_group: int = 7, **others: object) -> str:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns(**others)), folder / name, row_group_size=rows_a_group)
    return str(folder / name)


def stored(uri: str, tmp_path: Path, modalities: str = "", **settings: bool) -> EmbeddingStore:
    place = store_of(uri, modalities, str(tmp_path / "output"), **settings)
    assert place is not None
    return EmbeddingStore.open(place)


def test_a_store_holds_the_vectors_and_what_stands_beside_them(tmp_path: Path) -> None:
    keys = [f"song {row}" for row in range(ROWS)]
    uri = write(tmp_path, id=keys, title=[key.upper() for key in keys], year=list(range(ROWS)))
    store = stored(uri, tmp_path)
    assert store.manifest.modalities == {"audio": 18, "lyrics": 20}
    assert (store.manifest.dtype, store.manifest.encoder) == ("float32", "")
    table = store.read_unit(store.commits[0].unit)
    assert table["key"].to_pylist() == keys
    assert table["caption"].to_pylist() == [key.upper() for key in keys]
    assert table["split"].to_pylist() == [split_of(key) for key in keys]
    assert table["year"].to_pylist() == list(range(ROWS))
    vectors = store.read_unit_vectors(store.commits[0].unit)
    np.testing.assert_array_equal(vectors["audio"], AUDIO)
    np.testing.assert_array_equal(vectors["lyrics"], LYRICS.astype(np.float32))
    assert PairIndex.build(store, "train").widths == {"audio": 18, "lyrics": 20}


def test_without_key_and_caption_a_row_is_called_by_its_place(tmp_path: Path) -> None:
    store = stored(write(tmp_path), tmp_path)
    table = store.read_unit(store.commits[0].unit, ["key", "caption"])
    assert table["key"][17].as_py() == table["caption"][17].as_py() == "vectors/000000017"


def test_half_precision_stays_and_modalities_can_be_chosen(tmp_path: Path) -> None:
    halves = {"b": fixed(AUDIO.astype(np.float16)), "a": fixed(-AUDIO.astype(np.float16))}
    uri = write(tmp_path, **halves)
    store = stored(uri, tmp_path, modalities="a,b")
    assert store.manifest.dtype == "float16"
    assert list(store.manifest.modalities) == ["a", "b"]
    arrays = store.read_unit_arrays(store.commits[0].unit)
    np.testing.assert_array_equal(arrays.images, -AUDIO.astype(np.float16))
    np.testing.assert_array_equal(arrays.texts, AUDIO.astype(np.float16))
    assert "audio" in open_vectors(uri, ("a", "b")).manifest().passed_through
    assert "audio" not in store.manifest.passed_through  # of a view: further vectors stay where they are


def test_splits_of_the_source_are_kept(tmp_path: Path) -> None:
    splits = ["train"] * (ROWS - 3) + ["test", "validation", "test"]
    store = stored(write(tmp_path, split=splits), tmp_path)
    assert (store.pairs_in("train"), store.pairs_in("test")) == (ROWS - 3, 2)
    assert len(PairIndex.build(store, "train")) == ROWS - 3


def test_a_copy_that_was_cut_short_goes_on_and_comes_out_the_same(tmp_path: Path) -> None:
    rows = 2 * ROWS_A_UNIT + 11
    generator = np.random.default_rng(2)
    for file in ("a.parquet", "b.parquet"):
        table = pa.table({name: fixed(generator.normal(size=(rows, 16)).astype("f2")) for name in ("x", "y")})
        (tmp_path / "files").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "files" / file, row_group_size=5000)
    whole = stored(str(tmp_path / "files"), tmp_path)
    files = open_vectors(str(tmp_path / "files"))
    for unit, record in zip(files.units(), whole.commits, strict=True):
        assert unit.name == record.unit
        assert record.embedded == unit.stop - unit.start  # type: ignore[operator]
    fingerprint, place = whole.fingerprint, Path(whole.uri)
    for record in (whole.commits[1], whole.commits[5]):
        (place / "commits" / f"{record.unit}.json").unlink()
        (place / "shards" / record.shard).unlink()
    kept = (place / "shards" / whole.commits[0].shard).stat().st_mtime_ns
    assert stored(str(tmp_path / "files"), tmp_path).fingerprint == fingerprint
    assert (place / "shards" / whole.commits[0].shard).stat().st_mtime_ns == kept
    expected = pq.read_table(tmp_path / "files" / "b.parquet").slice(ROWS_A_UNIT, ROWS_A_UNIT)
    found = whole.read_unit(whole.commits[4].unit)
    assert found["y"].to_pylist() == expected["y"].to_pylist()


def test_files_that_have_changed_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path)
    stored(uri, tmp_path)
    write(tmp_path, rows_a_group=9)
    with pytest.raises(InputError, match=r"vectors\.parquet of .* is not what .*store was made of; give another"):
        stored(uri, tmp_path)


def lists(row: int, value: Sequence[float | None] | None) -> pa.Array:
    rows: list[Sequence[float | None] | None] = LYRICS.tolist()
    rows[row] = value
    return pa.array(rows, pa.list_(pa.float64()))


BAD_ROWS = {
    "row 9: there is no lyrics vector": {"lyrics": lists(9, None)},
    "row 9: lyrics has 4 numbers, and others have 20": {"lyrics": lists(9, [1.0] * 4)},
    "row 0: lyrics has 0 numbers, and others have 20": {"lyrics": lists(0, [])},
    "row 9: lyrics lacks a number": {"lyrics": lists(9, [1.0, None] * 10)},
    "row 9: lyrics is not finite in float32": {"lyrics": lists(9, [1.0, float("nan")] * 10)},
    "row 8: lyrics is not finite in float32": {"lyrics": lists(8, [1e300] * 20)},
    "row 9: lyrics is zero": {"lyrics": lists(9, [0.0] * 20)},
    "row 8: lyrics is too large to be normalised": {"lyrics": lists(8, [3e38] * 20)},
    "row 9: lyrics is too small to be normalised": {"lyrics": lists(9, [1e-30] * 20)},
    "row 3": {"key": ["a", "b", "c", None, *map(str, range(4, ROWS))]},
    "row 2: the split is 'dev', and none of train, validation, test": {"split": ["train"] * 2 + ["dev"] * (ROWS - 2)},
}


@pytest.mark.parametrize("message", BAD_ROWS)
def test_a_bad_row_is_refused_by_file_row_and_column_or_left_out(message: str, tmp_path: Path) -> None:
    bad = BAD_ROWS[message]
    uri = write(tmp_path, **bad)
    with pytest.raises(InputError, match=rf"vectors\.parquet, {message}; mend the files?, or give --skip-bad-rows"):
        stored(uri, tmp_path)
    store = stored(uri, tmp_path, skip_bad_rows=True)
    (reason,) = store.rejected
    assert reason == "unusable_row"
    assert len(store) + store.rejected[reason] == store.rows_in == ROWS
    vectors = store.read_unit_vectors(store.commits[0].unit)
    assert all(np.isfinite(rows).all() and rows.any(axis=1).all() for rows in vectors.values())
    with pytest.raises(InputError, match="was made without"):
        stored(uri, tmp_path)


BAD_FILES = {
    r"has the columns name, of vectors: none.*; vectors are columns of lists": {"name": pa.array(["a"] * ROWS)},
    r"a modality cannot be called 'caption'; rename": {"audio": fixed(AUDIO), "caption": fixed(AUDIO)},
    r"a modality cannot be called 'layer\.3'; rename": {"audio": fixed(AUDIO), "layer.3": fixed(AUDIO)},
    r"b is left out: its lists have no one length": {
        "a": fixed(AUDIO),
        "b": pa.array([[0.5] * (16 + row) for row in range(ROWS)]),
    },
    r"box is left out: 4 numbers a row, and fewer than 16 may be no embedding; --modalities takes it": {
        "a": fixed(AUDIO),
        "box": fixed(AUDIO[:, :4].copy()),
    },
}


@pytest.mark.parametrize("message", BAD_FILES)
def test_files_without_paired_vectors_are_refused(message: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(BAD_FILES[message]), tmp_path / "vectors.parquet")
    with pytest.raises(InputError, match=message):
        stored(str(tmp_path / "vectors.parquet"), tmp_path)


def test_columns_that_are_not_there_and_files_that_differ_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path / "files")
    with pytest.raises(InputError, match="no column of vectors 'melody'; those it has are audio, lyrics"):
        stored(uri, tmp_path, modalities="audio,melody")
    pq.write_table(pa.table({"audio": fixed(AUDIO)}), tmp_path / "files" / "second.parquet")
    with pytest.raises(InputError, match=r"do not both have lyrics"):
        stored(str(tmp_path / "files"), tmp_path)
    (tmp_path / "files" / "second.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"second\.parquet is no Parquet file that can be read"):
        stored(str(tmp_path / "files"), tmp_path)


def test_files_that_differ_in_what_passes_through_are_read_together(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write(folder, "a.parquet", year=list(range(ROWS)), artist=["x"] * ROWS)
    write(folder, "b.parquet", year=[f"in {row}" for row in range(ROWS)], tags=[["u"]] * ROWS)
    halves = {"audio": fixed(AUDIO.astype(np.float64)), "lyrics": fixed(LYRICS)}
    pq.write_table(pa.table(halves | {"year": [0.5] * ROWS}), folder / "c.parquet")
    store = stored(str(folder), tmp_path)
    assert (len(store), store.manifest.modalities) == (3 * ROWS, {"audio": 18, "lyrics": 20})
    tables = [store.read_unit(commit.unit) for commit in store.commits]
    assert [table["year"][1].as_py() for table in tables] == ["1", "in 1", "0.5"]
    assert [table["artist"].null_count for table in tables] == [0, ROWS, ROWS]
    assert [table["tags"].null_count for table in tables] == [ROWS, 0, ROWS]


def test_null_among_vectors_of_one_length_and_text_that_is_none_cost_their_rows(tmp_path: Path) -> None:
    audio = pa.array([None, *AUDIO[1:].tolist()], pa.list_(pa.float32(), 18))
    keys = pa.array([b"%d" % row for row in range(ROWS - 1)] + [b"caf\xe9"]).view(pa.string())
    note = pa.array([b"caf\xe9"] * ROWS).view(pa.string())
    pq.write_table(pa.table(columns() | {"audio": audio, "key": keys, "note": note}), tmp_path / "vectors.parquet")
    with pytest.raises(InputError, match=r"1 row with a key that is not UTF-8, such as .*, row 39;"):
        stored(str(tmp_path / "vectors.parquet"), tmp_path)
    store = stored(str(tmp_path / "vectors.parquet"), tmp_path, skip_bad_rows=True)
    assert (len(store), dict(store.rejected)) == (ROWS - 2, {"unusable_row": 2})
    assert set(store.read_unit(store.commits[0].unit)["note"].to_pylist()) == {"caf?"}


def test_keys_that_stand_twice_are_refused_however_often_one_tries(tmp_path: Path) -> None:
    uri = write(tmp_path, key=["same"] * 2 + list(map(str, range(2, ROWS))))
    for _ in range(2):
        with pytest.raises(InputError, match=r"1 row with a key that stands before.* 'same'"):
            stored(uri, tmp_path)


def test_what_is_made_of_a_folder_does_not_lie_in_it(tmp_path: Path) -> None:
    write(tmp_path / "files")
    with pytest.raises(
        InputError, match=r"files/run/store lies in .*files, and the next run would take .*; give another"
    ):
        store_of(str(tmp_path / "files"), "", str(tmp_path / "files" / "run"))
    assert [file.name for file in (tmp_path / "files").iterdir()] == ["vectors.parquet"]
    for run in range(2):
        made = store_of(str(tmp_path / "files"), "", str(tmp_path / "files" / "_run"))
        assert made == f"{tmp_path}/files/_run/store", run


def test_stores_are_no_vectors_and_a_dry_run_copies_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_store(str(tmp_path / "stores" / "clip"), [5])
    assert not holds_vectors(store.uri)
    assert not holds_vectors(str(tmp_path / "stores"))
    assert store_of(store.uri, "", str(tmp_path / "output")) == store.uri
    with pytest.raises(InputError, match="is a store of image, text; --modalities chooses"):
        store_of(store.uri, "text,image", str(tmp_path / "output"))
    with pytest.raises(InputError, match="a plan needs a store of the vectors of"):
        store_of(write(tmp_path / "files"), "", str(tmp_path / "output"), dry_run=True)
    assert not capsys.readouterr().out  # half a plan would pass for all of it
    assert not (tmp_path / "output").exists()
