"""Vectors in files that belong together: joined by key, keys that stand twice, captions beside them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.store.vector_sources import open_vectors
from tests.store.given_vectors import columns, rows_of, stored, vectors, write_clip_retrieval
from workflows.training.vector_stores import VectorCopy


def parquet(place: Path, keys: list[int], **columns: Any) -> Path:
    place.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"key": [f"k{key}" for key in keys], **columns}), place)
    return place


def fixed(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])


@pytest.mark.parametrize("column", ["embedding", "own"])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_a_file_a_modality_is_joined_by_key(column: str, is_shuffled: bool, tmp_path: Path) -> None:
    own = {"images": "image_emb", "texts": "text_emb"} if column == "own" else {}
    order = np.random.default_rng(5).permutation(7) if is_shuffled else np.arange(7)
    images, texts = fixed(vectors(7, 0)), fixed(vectors(7, 1))
    parquet(tmp_path / "v/images.parquet", list(range(7)), **{own.get("images", column): images})
    titles = pa.array([f"t{row}" for row in order])
    parquet(tmp_path / "v/texts.parquet", order.tolist(), title=titles, **{own.get("texts", column): texts.take(order)})
    table = columns(stored(tmp_path / "v", tmp_path))
    assert table["key"].to_pylist() == [f"k{row}" for row in range(7)]
    assert table["caption"].to_pylist() == [f"t{row}" for row in range(7)]
    names = list(own.values()) or ["image", "text"]
    for name, seed in zip(names, (0, 1), strict=True):
        np.testing.assert_array_equal(rows_of(table, name), vectors(7, seed))


@pytest.mark.parametrize("name", ["image_path", "id"])
def test_clip_retrievals_key_is_one_in_any_file_that_has_no_other(name: str, tmp_path: Path) -> None:
    named = {"image_path": ["x.jpg", "y.jpg"], name: ["x.jpg", "y.jpg"]}
    (tmp_path / "v").mkdir()
    pq.write_table(pa.table(named | {"image": fixed(vectors(2, 0))}), tmp_path / "v/images.parquet")
    reverse = {column: list(reversed(keys)) for column, keys in named.items()}
    pq.write_table(pa.table(reverse | {"text": fixed(vectors(2, 1))}), tmp_path / "v/texts.parquet")
    table = columns(stored(tmp_path / "v", tmp_path / "joined"))
    assert table["key"].to_pylist() == ["x.jpg", "y.jpg"]
    np.testing.assert_array_equal(rows_of(table, "text"), vectors(2, 1)[::-1])
    both = {"image": fixed(vectors(2, 0)), "text": fixed(vectors(2, 1))}
    pq.write_table(pa.table(named | both), tmp_path / "plain.parquet")
    assert f"key         column {name}" in open_vectors(str(tmp_path / "plain.parquet")).plan()


def test_rows_that_have_no_fellow_of_their_key_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "v/images.parquet", [0, 1, 2, 3], embedding=fixed(vectors(4, 0)))
    parquet(tmp_path / "v/texts.parquet", [3, 1, 0], embedding=fixed(vectors(3, 1)))
    with pytest.raises(
        InputError, match=r"1 row without a fellow.*images\.parquet, row 2, key 'k2': .*texts\.parquet has none of"
    ):
        stored(tmp_path / "v", tmp_path / "one")
    store = stored(tmp_path / "v", tmp_path / "two", skip_bad_rows=True)
    assert (len(store), store.rejected) == (3, {"unusable_row": 1})
    np.testing.assert_array_equal(rows_of(columns(store), "text"), vectors(3, 1)[[2, 1, 0]])
    parquet(tmp_path / "v/texts.parquet", [3, 1, 0, 9], embedding=fixed(vectors(4, 1)))
    with pytest.raises(
        InputError, match=r"1 row without a place.*texts\.parquet, row 3, key 'k9': .*images\.parquet has none of"
    ):
        stored(tmp_path / "v", tmp_path / "three")
    parquet(tmp_path / "v/texts.parquet", [3, 1, 0, 3], embedding=fixed(vectors(4, 1)))
    with pytest.raises(
        InputError, match=r"1 row without a place.*texts\.parquet, row 3, key 'k3': the key stands before"
    ):
        stored(tmp_path / "v", tmp_path / "four")
    pq.write_table(pa.table({"embedding": fixed(vectors(4, 1))}), tmp_path / "v/texts.parquet")
    with pytest.raises(InputError, match=r"texts\.parquet holds one modality and no key"):
        open_vectors(str(tmp_path / "v"))


def test_rows_of_any_file_that_find_no_fellow_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parquet(tmp_path / "v/images.parquet", [0, 1, 2, 3], embedding=fixed(vectors(4, 0)))
    texts = pa.table({"key": ["k9", "k3", "k1", "k3", None], "embedding": fixed(vectors(5, 1))})
    pq.write_table(texts, tmp_path / "v/texts.parquet")
    store = stored(tmp_path / "v", tmp_path, skip_bad_rows=True)
    assert (len(store), store.rejected, store.rows_in) == (2, {"unusable_row": 2}, 4)
    assert columns(store)["key"].to_pylist() == ["k1", "k3"]
    np.testing.assert_array_equal(rows_of(columns(store), "text"), vectors(5, 1)[[2, 1]])
    assert "left out 3 rows without a place in the join by key" in caplog.text
    assert "texts.parquet, row 0, key 'k9'" in caplog.text
    pq.write_table(texts.slice(0, 0), tmp_path / "v/texts.parquet")
    with pytest.raises(InputError, match="text is left out: none of its first 1000 rows has one"):
        open_vectors(str(tmp_path / "v"))
    files = open_vectors(f"{tmp_path}/v/texts.parquet,{tmp_path}/v/images.parquet", ("image",))
    assert files.faulty_keys("images.parquet") == []


def test_all_that_is_wrong_with_keys_is_told_at_once(tmp_path: Path) -> None:
    images = {"key": ["k0", "k1", None, "k2", "k1", "k7", "k8"], "embedding": fixed(vectors(7, 0))}
    texts = {"key": ["k9", "k0", "k1", "k2"], "embedding": fixed(vectors(4, 1))}
    (tmp_path / "v").mkdir()
    pq.write_table(pa.table(images), tmp_path / "v/images.parquet")
    pq.write_table(pa.table(texts), tmp_path / "v/texts.parquet")
    copy = VectorCopy(open_vectors(str(tmp_path / "v")), str(tmp_path / "store"))
    said = [
        f"1 row without a place in the join by key, such as {tmp_path}/v/texts.parquet, row 0, key 'k9': "
        f"{tmp_path}/v/images.parquet has none of this key",
        f"2 rows without a fellow in the join by key, such as {tmp_path}/v/images.parquet, row 5, key 'k7': "
        f"{tmp_path}/v/texts.parquet has none of this key",
        f"1 row without a key, such as {tmp_path}/v/images.parquet, row 2",
        f"1 row with a key that stands before, such as {tmp_path}/v/images.parquet, row 4, key 'k1'",
    ]
    assert [line for line in copy.plan() if "bad keys" in line] == [f"bad keys    {fault}: refused" for fault in said]
    with pytest.raises(InputError, match=re.escape("; ".join(said))):
        copy.run()
    store = stored(tmp_path / "v", tmp_path, skip_bad_rows=True)
    assert (len(store), store.rejected) == (3, {"unusable_row": 3, "duplicate_key": 1})


def test_a_row_that_lacks_two_fellows_is_one_row(tmp_path: Path) -> None:
    for name, keys in (("images", [0, 1, 2]), ("texts", [0, 2]), ("audio", [0, 1])):
        parquet(tmp_path / f"v/{name}.parquet", keys, embedding=fixed(vectors(len(keys), 0)))
    assert [str(fault) for fault in open_vectors(str(tmp_path / "v")).faulty_keys("images.parquet")] == [
        f"2 rows without a fellow in the join by key, such as {tmp_path}/v/images.parquet, row 1, key 'k1': "
        f"{tmp_path}/v/texts.parquet has none of this key"
    ]


def test_a_key_that_repeats_is_found_before_the_copy_or_left_out(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4, 3])
    metadata = pq.read_table(folder / "metadata/metadata_0.parquet").slice(1, 3)
    pq.write_table(metadata, folder / "metadata/metadata_1.parquet")
    copy = VectorCopy(open_vectors(str(folder)), str(tmp_path / "store"))
    said = r"3 rows with a key that stands before, such as .*metadata/metadata_1\.parquet, row 0, key '000000001'"
    assert any(re.search(f"bad keys .*{said}", line) for line in copy.plan())
    with pytest.raises(InputError, match=said):
        copy.run()
    assert not (tmp_path / "store").exists()
    store = stored(folder, tmp_path, skip_bad_rows=True)
    assert (len(store), store.rejected) == (4, {"duplicate_key": 3})
    np.testing.assert_array_equal(rows_of(columns(store), "image"), vectors(4, 0))


def test_a_fault_is_told_of_the_file_that_has_it(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4, 3])
    second = folder / "metadata/metadata_1.parquet"
    metadata = pq.read_table(second)
    keys = pa.array(["a", None, "b"])
    pq.write_table(metadata.set_column(0, "image_path", keys), second)
    with pytest.raises(InputError, match=r"1 row without a key, such as .*metadata/metadata_1\.parquet, row 1;"):
        stored(folder, tmp_path)
    pq.write_table(metadata.drop_columns(["caption"]), second)
    with pytest.raises(InputError, match=r"metadata_0\.parquet and metadata/\S*_1\.parquet do not both have caption"):
        open_vectors(str(folder))
    pq.write_table(metadata.set_column(2, "url", pa.array([["a"]] * 3)), second)
    with pytest.raises(InputError, match=r"column 'url' holds .* in metadata/metadata_\d.* in metadata/metadata_\d"):
        open_vectors(str(folder))
    second.unlink()
    with pytest.raises(InputError, match=r"img_emb_1\.npy has no fellow in the metadata, of which there is meta"):
        open_vectors(str(folder))


@pytest.mark.parametrize("kind", ["c.csv", "c.jsonl", "c.parquet"])
def test_captions_that_are_not_utf8_are_counted(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "v.npz", image=vectors(2, 0), text=vectors(2, 1))
    if kind == "c.parquet":
        texts = pa.array([b"caf\xe9", "\ufffd".encode()]).view(pa.string())
        pq.write_table(pa.table({"caption": texts}), tmp_path / kind)
    else:
        texts = b"caption\ncaf\xe9\n\xef\xbf\xbd", b'{"caption": "caf\xe9"}\n{"caption": "\xef\xbf\xbd"}'
        (tmp_path / kind).write_bytes(texts[kind == "c.jsonl"])
    table = with_captions(tmp_path / "v.npz", tmp_path / kind, tmp_path)
    assert table["caption"].to_pylist() == ["caf\ufffd", "\ufffd"]
    assert "1 caption not UTF-8" in caplog.text


def test_captions_that_are_blank_are_counted_row_by_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "v.npz", image=vectors(4, 0), text=vectors(4, 1))
    (tmp_path / "c.csv").write_text('caption,year\n"",1\nthree,2\n"  ",3\nfour,4\n')
    with_captions(tmp_path / "v.npz", tmp_path / "c.csv", tmp_path / "some")
    assert "2 rows without a caption: it is blank" in caplog.text
    caplog.clear()
    np.savez(tmp_path / "w.npz", image=vectors(4, 0), text=vectors(4, 1))
    stored(tmp_path / "w.npz", tmp_path / "none")
    assert "blank" not in caplog.text


def with_captions(source: str | Path, captions: Path, tmp_path: Path) -> pa.Table:
    return columns(VectorCopy(open_vectors(str(source), (), "", str(captions)), str(tmp_path / "store")).run())


def test_captions_stand_beside_row_by_row_or_by_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", image=vectors(3, 0), text=vectors(3, 1))
    (tmp_path / "c.csv").write_text('caption,year\n"one, two",1\nthree,2\nfour,3\n')
    table = with_captions(tmp_path / "v.npz", tmp_path / "c.csv", tmp_path / "rows")
    assert table["caption"].to_pylist() == ["one, two", "three", "four"]
    assert table["year"].to_pylist() == ["1", "2", "3"]
    (tmp_path / "c.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    with pytest.raises(InputError, match=r"3 rows in v\.npz, 2 rows in c\.jsonl, which belong together"):
        open_vectors(str(tmp_path / "v.npz"), (), "", str(tmp_path / "c.jsonl"))
    np.savez(tmp_path / "v.npz", image=vectors(3, 0), text=vectors(3, 1), id=np.array(["a", "b", "c"]))
    (tmp_path / "c.jsonl").write_text('{"id": "c", "text": "third"}\n{"id": "x"}\n{"id": "a", "text": "first"}\n')
    table = with_captions(tmp_path / "v.npz", tmp_path / "c.jsonl", tmp_path / "keys")
    assert table["caption"].to_pylist() == ["first", "b", "third"]
    np.savez(tmp_path / "v.npz", image=vectors(3, 0), text=vectors(3, 1), picture=np.array(["a", "b", "c"]))
    (tmp_path / "c.csv").write_text("picture,caption\nc,third\nb,second\na,first\n")
    parts = open_vectors(str(tmp_path / "v.npz"), (), "picture", str(tmp_path / "c.csv"))
    table = columns(VectorCopy(parts, str(tmp_path / "asked")).run())
    assert table["key"].to_pylist() == ["a", "b", "c"]
    assert table["caption"].to_pylist() == ["first", "second", "third"]
    (tmp_path / "c.csv").write_text("name,year\nx,1\n")
    with pytest.raises(InputError, match=r"c\.csv has no column of captions"):
        open_vectors(str(tmp_path / "v.npz"), (), "", str(tmp_path / "c.csv"))


@pytest.fixture
def keyed(tmp_path: Path) -> Path:
    np.savez(
        tmp_path / "v.npz",
        image=vectors(3, 0),
        text=vectors(3, 1),
        id=np.array(["k 0 \u00e9", "k 1 \u00e9", "k 2 \u00e9"]),
    )
    return tmp_path / "v.npz"


def test_rows_and_captions_without_a_fellow_are_counted(
    keyed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "c.csv"
    table.write_text("id,caption\nk 0 \u00e9,zero\nx,x\nk 2 \u00e9,\ny,y\n")
    copy = VectorCopy(open_vectors(str(keyed), (), "", str(table)), str(tmp_path / "store"))
    said = [
        f"2 of 3 rows have no caption in {table}",
        f"2 of 4 rows of {table} are captions of no row, such as row 1, key 'x'",
    ]
    assert [line for line in copy.plan() if line.startswith("captions")] == [f"captions    {line}" for line in said]
    assert columns(copy.run())["caption"].to_pylist() == ["zero", "k 1 \u00e9", "k 2 \u00e9"]
    assert all(line in caplog.text for line in said)
    assert json.loads((tmp_path / "store/summary.json").read_text())["unplaced"] == said
    table.write_text("id,caption\nk 2 \u00e9,two\nk 1 \u00e9,one\nk 0 \u00e9,zero\n")
    captions = VectorCopy(open_vectors(str(keyed), (), "", str(table)), str(tmp_path / "whole"))
    assert not [line for line in captions.plan() if line.startswith("captions")]


def test_captions_of_several_files_are_counted_once(tmp_path: Path) -> None:
    parquet(tmp_path / "v/a.parquet", [0, 1], image=fixed(vectors(2, 0)), text=fixed(vectors(2, 1)))
    parquet(tmp_path / "v/b.parquet", [2, 3], image=fixed(vectors(2, 2)), text=fixed(vectors(2, 3)))
    table = pa.table({"key": ["k0", "k3", "k9"], "caption": pa.array(["a", "b", "c"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "c.parquet")
    files = open_vectors(str(tmp_path / "v"), (), "", str(tmp_path / "c.parquet"))
    found = files.joined_captions()
    assert found is not None
    assert (found.rows, found.captioned, found.table_rows, found.placed) == (4, 2, 3, 2)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_captions_of_which_no_key_is_known_are_refused(encoding: str, keyed: Path, tmp_path: Path) -> None:
    keys = ["0", "1"] if encoding == "utf-8" else ["k 0 \u00e9", "k 1 \u00e9"]
    table = "id,caption\n" + "".join(f"{key},one\n" for key in keys)
    (tmp_path / "c.csv").write_text(table, encoding=encoding)
    copy = VectorCopy(open_vectors(str(keyed), (), "", str(tmp_path / "c.csv")), str(tmp_path / "store"), True)
    why = "" if encoding == "utf-8" else r" \(2 keys of it not UTF-8: save it as UTF-8\)"
    with pytest.raises(InputError, match=rf"c\.csv has the key of no row .* such as 'k 0 \u00e9'{why}; give"):
        copy.run()
    assert not (tmp_path / "store").exists()
    (tmp_path / "c.csv").write_bytes(b"id,caption\nk 1 \xe9,one\n" + "k 2 \u00e9,two\n".encode())
    copy = VectorCopy(open_vectors(str(keyed), (), "", str(tmp_path / "c.csv")), str(tmp_path / "store"))
    assert any("such as row 0, key 'k 1 \ufffd' (1 key of it not UTF-8" in line for line in copy.plan())
