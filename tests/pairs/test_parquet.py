from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.parquet import PairColumns, ParquetPairs


def write(file: Path, rows: int, **extra: list) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [f"{file.stem}-{name}-{row}" for row in range(rows)] for name in ("key", "image", "caption")}
    pq.write_table(pa.table(columns | extra), file, row_group_size=3)


@pytest.mark.parametrize("rows_per_unit", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("rows_per_batch", [1, 2, 100])
def test_units_cover_every_row_once(tmp_path: Path, rows_per_unit: int, rows_per_batch: int) -> None:
    write(tmp_path / "a.parquet", 10)
    write(tmp_path / "sub" / "b.parquet", 4)
    source = ParquetPairs(str(tmp_path), PairColumns())
    read, names = [], set()
    for unit in source.units(rows_per_unit):
        names.add(unit.name)
        batches = list(source.read(unit, rows_per_batch))
        assert sum(len(batch) for batch in batches) == unit.rows
        read += [key.decode() for batch in batches for key in batch["key"].to_pylist()]
    assert read == [f"a-key-{row}" for row in range(10)] + [f"b-key-{row}" for row in range(4)]
    assert len(names) == len(source.units(rows_per_unit))


def test_files_that_flatten_to_one_name_make_different_units(tmp_path: Path) -> None:
    write(tmp_path / "a-b.parquet", 1)
    write(tmp_path / "a" / "b.parquet", 1)
    names = [unit.name for unit in ParquetPairs(str(tmp_path), PairColumns()).units(5)]
    assert len(set(names)) == 2


def test_one_file_is_a_source(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 2)
    write(tmp_path / "b.parquet", 2)
    assert ParquetPairs(str(tmp_path / "a.parquet"), PairColumns()).rows == {"a.parquet": 2}


def test_extra_columns_pass_through_and_names_can_be_given(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "bytes": [b"i"], "TEXT": ["t"], "width": [3]})
    pq.write_table(table, tmp_path / "a.parquet")
    source = ParquetPairs(str(tmp_path), PairColumns(key="id", image="bytes", caption="TEXT"))
    (batch,) = source.read(source.units(9)[0], 9)
    assert batch.to_pylist() == [{"key": b"1", "image": b"i", "caption": b"t", "width": 3}]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_strings_may_be_stored_in_any_way(tmp_path: Path, kind: pa.DataType) -> None:
    columns = {
        "key": pa.array(["a", "b"]).cast(kind),
        "image": [b"i", b"j"],
        "caption": pa.array(["x", "x"]).cast(kind),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    source = ParquetPairs(str(tmp_path), PairColumns())
    (batch,) = source.read(source.units(9)[0], 9)
    assert batch["key"].to_pylist() == source.keys("a.parquet").to_pylist() == [b"a", b"b"]
    assert batch["caption"].to_pylist() == [b"x", b"x"]


def test_images_come_back_by_row(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 8)
    images = ParquetPairs(str(tmp_path), PairColumns()).images("a.parquet", [1, 5, 7])
    assert images == {row: f"a-image-{row}".encode() for row in (1, 5, 7)}


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 2)
    first = ParquetPairs(str(tmp_path), PairColumns()).fingerprint()
    assert ParquetPairs(str(tmp_path), PairColumns()).fingerprint() == first
    write(tmp_path / "a.parquet", 3)
    assert ParquetPairs(str(tmp_path), PairColumns()).fingerprint() != first


def test_bad_sources_are_named(tmp_path: Path) -> None:
    def message(path: Path, **columns: str) -> str:
        with pytest.raises(InputError) as caught:
            ParquetPairs(str(path), PairColumns(**columns))
        return str(caught.value)

    assert "does not exist" in message(tmp_path / "nowhere")
    assert "no .parquet files" in message(tmp_path)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.parquet").write_bytes(b"not parquet")
    assert "not a readable Parquet file" in message(tmp_path / "junk")
    write(tmp_path / "good" / "a.parquet", 2)
    assert "'TEXT' for the caption; it has key, image, caption" in message(tmp_path / "good", caption="TEXT")
    write(tmp_path / "good" / "b.parquet", 2, extra=[1, 2])
    assert "different columns" in message(tmp_path / "good")
    write(tmp_path / "none" / "a.parquet", 0)
    assert "have no rows" in message(tmp_path / "none") or "must hold strings" in message(tmp_path / "none")
