import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore, PairIndex
from isoenergy.store.index import survey_shards
from isoenergy.store.shards import Shards
from tests.store.small_store import DIM
from tests.store.stores import rewrite, with_column, with_row, write_store

Change = Callable[[pa.Table], pa.Table]


def trains(table: pa.Table) -> list[int]:
    """Rows of a shard's train pairs."""
    return [row for row, split in enumerate(table["split"].to_pylist()) if split == "train"]


def with_train_row(name: str, number: int, vector: list[float]) -> Change:
    return lambda table: with_row(table, name, trains(table)[number], vector)


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return write_store(str(tmp_path / "store"), [6, 0, 8, 1], others=3, refused=1)


def test_an_index_counts_the_pairs_of_a_split(store: EmbeddingStore) -> None:
    index = PairIndex.build(store, "train")
    assert index.counts == (6, 8, 1)
    assert index.shards == tuple(store.commits[number].shard for number in (0, 2, 3))
    assert index.starts.tolist() == [0, 6, 14, 15]
    assert len(index) == 15 == store.pairs_in("train")
    assert index.nbytes == 15 * 2 * DIM * 2
    assert not index.skipped
    assert len(PairIndex.build(store, "test")) == store.pairs_in("test")


def test_an_index_is_the_same_after_a_round_trip_through_json(store: EmbeddingStore) -> None:
    bad = rewrite(store, store.commits[2], with_train_row("image", 3, [np.inf, 0, 0]))
    index = PairIndex.build(bad, "train", skip_bad_rows=True)
    again = PairIndex.from_json(index.to_json())
    assert again == index
    assert again.starts.tolist() == index.starts.tolist()
    for text in ("", "[]", "{}", "null", index.to_json().replace('"widths"', '"width"')):
        with pytest.raises((ValueError, TypeError, KeyError)):
            PairIndex.from_json(text)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_means_are_those_of_unit_rows_however_shards_are_grouped(tmp_path: Path, dtype: str) -> None:
    store = write_store(str(tmp_path), [50, 1, 700, 3, 1200], others=5, dtype=dtype)  # type: ignore[arg-type]
    arrays = store.to_arrays("train")
    indices = []
    for size in (1, 2, 5):
        groups = [store.commits[start : start + size] for start in range(0, 5, size)]
        surveys = (survey_shards(store.shards, group, "train") for group in groups)
        indices.append(PairIndex.collect(store, "train", surveys))
    for index in indices:
        for name, rows in (("image", arrays.images), ("text", arrays.texts)):
            wide = rows.astype(np.float64)
            expected = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).mean(axis=0)
            np.testing.assert_allclose(index.means[name], expected, rtol=0, atol=1e-6)
        assert index.counts == indices[0].counts
        np.testing.assert_allclose(index.means["text"], indices[0].means["text"], rtol=0, atol=1e-12)


BAD_ROWS = [
    ("image", [np.nan, 1, 1], "image is not finite"),
    ("text", [1, np.inf, 1], "text is not finite"),
    ("text", [1, 1, -np.inf], "text is not finite"),
    ("image", [0, 0, 0], "image is zero"),
    ("text", [-0.0, 0, 0], "text is zero"),
]


@pytest.mark.parametrize(("name", "vector", "message"), BAD_ROWS)
def test_a_row_that_cannot_be_trained_on_is_named_and_can_be_skipped(
    store: EmbeddingStore, name: str, vector: list[float], message: str
) -> None:
    clean = PairIndex.build(store, "train")
    shard = store.commits[2].shard
    store = rewrite(store, store.commits[2], with_train_row(name, 5, vector))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=f"1 pair cannot .*{shard}, row .*, key .*: {message}.*--skip-bad"):
            PairIndex.build(store, "train")
        index = PairIndex.build(store, "train", skip_bad_rows=True)
    assert index.counts == (6, 7, 1)
    assert index.skipped == {shard: (5,)}
    for modality in ("image", "text"):
        kept = np.delete(getattr(store.to_arrays("train"), f"{modality}s").astype(float), 6 + 5, axis=0)
        unit = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        np.testing.assert_allclose(index.means[modality], unit.mean(axis=0), atol=1e-6)
    assert index.means != clean.means


def test_several_bad_rows_are_counted_and_the_first_shown(store: EmbeddingStore) -> None:
    for number in (4, 1, 0):
        store = rewrite(store, store.commits[0], with_train_row("image", number, [0, 0, 0]))
    store = rewrite(store, store.commits[0], with_train_row("text", 1, [np.nan, 0, 0]))
    store = rewrite(store, store.commits[3], with_train_row("text", 0, [0, 0, 0]))
    with pytest.raises(InputError, match=r"4 pairs .* row .*image is zero.* row .* row .*; …;"):
        PairIndex.build(store, "train")
    index = PairIndex.build(store, "train", skip_bad_rows=True)
    assert index.skipped == {store.commits[0].shard: (0, 1, 4)}
    assert index.shards == (store.commits[0].shard, store.commits[2].shard)
    assert index.counts == (3, 8)


def test_bad_rows_of_other_splits_do_not_matter(store: EmbeddingStore) -> None:
    table = store.read_unit(store.commits[0].unit)
    other = next(row for row in range(len(table)) if row not in trains(table))
    store = rewrite(store, store.commits[0], lambda table: with_row(table, "image", other, [np.nan, 0, 0]))
    assert PairIndex.build(store, "train").counts == (6, 8, 1)


def test_rows_of_float32_that_a_norm_cannot_hold_are_bad(tmp_path: Path) -> None:
    store = write_store(str(tmp_path), [4], dtype="float32")
    store = rewrite(store, store.commits[0], with_train_row("image", 2, [1e30, 1e30, 0]))
    store = rewrite(store, store.commits[0], with_train_row("text", 1, [1e-30, 0, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match=r"row 1, .*text is zero; .*row 2, .*too large to be normalised"):
            PairIndex.build(store, "train")
        assert PairIndex.build(store, "train", skip_bad_rows=True).counts == (2,)


def wider(table: pa.Table) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(np.ones(len(table) * 2 * DIM, np.float16), 2 * DIM)
    return with_column(table, "image", vectors)


def of_any_width(table: pa.Table) -> pa.Table:
    return with_column(table, "image", table["image"].cast(pa.list_(pa.float16())))


def with_key_twice(table: pa.Table) -> pa.Table:
    keys, rows = table["key"].to_pylist(), trains(table)
    keys[rows[1]] = keys[rows[4]]
    return with_column(table, "key", pa.array(keys))


def with_key_in_another_split(table: pa.Table) -> pa.Table:
    splits = table["split"].to_pylist()
    splits[2] = "test" if splits[2] == "train" else "train"
    return with_column(table, "split", pa.array(splits))


def with_null(name: str) -> Change:
    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[2] = None
        return with_column(table, name, pa.array(values, table.schema.field(name).type))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wider, f"image is .*{2 * DIM}.* width {DIM}"),
        (of_any_width, f"image is list.* width {DIM}"),
        (lambda table: table.drop_columns(["text"]), "has no column text; it has key, row, split, caption, image"),
        (lambda table: table.drop_columns(["split", "key"]), "has no column key, split"),
        (with_key_twice, "has more than one pair of key '"),
        (with_key_in_another_split, "row 2: key '.*' is in the "),
        (with_null("key"), "row 2: key None .* belongs to none"),
        (with_null("split"), "row 2: key '.*' is in the None split"),
        (with_null("image"), "cannot be read"),
    ],
)
def test_a_shard_that_is_not_well_formed_is_refused_even_if_bad_rows_are_skipped(
    store: EmbeddingStore, change: Change, message: str
) -> None:
    shard = store.commits[2].shard
    store = rewrite(store, store.commits[2], change)
    for skip_bad_rows in (False, True):
        with pytest.raises(InputError, match=f"{shard}.*{message}"):
            PairIndex.build(store, "train", skip_bad_rows)


def test_a_flipped_byte_is_found(store: EmbeddingStore) -> None:
    file = Path(store.uri) / "shards" / store.commits[2].shard
    data = bytearray(file.read_bytes())
    for place in (4, len(data) // 2, len(data) - 1):
        data[place] ^= 1
        file.write_bytes(data)
        with pytest.raises(InputError, match=f"{file.name} is not the file that was committed"):
            PairIndex.build(store, "train")
        data[place] ^= 1
    file.unlink()
    with pytest.raises(InputError, match=f"{file.name} cannot be read"):
        PairIndex.build(store, "train")


def test_a_split_without_pairs_is_refused(tmp_path: Path, store: EmbeddingStore) -> None:
    empty = write_store(str(tmp_path / "empty"), [0, 0], others=2)
    with pytest.raises(InputError, match="has no pairs in its train split"):
        PairIndex.build(empty, "train")
    for record in Path(store.uri).glob("commits/*.json"):
        record.unlink()
    with pytest.raises(InputError, match="has no pairs in its train split"):
        PairIndex.build(EmbeddingStore.open(store.uri), "train")


def test_a_shard_whose_only_pairs_are_bad_is_no_shard(store: EmbeddingStore) -> None:
    store = rewrite(store, store.commits[3], with_train_row("image", 0, [0, 0, 0]))
    index = PairIndex.build(store, "train", skip_bad_rows=True)
    assert index.counts == (6, 8)
    assert not index.skipped


def test_one_modality_is_looked_at_alone(store: EmbeddingStore) -> None:
    store = rewrite(store, store.commits[2], lambda table: table.drop_columns(["text"]))
    survey = survey_shards(Shards(store.uri, {"image": DIM}), store.commits, "train")
    index = PairIndex.collect(store, "train", [survey])
    assert index.means.keys() == {"image"}
    assert index.nbytes == 15 * DIM * 2
