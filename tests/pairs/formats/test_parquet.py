import base64
import io
import os
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.captions import Captions
from isoenergy.pairs.formats.arrow import ArrowPairs
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import PairColumns, PairUnit, RawPairs, SourceConfig
from tests.pairs.download.faulty import Faulty
from tests.pairs.made_up_pairs import encoded_image


def columns(stem: str, rows: int) -> dict[str, pa.Array]:
    text = {name: [f"{stem}-{name}-{row}" for row in range(rows)] for name in ("key", "image", "caption")}
    kinds = {"image": pa.binary()}
    return {name: pa.array(values, kinds.get(name, pa.string())) for name, values in text.items()}


def write(file: Path, rows: int, **extra: list | pa.Array) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns(file.stem, rows) | extra), file, row_group_size=3)


def opened(path: Path, **columns: str) -> ParquetPairs:
    return ParquetPairs(str(path), PairColumns(**columns))


def everything(source: ParquetPairs, rows_per_unit: int = 1000, rows_per_batch: int = 1000) -> RawPairs:
    return RawPairs.joined([b for unit in source.units(rows_per_unit) for b in source.read(unit, rows_per_batch)])


def reasons(pairs: RawPairs) -> list[Reason | None]:
    return [rejection and rejection.reason for rejection in pairs.rejections]


@pytest.mark.parametrize("rows_per_unit", [1, 2, 3, 4, 7, 100])
@pytest.mark.parametrize("rows_per_batch", [1, 2, 100])
def test_units_cover_every_row_once(tmp_path: Path, rows_per_unit: int, rows_per_batch: int) -> None:
    write(tmp_path / "a.parquet", 10)
    write(tmp_path / "sub" / "b.parquet", 4)
    source = opened(tmp_path)
    read, names = [], set()
    for unit in source.units(rows_per_unit):
        names.add(unit.name)
        batches = list(source.read(unit, rows_per_batch))
        assert all(len(batch) == rows_per_batch for batch in batches[:-1])
        assert [row for batch in batches for row in batch.rows] == list(range(unit.start, unit.stop))
        read += [key.decode() for batch in batches for key in batch.keys]
    assert read == [f"a-key-{row}" for row in range(10)] + [f"b-key-{row}" for row in range(4)]
    assert len(names) == len(source.units(rows_per_unit))


def test_files_that_flatten_to_one_name_make_different_units(tmp_path: Path) -> None:
    write(tmp_path / "a-b.parquet", 1)
    write(tmp_path / "a" / "b.parquet", 1)
    names = [unit.name for unit in opened(tmp_path).units(5)]
    assert len(set(names)) == 2


@pytest.mark.parametrize("file", ["x" * 250 + ".parquet", "café #1?%20\n.parquet", ".", "_hidden.parquet", "a.b/c"])
def test_the_name_of_a_unit_is_the_plain_name_of_a_visible_file(file: str) -> None:
    name = PairUnit(file, 7, 8).name
    assert name.isascii()
    assert name[0].isalnum()
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789.-_")
    assert len(name) < 150


def test_one_file_is_a_source_and_what_programs_leave_is_none(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 2)
    write(tmp_path / "b.PARQUET", 2)
    assert opened(tmp_path / "a.parquet").rows == {"a.parquet": 2}
    for name in ("._a.parquet", "_tmp/c.parquet", ".cache/d.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "_SUCCESS").touch()
    assert opened(tmp_path).rows == {"a.parquet": 2, "b.PARQUET": 2}


def test_extra_columns_pass_through_and_names_can_be_given(tmp_path: Path) -> None:
    table = pa.table({"id": ["1"], "bytes": [b"i"], "TEXT": ["t"], "width": [3]})
    pq.write_table(table, tmp_path / "a.parquet")
    batch = everything(opened(tmp_path, key="id", image="bytes", caption="TEXT"))
    assert (batch.keys, batch.images, batch.captions) == ([b"1"], [b"i"], [b"t"])
    assert batch.passed_through.to_pylist() == [{"width": 3}]


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_strings_may_be_stored_in_any_way(tmp_path: Path, kind: pa.DataType) -> None:
    table = {
        "key": pa.array(["a", "b"]).cast(kind),
        "image": [b"i", b"j"],
        "caption": pa.array(["x", "x"]).cast(kind),
        "source": pa.array(["s", None]).cast(kind),
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    source = opened(tmp_path)
    batch = everything(source)
    assert batch.keys == source.keys("a.parquet").to_pylist() == [b"a", b"b"]
    assert batch.captions == [b"x", b"x"]
    plain = pa.binary() if kind == pa.binary() else pa.string()
    assert batch.passed_through.schema == source.passed_through == pa.schema([("source", plain)])
    assert batch.passed_through["source"].cast(pa.string()).to_pylist() == ["s", None]


def test_the_usual_names_are_found_in_any_case_and_integers_are_keys(tmp_path: Path) -> None:
    pq.write_table(pa.table({"SAMPLE_ID": [7, 8], "JPG": [b"i", b"j"], "TEXT": ["x", "y"]}), tmp_path / "a.parquet")
    source = opened(tmp_path)
    batch = everything(source)
    assert (batch.keys, batch.images, batch.captions) == ([b"7", b"8"], [b"i", b"j"], [b"x", b"y"])
    assert source.keys_may_repeat
    assert source.passed_through.names == []


def test_a_column_of_a_usual_name_that_cannot_play_the_role_passes_through(tmp_path: Path) -> None:
    """LAION-400M's SAMPLE_ID is a float; img2dataset's `key` stands beside it; a list of tags may be called `text`."""
    table = {"SAMPLE_ID": [1.5], "image": ["i.jpg"], "jpg": [b"i"], "caption": [["tag"]], "text": ["t"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    source = opened(tmp_path)
    batch = everything(source)
    assert (batch.keys, batch.images, batch.captions) == ([b"a/000000000"], [b"i"], [b"t"])
    assert source.passed_through.names == ["SAMPLE_ID", "image", "caption"]
    with pytest.raises(InputError, match="column 'SAMPLE_ID' holds double; that for the key must hold strings or int"):
        opened(tmp_path, key="SAMPLE_ID")


def test_without_a_key_column_file_and_row_are_the_key(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"i", b"j", b"k"], "caption": list("xyz")}), tmp_path / "a.parquet")
    source = opened(tmp_path)
    assert not source.keys_may_repeat
    assert everything(source, 2, 1).keys == [b"a/000000000", b"a/000000001", b"a/000000002"]


def test_the_images_of_hugging_face_are_structs(tmp_path: Path) -> None:
    images = [{"bytes": b"i", "path": "i.jpg"}, {"bytes": None, "path": "j.jpg"}, None]
    pq.write_table(pa.table({"id": list("abc"), "image": images, "text": list("xyz")}), tmp_path / "a.parquet")
    source = opened(tmp_path)
    assert everything(source).images == [b"i", None, None]
    assert source.images("a.parquet", [0, 2]) == {0: b"i", 2: None}


def test_images_come_back_by_row_from_one_reading(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 8)
    images = opened(tmp_path).images("a.parquet", [7, 1, 5, 99])
    assert images == {row: f"a-image-{row}".encode() for row in (1, 5, 7)}


# --- files that differ ---------------------------------------------------------------------------------------------


def test_files_may_store_the_same_columns_in_different_ways(tmp_path: Path) -> None:
    def stored(name: str, schema: list[pa.Field], **values: list) -> None:
        pq.write_table(pa.table(values, pa.schema(schema, metadata={"by": name})), tmp_path / f"{name}.parquet")

    values = {"image": [b"i", b"j"], "text": ["x", "y"], "licence": ["a", "b"], "tags": [["t"], []]}
    kinds = [pa.binary(), pa.string(), pa.string(), pa.list_(pa.string())]
    stored("a", [pa.field(n, kind) for n, kind in zip(values, kinds, strict=True)], **values)
    kinds = [pa.large_binary(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.large_list(pa.string())]
    stored("b", [pa.field(n, kind, nullable=False) for n, kind in zip(values, kinds, strict=True)][::-1], **values)
    stored("c", [pa.field("licence", pa.null()), *[pa.field(n, k) for n, k in zip(values, kinds, strict=True)][:2],
                 pa.field("tags", pa.list_(pa.string()))], **values | {"licence": [None, None]})  # fmt: skip
    source = opened(tmp_path)
    pairs = everything(source)
    assert pairs.images == [b"i", b"j"] * 3
    assert pairs.captions == [b"x", b"y"] * 3
    assert pairs.passed_through["licence"].to_pylist() == ["a", "b", "a", "b", None, None]
    assert pairs.passed_through["tags"].to_pylist() == [["t"], []] * 3


def test_files_may_differ_in_columns_that_pass_through_and_in_the_width_of_numbers(tmp_path: Path) -> None:
    for name, kind, extra in (
        ("a", pa.int32(), {}),
        ("b", pa.int64(), {"extra": ["x"]}),
        ("c", pa.uint8(), {"other": [7]}),
    ):
        columns = {"image": [b"i"], "text": [name], "width": pa.array([9], kind)} | extra
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    source = opened(tmp_path)
    assert source.passed_through == pa.schema([("width", pa.int64()), ("extra", pa.string()), ("other", pa.int64())])
    pairs = everything(source)
    assert pairs.captions == [b"a", b"b", b"c"]
    assert pairs.passed_through.to_pylist() == [
        {"width": 9, "extra": None, "other": None}, {"width": 9, "extra": "x", "other": None},
        {"width": 9, "extra": None, "other": 7},
    ]  # fmt: skip
    pq.write_table(pa.table({"image": [b"i"], "caption": ["d"]}), tmp_path / "d.parquet")
    with pytest.raises(InputError, match=r"d\.parquet has no column text, and other files of .* do; embed them apart"):
        opened(tmp_path, caption="text")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (pa.array([2**53 + 1]), pa.array([0.5]), [2.0**53, 0.5]),
        (pa.array([7]), pa.array(["x"]), ["7", "x"]),
        (pa.array([5], pa.timestamp("ms")), pa.array([7], pa.timestamp("us")), [5000, 7]),
        (pa.array([[7]]), pa.array([[0.5]]), [[7.0], [0.5]]),
    ],
)
def test_files_may_differ_in_the_kind_of_what_passes_through(
    tmp_path: Path, one: pa.Array, other: pa.Array, together: list
) -> None:
    for first, second in ((one, other), (other, one)):
        for name, values in (("a", first), ("b", second)):
            pq.write_table(pa.table({"image": [b"i"], "text": ["t"], "n": values}), tmp_path / f"{name}.parquet")
        pairs = everything(opened(tmp_path))
        assert pairs.rejections == [None, None]
        found = pairs.passed_through["n"]
        found = found.cast(pa.int64()) if pa.types.is_timestamp(found.type) else found
        assert sorted(found.to_pylist()) == sorted(together)


def test_a_value_that_the_common_type_cannot_hold_costs_its_row(tmp_path: Path) -> None:
    for name, values in (("a", pa.array([1], pa.int64())), ("b", pa.array([2, 2**63 + 1, 3], pa.uint64()))):
        rows = len(values)
        pq.write_table(
            pa.table({"image": [b"i"] * rows, "text": ["t"] * rows, "n": values}), tmp_path / f"{name}.parquet"
        )
    pairs = everything(opened(tmp_path))
    assert [r and r.reason for r in pairs.rejections] == [None, None, Reason.UNREADABLE_ROW, None]
    assert pairs.passed_through["n"].to_pylist() == [1, 2, None, 3]


RAW = pa.struct([("raw", pa.string())])
KINDS_OF_LISTS = [pa.list_(pa.string()), pa.large_list(pa.large_string()), pa.list_(RAW)]
LISTS = [["a", "b"], ["c"], [], None, ["d", None, "e"]]


@pytest.mark.parametrize("kind", KINDS_OF_LISTS)
@pytest.mark.parametrize("with_keys", [False, True])
def test_each_caption_of_a_list_is_a_pair(tmp_path: Path, kind: pa.DataType, with_keys: bool) -> None:
    values = [
        None if v is None else [{"raw": t} if pa.types.is_struct(kind.value_type) else t for t in v] for v in LISTS
    ]
    columns = {"image": [b"0", b"1", b"2", b"3", b"4"], "caption": pa.array(values, kind), "n": range(5)}
    keys = {"key": [f"k{n}" for n in range(5)]} if with_keys else {}
    pq.write_table(pa.table(columns | keys), tmp_path / "a.parquet", row_group_size=2)
    source = opened(tmp_path)
    pairs = everything(source)
    assert pairs.captions == [b"a", b"b", b"c", None, None, b"d", None, b"e"]
    assert pairs.images == [b"0", b"0", b"1", b"2", b"3", b"4", b"4", b"4"]
    assert pairs.passed_through["n"].to_pylist() == [0, 0, 1, 2, 3, 4, 4, 4]
    stems = [f"k{n}" if with_keys else f"a/{n:09d}" for n in (0, 0, 1, 2, 3, 4, 4, 4)]
    assert [k.decode() for k in pairs.keys] == [
        s + e for s, e in zip(stems, ("#0", "#1", "", "", "", "#0", "#1", "#2"), strict=True)
    ]
    assert sum(unit.stop - unit.start for unit in source.units(3)) == 8
    cut = [batch for unit in source.units(3) for batch in source.read(unit, 2)]
    assert RawPairs.joined(cut).keys == pairs.keys
    assert source.images("a.parquet", [1, 5, 7]) == {1: b"0", 5: b"4", 7: b"4"}
    if with_keys:
        assert source.keys("a.parquet").to_pylist() == pairs.keys
    (some,) = source.read(PairUnit("a.parquet", 0, 8), 9, [1, 6])
    assert (some.rows, some.captions) == ([1, 6], [b"b", None])


def test_one_caption_of_a_list_may_be_chosen(tmp_path: Path) -> None:
    texts = [[f"{row}-{n}" for n in range(5)] for row in range(40)]
    pq.write_table(pa.table({"image": [b"i"] * 40, "caption": texts}), tmp_path / "a.parquet")

    def chosen(choice: str, seed: int = 0) -> list[bytes]:
        return everything(ParquetPairs(str(tmp_path), PairColumns(), Captions(choice, seed))).captions

    assert chosen("first") == [f"{row}-0".encode() for row in range(40)]
    drawn = chosen("random")
    assert [text.split(b"-")[0] for text in drawn] == [str(row).encode() for row in range(40)]
    assert len({text.split(b"-")[1] for text in drawn}) == 5
    assert chosen("random") == drawn
    assert chosen("random", 1) != drawn


def test_a_key_that_is_the_image_s_may_be_left_out(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x", "x"], "image": [b"i", b"i"], "text": ["t", "u"]}), tmp_path / "a.parquet")
    source = opened(tmp_path, key="none")
    assert not source.keys_may_repeat
    pairs = everything(source)
    assert pairs.keys == [b"a/000000000", b"a/000000001"]
    assert pairs.passed_through["id"].to_pylist() == ["x", "x"]


def test_a_file_of_the_short_suffix_is_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"i"], "text": ["t"]}), tmp_path / "a.pq")
    assert everything(opened(tmp_path)).captions == [b"t"]


def test_files_with_other_types_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "types" / "a.parquet", 2, width=[1, 2])
    write(tmp_path / "types" / "b.parquet", 2, width=[[1.5], [2]])
    with pytest.raises(InputError, match=r"'width' holds int64 in a\.parquet and list<.*> in b\.parquet"):
        opened(tmp_path / "types")
    twice = pa.table([pa.array([b"i"]), pa.array(["t"]), pa.array(["u"])], ["image", "text", "text"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="two columns of one name"):
        opened(tmp_path / "twice.parquet")


# --- files that are spoilt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"junk", "cut short", "not UTF-8"])
def test_a_spoilt_file_is_one_rejected_pair_among_good_ones(tmp_path: Path, content: bytes | str) -> None:
    write(tmp_path / "a.parquet", 2)
    write(tmp_path / "b.parquet", 200)
    write(tmp_path / "c.parquet", 2)
    spoilt = tmp_path / "b.parquet"
    whole = spoilt.read_bytes()
    spoiling = {"cut short": whole[:-100], "not UTF-8": whole.replace(b"caption", b"capt\xffon")}
    spoilt.write_bytes(content if isinstance(content, bytes) else spoiling[content])
    source = opened(tmp_path)
    units = source.units(2)
    assert [(unit.file, unit.start, unit.stop) for unit in units] == [
        ("a.parquet", 0, 2), ("b.parquet", 0, None), ("c.parquet", 0, 2)
    ]  # fmt: skip
    (batch,) = source.read(units[1], 2)
    assert (batch.rows, batch.images, reasons(batch)) == ([0], [None], [Reason.UNREADABLE_FILE])
    assert len(batch.rejections[0].detail) > 10
    assert source.keys("b.parquet").to_pylist() == []
    assert source.images("b.parquet", [0]) == {}
    assert everything(source).keys == [b"a-key-0", b"a-key-1", b"b/000000000", b"c-key-0", b"c-key-1"]
    assert list(source.read(units[1], 2, rows=[])) == []


def test_a_file_that_is_mended_while_it_is_read_is_not_taken_for_spoilt(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 2)
    (tmp_path / "b.parquet").write_bytes(b"half a file")
    source = opened(tmp_path)
    write(tmp_path / "b.parquet", 2)
    with pytest.raises(OSError, match="run the same command again"):
        list(source.read(source.units(9)[1], 9))


def test_a_file_that_is_gone_or_may_not_be_read_is_an_error_of_its_unit_alone(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"{name}.parquet", 2)
    os.symlink("nowhere", tmp_path / "d.parquet")
    source = opened(tmp_path)
    (tmp_path / "b.parquet").unlink()
    read, failed = [], []
    for unit in source.units(9):
        try:
            read += [key for batch in source.read(unit, 9) for key in batch.keys]
        except OSError:
            failed.append(unit.file)
    assert read == [b"a-key-0", b"a-key-1", b"c-key-0", b"c-key-1"]
    assert failed == ["b.parquet", "d.parquet"]


def checked_file(file: Path, rows: int = 12) -> None:
    """Three row groups with checksums of their pages."""
    pq.write_table(pa.table(columns(file.stem, rows)), file, row_group_size=4, write_page_checksum=True)


def spoil(file: Path, group: int, column: int) -> None:
    content = bytearray(file.read_bytes())
    chunk = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(group).column(column)
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("column", [0, 1, 2], ids=["key", "image", "caption"])
@pytest.mark.parametrize("rows_per_unit", [3, 100])
@pytest.mark.parametrize("rows_per_batch", [1, 5, 100])
def test_rows_that_cannot_be_read_are_rejected_one_by_one_and_no_others(
    tmp_path: Path, column: int, rows_per_unit: int, rows_per_batch: int
) -> None:
    checked_file(tmp_path / "a.parquet")
    spoil(tmp_path / "a.parquet", 1, column)
    source = opened(tmp_path)
    pairs = everything(source, rows_per_unit, rows_per_batch)
    assert pairs.rows == list(range(12))
    lost = range(4, 8)
    assert reasons(pairs) == [Reason.UNREADABLE_FILE if row in lost else None for row in range(12)]
    assert pairs.images == [None if row in lost else f"a-image-{row}".encode() for row in range(12)]
    assert pairs.keys == [f"a/{row:09d}".encode() if row in lost else f"a-key-{row}".encode() for row in range(12)]
    known = [None if row in lost and column == 0 else f"a-key-{row}".encode() for row in range(12)]
    assert source.keys("a.parquet").to_pylist() == known
    assert source.images("a.parquet", [3, 5]) == {3: b"a-image-3", 5: None if column == 1 else b"a-image-5"}


def test_rows_before_a_spoilt_page_are_read(tmp_path: Path) -> None:
    table = pa.table({"image": [os.urandom(1000) for _ in range(100)], "caption": [f"c{n}" for n in range(100)]})
    file = tmp_path / "a.parquet"
    pq.write_table(
        table, file, write_page_checksum=True, data_page_size=10_000, write_batch_size=1, use_dictionary=False
    )
    spoil(file, 0, 0)
    pairs = everything(opened(tmp_path), rows_per_batch=5)
    assert pairs.rows == list(range(100))
    good = [row for row, reason in enumerate(reasons(pairs)) if reason is None]
    assert good == list(range(len(good)))
    assert 30 < len(good) < 60
    assert pairs.images[: len(good)] == table["image"].to_pylist()[: len(good)]


@pytest.mark.parametrize("rows", [4, 12])
def test_a_file_that_has_other_rows_than_when_it_was_listed_is_not_read(tmp_path: Path, rows: int) -> None:
    write(tmp_path / "a.parquet", 9)
    source = opened(tmp_path)
    write(tmp_path / "a.parquet", rows)
    with pytest.raises(OSError, match=f"had 9 rows when it was listed, now {rows}"):
        list(source.read(source.units(100)[0], 100))


def test_a_row_group_is_never_held_whole(tmp_path: Path) -> None:
    rows, size = 4000, 30_000
    image = os.urandom(size)
    table = pa.table({"image": [image[n:] + image[:n] for n in range(rows)], "caption": ["c"] * rows})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=rows, use_dictionary=False)
    del table
    source = opened(tmp_path)
    before, most, read = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    for batch in source.read(source.units(rows)[0], 50):
        most = max(most, pa.total_allocated_bytes() - before)
        read += sum(map(len, batch.images))
    most += tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == rows * size
    assert most < 0.6 * rows * size


@pytest.mark.parametrize("rows_per_batch", [1, 100])
def test_storage_that_fails_on_the_way_is_not_taken_for_a_spoilt_file(rows_per_batch: int) -> None:
    place = Faulty.place()
    sink = io.BytesIO()
    images = [os.urandom(1000) for _ in range(300)]  # enough for the middle not to be read with the footer
    pq.write_table(pa.table(columns("a", 300) | {"image": images}), sink, row_group_size=100)
    Faulty().pipe_file(f"{place}/a.parquet", sink.getvalue())
    source = ParquetPairs(f"faulty://{place}", PairColumns())
    (unit,) = source.units(300)
    assert everything(source).images == images
    Faulty.broken = range(len(sink.getvalue()) // 2, len(sink.getvalue()) // 2 + 1)
    with pytest.raises(OSError, match=r"a\.parquet: LookupError: no such luck"):
        list(source.read(unit, rows_per_batch))
    with pytest.raises(OSError, match="no such luck"):
        source.images("a.parquet", [150])


def test_bad_sources_are_named(tmp_path: Path) -> None:
    def message(path: Path, **columns: str) -> str:
        with pytest.raises(InputError) as caught:
            opened(path, **columns)
        return str(caught.value)

    assert "no .parquet files" in message(tmp_path)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "a.parquet").write_bytes(b"not parquet")
    assert "holds no readable Parquet file: " in message(tmp_path / "junk")
    write(tmp_path / "good" / "a.parquet", 2)
    assert "'TEXT' for the caption; it has key, image, caption" in message(tmp_path / "good", caption="TEXT")
    write(tmp_path / "none" / "a.parquet", 0)
    assert "have no rows" in message(tmp_path / "none")
    pq.write_table(pa.table({"image": ["i.jpg"], "caption": ["c"]}), tmp_path / "paths.parquet")
    assert "no column of bytes for the image" in message(tmp_path / "paths.parquet")
    assert "among image (string), caption (string)" in message(tmp_path / "paths.parquet")
    with open(os.fsencode(tmp_path / "junk") + b"/caf\xe9.parquet", "wb"):
        assert "not UTF-8; rename it" in message(tmp_path / "junk")


EMPTY_STRUCT = pa.struct([])
OF_ODD_TYPES = {
    "empty_struct": (pa.array([{}, None], EMPTY_STRUCT), ["{}", None]),
    "empty_structs": (pa.array([[{}], None], pa.list_(EMPTY_STRUCT)), ["[{}]", None]),
    "interval": (pa.array([(1, 2, 3), None], pa.month_day_nano_interval()), ["[1, 2, 3]", None]),
    "repeated": (pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), ["x"]), ['"x"', '"x"']),
    "box": (pa.array([[1, 2], None], pa.list_(pa.int64(), 2)), [[1, 2], None]),
    "boxes": (pa.array([[[1, 2], None], None], pa.list_(pa.list_(pa.int64(), 2))), [[[1, 2], None], None]),
    "nothing": (pa.array([[], None], pa.list_(pa.int64(), 0)), [[], None]),
    "view": (pa.array([[1], None], pa.list_view(pa.int64())), [[1], None]),
    "text": (pa.array([b"\xff\xfe", b"x"], pa.binary()).view(pa.string()), ["??", "x"]),
    "texts": (
        pa.array([[b"\xff", None], None], pa.list_(pa.binary())).view(pa.list_(pa.string())),
        [["?", None], None],
    ),
}


@pytest.mark.parametrize("name", OF_ODD_TYPES)
def test_what_passes_through_can_be_stored_and_read_again(tmp_path: Path, name: str) -> None:
    values, expected = OF_ODD_TYPES[name]
    table = pa.table({"image": [b"i", b"j"], "caption": ["c", "d"], name: values})
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    source = ArrowPairs(str(tmp_path), PairColumns())
    pairs = everything(source)
    assert pairs.rejections == [None, None]
    pq.write_table(pa.table(pairs.passed_through.columns, source.passed_through), tmp_path / "shard")
    assert pq.read_table(tmp_path / "shard").to_pylist() == [{name: value} for value in expected]


def test_a_caption_in_arrow_that_is_not_utf8_costs_its_own_row(tmp_path: Path) -> None:
    captions = pa.array([b"\xff", b"d"], pa.binary()).view(pa.string())
    table = pa.table({"image": [b"i", b"j"], "caption": captions})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    pairs = everything(ArrowPairs(str(tmp_path), PairColumns()))
    assert (pairs.captions, pairs.rejections) == ([b"\xff", b"d"], [None, None])


def no_fetch(names: Iterable[Sequence[str | None]]) -> Iterator[list[bytes | Rejected]]:
    del names
    return iter(())


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_a_struct_without_bytes_is_the_image_that_its_path_names(tmp_path: Path, kind: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "1.png").write_bytes(encoded_image("PNG", seed=1))
    own = encoded_image("PNG", seed=2)
    values = [
        {"bytes": None, "path": "sub/1.png"}, {"bytes": own, "path": "sub/1.png"}, None, {"bytes": None, "path": None},
        *({"bytes": None, "path": path} for path in ("../out.png", "gone.png", "/etc/hosts")),
    ]  # fmt: skip
    table = pa.table({"image": pa.array(values, STRUCT), "text": list("abcdefg")})
    if kind == "parquet":
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    else:
        with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    uri = str(tmp_path / f"a.{kind}")
    for images in ("", str(tmp_path)):
        source = open_source(SourceConfig(uri, images=images), no_fetch)
        assert source.format == kind
        pairs = everything(source, rows_per_batch=3)
        assert pairs.images == [encoded_image("PNG", seed=1), own, None, None, None, None, None]
        why = [None, None, None, None, Reason.UNSAFE_PATH, Reason.MISSING_IMAGE, Reason.UNSAFE_PATH]
        assert reasons(pairs) == why
        assert source.images(f"a.{kind}", range(7)) == dict(enumerate(pairs.images))


@pytest.mark.parametrize(
    "kind", [pa.struct([("path", pa.string())]), pa.struct([("bytes", pa.null()), ("path", pa.large_string())])]
)
def test_a_struct_of_paths_alone_names_its_images(tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "0.png").write_bytes(b"an image")
    pq.write_table(pa.table({"image": pa.array([{"path": "0.png"}], kind), "text": ["t"]}), tmp_path / "a.parquet")
    assert everything(opened(tmp_path / "a.parquet")).images == [b"an image"]


def test_images_that_are_in_the_file_need_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", 1)
    with pytest.raises(InputError, match="has its images in itself; leave out --images"):
        open_source(SourceConfig(str(tmp_path / "a.parquet"), images=str(tmp_path)), no_fetch)


def test_base64_in_a_column_of_bytes_is_decoded(tmp_path: Path) -> None:
    image = encoded_image("PNG")
    text = base64.b64encode(image)
    values = [
        text,
        image,
        b"data:image/png;base64," + text,
        text[:40] + b"\n" + text[40:],
        b"neither",
        text[:-5] + b"*",
    ]
    pq.write_table(pa.table({"image": pa.array(values), "caption": list("abcdef")}), tmp_path / "a.parquet")
    pairs = everything(opened(tmp_path))
    assert pairs.images == [image, image, image, image, b"neither", None]
    assert reasons(pairs) == [None] * 5 + [Reason.UNREADABLE_IMAGE]
    structs = pa.array([{"bytes": text, "path": "x.png"}], STRUCT)
    pq.write_table(pa.table({"image": structs, "caption": ["a"]}), tmp_path / "a.parquet")
    assert everything(opened(tmp_path)).images == [image]


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
@pytest.mark.parametrize("share", [0.5, 0.6, 0.7])
def test_what_stands_before_the_cut_of_an_arrow_file_is_kept(tmp_path: Path, new: Any, share: float) -> None:
    table = pa.table({"image": [b"i%d" % n for n in range(20)], "caption": [["a", "b"]] * 20})
    sink = pa.BufferOutputStream()
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    content = sink.getvalue().to_pybytes()
    (tmp_path / "a.arrow").write_bytes(content[: int(len(content) * share)])
    pairs = everything(ArrowPairs(str(tmp_path), PairColumns()), rows_per_batch=3)
    kept = len(pairs) - 1
    assert kept >= 8
    assert pairs.images[:kept] == [b"i%d" % (pair // 2) for pair in range(kept)]
    assert reasons(pairs) == [None] * kept + [Reason.UNREADABLE_FILE]


@pytest.mark.parametrize("new", [pa.ipc.new_stream, pa.ipc.new_file])
def test_an_arrow_file_that_its_program_did_not_finish_says_so(tmp_path: Path, new: Any) -> None:
    table = pa.table(columns("a", 4))
    sink = pa.BufferOutputStream()
    writer = new(sink, table.schema)
    writer.write_table(table, max_chunksize=2)
    (tmp_path / "a.arrow").write_bytes(sink.getvalue().to_pybytes())
    pairs = everything(ArrowPairs(str(tmp_path), PairColumns()))
    assert pairs.captions[:4] == [b"a-caption-%d" % row for row in range(4)]
    assert reasons(pairs) == [None] * 4 + [Reason.UNREADABLE_FILE]
    assert "without the mark of its end" in pairs.rejections[4].detail
    (tmp_path / "a.arrow").write_bytes(b"ARROW1")
    with pytest.raises(InputError, match="holds no readable Arrow file"):
        ArrowPairs(str(tmp_path), PairColumns())


def test_columns_in_dictionaries_and_of_large_and_view_types(tmp_path: Path) -> None:
    texts = pa.array(["a", None, "a"])
    lists = [["a", "a"], None, ["a", "a"]]
    kinds = (pa.large_list(pa.large_string()), pa.list_(pa.string(), 2))
    forms = [texts.dictionary_encode(), texts.cast(pa.large_string()), *(pa.array(lists, kind) for kind in kinds)]
    for number, captions in enumerate(forms):
        images = pa.array([b"i", b"j", b"k"], pa.large_binary() if number % 2 else pa.binary())
        table = pa.table({"image": images.dictionary_encode() if number == 0 else images, "caption": captions})
        pq.write_table(table, tmp_path / "a.parquet")
        pairs = everything(ParquetPairs(str(tmp_path), PairColumns(), Captions("first")))
        assert (pairs.images, pairs.captions) == ([b"i", b"j", b"k"], [b"a", None, b"a"])


def test_null_among_lists_of_one_length_costs_no_other_row(tmp_path: Path) -> None:
    plain = pa.list_(pa.float32(), 2)
    for kind, rows in (
        (plain, [[1, 2], None, [3, 4]]),
        (pa.struct([("a", plain)]), [{"a": [1, 2]}, None, {"a": None}]),
    ):
        write(tmp_path / "a.parquet", 3, extra=pa.array(rows, kind), at=pa.array([0, 1, 2], pa.timestamp("s", "UTC")))
        pairs = everything(opened(tmp_path))
        assert reasons(pairs) == [None] * 3
        assert pairs.passed_through["extra"].to_pylist() == rows
        assert pairs.passed_through["at"].type == pa.timestamp("ms", "UTC")
