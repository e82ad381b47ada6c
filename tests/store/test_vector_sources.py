"""Vectors as clip-retrieval and others leave them: what is taken for what, what is refused, and their store."""

import io
import os
import shutil
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore, StoreWriter, array_files
from isoenergy.store.paired_vectors import ROWS_A_UNIT
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from tests.store.given_vectors import WIDTH, columns, rows_of, stored, vectors, write_clip_retrieval
from workflows.training.vector_stores import VectorCopy, store_of


@pytest.mark.parametrize(("dtype", "digits"), [("float16", 0), ("float32", 4)])
def test_clip_retrievals_folders_become_a_store(dtype: str, digits: int, tmp_path: Path) -> None:
    counts = [5, 3, *[1] * 8, 4, 2]
    store = stored(write_clip_retrieval(tmp_path / "theirs", counts, dtype, digits), tmp_path)
    table = columns(store)
    assert (store.manifest.dtype, store.manifest.modalities) == (dtype, {"image": WIDTH, "text": WIDTH})
    order = np.argsort(table["key"].to_pylist())
    for name, seed in (("image", 0), ("text", 1)):
        expected = np.concatenate([vectors(rows, 2 * shard + seed, dtype) for shard, rows in enumerate(counts)])
        np.testing.assert_array_equal(rows_of(table, name)[order], expected.astype(np.float64))
    sorted_rows = table.take(order)
    assert sorted_rows["caption"].to_pylist() == [f"picture {row}" for row in range(sum(counts))]
    assert sorted_rows["url"][7].as_py() == "https://example.org/7.jpg"
    assert sorted_rows["similarity"][7].as_py() == 0.7


def test_the_plan_says_what_is_taken_for_what(tmp_path: Path) -> None:
    plan = open_vectors(str(write_clip_retrieval(tmp_path, [5, 3]))).plan()
    assert f"{tmp_path}: 8 rows in 6 files" in plan[0]
    assert plan[1:4] == [
        f"modality    image: {WIDTH} numbers a row, of img_emb/img_emb_0.npy … img_emb/img_emb_1.npy",
        f"modality    text: {WIDTH} numbers a row, of text_emb/text_emb_0.npy … text_emb/text_emb_1.npy",
        "key         column image_path",
    ]
    assert plan[-1] == f"stored      float16, {8 * 2 * WIDTH * 2} bytes of vectors"


def test_metadata_may_lack_and_its_columns_may_have_the_names_of_modalities(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4])
    pq.write_table(pa.table({"text": list("abcd"), "image": list("efgh")}), folder / "metadata/metadata_0.parquet")
    table = columns(stored(folder, tmp_path / "one"))
    assert table["caption"].to_pylist() == list("abcd")
    assert table["source_image"].to_pylist() == list("efgh")
    np.testing.assert_array_equal(rows_of(table, "text"), vectors(4, 1))
    (folder / "metadata/metadata_0.parquet").unlink()
    assert columns(stored(folder, tmp_path / "two"))["key"][3].as_py() == "img_emb/img_emb_0.npy/000000003"


def test_shards_of_which_one_lacks_or_has_other_rows_are_named(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4, 3, 2])
    np.save(folder / "text_emb/text_emb_1.npy", vectors(2, 0))
    with pytest.raises(
        InputError, match=r"3 rows in img_emb/img_emb_1\.npy, 2 rows in text_emb/text_emb_1\.npy, 3 row"
    ):
        open_vectors(str(folder))
    (folder / "text_emb/text_emb_1.npy").unlink()
    with pytest.raises(
        InputError, match=r"img_emb_1\.npy has no fellow in text, of which there is text_emb/text_emb_0"
    ):
        open_vectors(str(folder))
    (folder / "img_emb/img_emb_1.npy").unlink()
    with pytest.raises(InputError, match=r"metadata/metadata_1\.parquet has no vectors"):
        open_vectors(str(folder))
    (folder / "metadata/metadata_1.parquet").unlink()
    assert open_vectors(str(folder)).rows == {"img_emb/img_emb_0.npy": 4, "img_emb/img_emb_2.npy": 2}


def test_a_number_that_no_shard_has_is_in_the_plan(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [2] * 12, digits=3)
    assert not [line for line in open_vectors(str(folder)).plan() if line.startswith("lacks")]
    for number in (1, 7):
        for file in folder.glob(f"*/*_{number:03}.*"):
            file.unlink()
    (line,) = [line for line in open_vectors(str(folder)).plan() if line.startswith("lacks")]
    assert "no file of number 1, 7 among 0 to 11:" in line
    for name in ("a_20200101", "b_20261231"):
        pq.write_table(
            pa.table({"image": list(vectors(2, 0)), "text": list(vectors(2, 1))}), tmp_path / f"{name}.parquet"
        )
    dated = f"{tmp_path}/a_20200101.parquet,{tmp_path}/b_20261231.parquet"
    assert not [line for line in open_vectors(dated).plan() if line.startswith("lacks")]


def vectors_in_parquet(folder: Path) -> Path:
    """Put clip-retrieval's vectors into Parquet, a column `embedding` each; metadata has lists that are none."""
    for file in folder.glob("*_emb/*.npy"):
        pq.write_table(pa.table({"embedding": list(np.load(file))}), file.with_suffix(".parquet"))
        file.unlink()
    for file in folder.glob("metadata/*.parquet"):
        table = pq.read_table(file)
        pq.write_table(table.append_column("bbox", pa.array([[0.5] * 4] * len(table))), file)
    return folder


def test_shards_of_these_folders_may_be_parquet(tmp_path: Path) -> None:
    counts = [5, 3, 1]
    arrays = columns(stored(write_clip_retrieval(tmp_path / "arrays", counts), tmp_path / "one")).sort_by("key")
    folder = vectors_in_parquet(write_clip_retrieval(tmp_path / "theirs", counts))
    (folder / "img_emb/img_emb_1.parquet").rename(folder / "img_emb/img_emb_01.parquet")
    table = columns(stored(folder, tmp_path / "two")).sort_by("key")
    assert len(table) == 9
    for name in ("key", "caption", "url", "image", "text"):
        assert table[name].to_pylist() == arrays[name].to_pylist()
    shutil.rmtree(folder / "metadata")
    assert open_vectors(str(folder)).rows == dict(
        zip([f"img_emb/img_emb_{number}.parquet" for number in ("0", "01", "2")], counts, strict=True)
    )
    short = {"embedding": list(vectors(2, 0))}
    pq.write_table(pa.table(short), folder / "text_emb/text_emb_1.parquet")
    with pytest.raises(InputError, match=r"3 rows in img_emb/img_emb_01\.parquet, 2 rows in text_emb/text_emb_1\.parq"):
        open_vectors(str(folder))
    (folder / "text_emb/text_emb_1.parquet").unlink()
    with pytest.raises(InputError, match=r"img_emb_01\.parquet has no fellow in text, of which there is text_emb/text"):
        open_vectors(str(folder))


def test_one_modality_in_parquet_has_its_metadata_beside_it(tmp_path: Path) -> None:
    folder = vectors_in_parquet(write_clip_retrieval(tmp_path / "theirs", [5, 3]))
    shutil.rmtree(folder / "text_emb")
    table = columns(VectorCopy(open_vectors(str(folder), ("image",)), str(tmp_path / "store")).run())
    assert table["caption"].to_pylist() == [f"picture {row}" for row in range(8)]
    np.testing.assert_array_equal(rows_of(table, "image"), np.concatenate([vectors(5, 0), vectors(3, 2)]))


def test_files_of_vectors_that_nothing_calls_images_and_texts_are_not_put_side_by_side(tmp_path: Path) -> None:
    for name, seed in (("part-a", 0), ("part-b", 1)):
        pq.write_table(pa.table({"embedding": list(vectors(4, seed))}), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match=r"part-a\.parquet holds one modality and no key to join it"):
        open_vectors(str(tmp_path))


def test_a_bad_row_is_named_by_file_and_row_or_left_out(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4, 3])
    bad = vectors(3, 3)
    bad[2, 5] = np.nan
    np.save(folder / "text_emb/text_emb_1.npy", bad)
    with pytest.raises(InputError, match=r"text_emb/text_emb_1\.npy, row 2: text is not finite in float16"):
        stored(folder, tmp_path / "one")
    store = stored(folder, tmp_path / "two", skip_bad_rows=True)
    assert (len(store), store.rejected) == (6, {"unusable_row": 1})


def test_keys_that_stand_twice_can_be_left_to_files_and_rows(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4, 3])
    metadata = pq.read_table(folder / "metadata/metadata_0.parquet").slice(0, 3)
    pq.write_table(metadata, folder / "metadata/metadata_1.parquet")
    with pytest.raises(InputError, match=r"3 rows with a key that stands before.*import --key none"):
        stored(folder, tmp_path / "one")
    assert len(stored(folder, tmp_path / "two", key="none")) == 7
    with pytest.raises(
        InputError, match=r"no column of keys 'similarity', which is of double; those .* are image_path, caption, url"
    ):
        open_vectors(str(folder), (), "similarity")


def test_a_copy_that_was_killed_goes_on_and_no_range_is_more_than_a_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [2 * ROWS_A_UNIT + 7, ROWS_A_UNIT + 1])
    whole = stored(folder, tmp_path / "whole")
    commit, read_range = StoreWriter.commit, array_files.read_range
    sizes: list[int] = []

    def dying(writer: StoreWriter, *arguments: Any) -> Any:
        if len(writer.committed()) == 2:
            raise KeyboardInterrupt
        return commit(writer, *arguments)

    def counting(filesystem: Any, path: str, start: int, stop: int) -> bytes:
        sizes.append(stop - start)
        return read_range(filesystem, path, start, stop)

    monkeypatch.setattr(StoreWriter, "commit", dying)
    with pytest.raises(KeyboardInterrupt):
        stored(folder, tmp_path)
    monkeypatch.setattr(StoreWriter, "commit", commit)
    monkeypatch.setattr(array_files, "read_range", counting)
    shards = list((tmp_path / "store/shards").iterdir())
    times = [shard.stat().st_mtime_ns for shard in shards]
    assert stored(folder, tmp_path).fingerprint == whole.fingerprint
    assert [shard.stat().st_mtime_ns for shard in shards] == times
    assert len(shards) == 2
    units = [size for size in sizes if size > 2**14]
    assert sorted(units) == [ROWS_A_UNIT * WIDTH * 2] * 2
    assert sum(sizes) - sum(units) <= 4 * 2**14 + 4 * 7 * WIDTH * 2


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


def npy(header: str, data: bytes = bytes(4 * WIDTH * 2), version: int = 1, length: int | None = None) -> bytes:
    size = (len(header) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def shaped(shape: str, kind: str = "'<f2'", is_fortran: bool = False) -> str:
    return f"{{'descr': {kind}, 'fortran_order': {is_fortran}, 'shape': {shape}, }}\n"


HOSTILE = {
    r"magic string is not correct": b"PK\x03\x04 no array at all",
    r"Python objects": saved(np.array([Evil()] * 4, object)),
    r"Fortran order": saved(np.asfortranarray(vectors(4, 0))),
    r"are 128 bytes, and it has 96": npy(shaped(f"(4, {WIDTH})"), bytes(96)),
    r"are 128 bytes, and it has 160": npy(shaped(f"(4, {WIDTH})"), bytes(160)),
    r"are 32,[0,]+ bytes, and it has 128": npy(shaped(f"({10**30}, {WIDTH})")),
    r"a shape of \(-4, -16\)": npy(shaped("(-4, -16)")),
    r"EOF: reading array header": npy("", b"", 2, 2**32 - 1),
    r"version 9\.0": npy(shaped("(4, 16)"), version=9),
    r"EOF in multi-line statement|Cannot parse header": npy("(" * 500),
    r"malformed node or string": npy("__import__('os').mkdir('unpickled')"),
    r"holds no vectors: it is \|V\d+ of shape \(4,\)": saved(np.zeros(4, [("x", "<f4"), ("y", "<i8")])),
    r"holds no vectors: it is <i8 of shape \(4, 16\)": saved(np.zeros((4, WIDTH), np.int64)),
    r"holds no vectors: it is <f4 of shape \(4,\)": saved(np.zeros(4, np.float32)),
    r"holds no vectors: it is <f2 of shape \(1, 131072\)": saved(np.zeros((1, 2**17), np.float16)),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_a_header_is_not_believed(message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_clip_retrieval(tmp_path / "theirs", [4])
    (folder / "text_emb/text_emb_0.npy").write_bytes(HOSTILE[message])
    with pytest.raises(InputError, match=message) as raised:
        open_vectors(str(folder))
    assert "text_emb/text_emb_0.npy" in str(raised.value)
    assert not Path("unpickled").exists()


def test_a_pair_of_files_is_named_with_a_comma(tmp_path: Path) -> None:
    for name, seed in (("images", 0), ("texts", 1), ("audio", 2)):
        np.save(tmp_path / f"{name}.npy", vectors(4, seed, "float64").astype(">f8"))
    source = f"{tmp_path}/texts.npy,{tmp_path}/images.npy"
    assert holds_vectors(source)
    store = stored(source, tmp_path)
    assert (list(store.manifest.modalities), store.manifest.dtype) == (["image", "text"], "float32")
    np.testing.assert_array_equal(rows_of(columns(store), "text"), vectors(4, 1, "float64").astype(np.float32))
    files = open_vectors(f"{tmp_path}/images.npy,{tmp_path}/audio.npy", ("audio", "image"))
    assert list(files.columns.widths) == ["audio", "image"]
    alone = open_vectors(f"{tmp_path}/images.npy")
    assert list(alone.columns.widths) == ["image"]
    assert alone.plan()[2].startswith("alone       one modality: `train --beta 0` takes it, and `apply` for codes")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_in_a_zip_are_columns(save: Any, tmp_path: Path) -> None:
    rows = ROWS_A_UNIT + 5
    ids = np.array([f"row {row}" for row in range(rows)])
    arrays = {"text_features": vectors(rows, 1), "image_features": vectors(rows, 0), "id": ids}
    save(tmp_path / "v.npz", **arrays, label=np.arange(rows), scale=np.array(3.5))
    store = stored(tmp_path / "v.npz", tmp_path)
    table = columns(store)
    assert list(store.manifest.modalities) == ["image", "text"]
    assert table["key"].to_pylist() == ids.tolist()
    assert table["label"].to_pylist() == list(range(rows))
    np.testing.assert_array_equal(rows_of(table, "image"), vectors(rows, 0))
    np.testing.assert_array_equal(rows_of(table, "text"), vectors(rows, 1))


def test_arrays_of_other_lengths_are_named_and_modalities_choose_among_them(tmp_path: Path) -> None:
    source = str(tmp_path / "v.npz")
    arrays = {"image": vectors(6, 0), "text": vectors(6, 1), "order": np.arange(9), "axes": vectors(9, 0)[:, :3]}
    np.savez(source, **arrays)
    assert list(open_vectors(source).columns.widths) == ["image", "text"]
    np.savez(source, **arrays, means=vectors(2, 2), scale=np.array(3.5))
    with pytest.raises(InputError, match=r"2 rows in means, which belong together; .* or --modalities that have as"):
        open_vectors(source)
    files = open_vectors(source, ("image", "text"))
    assert list(files.columns.widths) == ["image", "text"]
    left = [line for line in files.plan() if line.startswith("left out")]
    assert left == [
        "left out    order: <i8 of shape (9,), and there are 6 rows",
        "left out    axes: <f2 of shape (9, 3), and there are 6 rows",
        "left out    means: <f2 of shape (2, 16), and there are 6 rows",
        "left out    scale: <f8 of shape (), and there are 6 rows",
    ]


def test_a_zip_that_lies_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "v.npz", image=vectors(4000, 0), text=vectors(4000, 1))
    whole = (tmp_path / "v.npz").read_bytes()
    (tmp_path / "v.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"v\.npz has no header that can be used"):
        open_vectors(str(tmp_path / "v.npz"))
    (tmp_path / "v.npz").write_bytes(whole[:60_000] + bytes(100) + whole[60_100:])
    with pytest.raises(InputError, match=r"v\.npz cannot be read \(its member (image|text)\.npy is spoilt"):
        stored(tmp_path / "v.npz", tmp_path)
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("image.npy", saved(np.array([Evil()] * 4, object)))
    with pytest.raises(InputError, match="Python objects"):
        open_vectors(str(tmp_path / "v.npz"))


def test_tensors_are_columns(tmp_path: Path) -> None:
    images = torch.from_numpy(vectors(6, 0, "float32")).to(torch.bfloat16)
    save_file({"image_embeds": images, "text_embeds": torch.from_numpy(vectors(6, 1))}, tmp_path / "v.safetensors")
    store = stored(tmp_path / "v.safetensors", tmp_path)
    assert store.manifest.dtype == "float32"
    np.testing.assert_array_equal(rows_of(columns(store), "image"), images.float().numpy())
    data = (tmp_path / "v.safetensors").read_bytes()
    for spoilt in (data[:-2], (2**40).to_bytes(8, "little") + data[8:], data.replace(b'"F16"', b'"F32"'), b"abc"):
        (tmp_path / "v.safetensors").write_bytes(spoilt)
        with pytest.raises(InputError, match=r"v\.safetensors has no header that can be used"):
            open_vectors(str(tmp_path / "v.safetensors"))


def test_saved_datasets_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "img": pa.array(vectors(30, 0, "float32").tolist(), pa.list_(pa.float32())),
            "txt": pa.array(vectors(30, 1, "float32").tolist(), pa.list_(pa.float32(), WIDTH)),
            "caption": [f"c{row}" for row in range(30)],
        }
    )
    for number in range(2):
        place = str(tmp_path / f"data-{number:05d}-of-00002.arrow")
        with pa.OSFile(place, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    (tmp_path / "cache-12.arrow").write_bytes(b"")
    (tmp_path / "state.json").write_text("{}")
    store = stored(tmp_path, tmp_path)
    assert (len(store), store.manifest.modalities) == (60, {"img": WIDTH, "txt": WIDTH})
    np.testing.assert_array_equal(rows_of(columns(store), "txt")[30:], vectors(30, 1, "float32"))


def test_a_list_that_is_no_embedding_is_taken_only_if_it_is_named(tmp_path: Path) -> None:
    lists = {name: pa.array(vectors(5, seed).tolist(), pa.list_(pa.float64())) for seed, name in enumerate("ab")}
    boxes = pa.array([[0.0, 0.5, 1.0, 1.0]] * 5, pa.list_(pa.float32()))
    pq.write_table(pa.table({**lists, "bbox": boxes}), tmp_path / "v.parquet")
    files = open_vectors(str(tmp_path / "v.parquet"))
    assert list(files.columns.widths) == ["a", "b"]
    assert "no modality bbox: 4 numbers a row, and fewer than 16 may be no embedding" in files.plan()
    assert "bbox" in files.columns.passed_through.names
    assert open_vectors(str(tmp_path / "v.parquet"), ("a", "bbox")).columns.widths == {"a": WIDTH, "bbox": 4}


def test_a_password_in_a_url_is_never_told(web: str, tmp_path: Path) -> None:
    place = web.replace("//", "//somebody:hunter2@")
    (tmp_path / "theirs/text_emb/text_emb_0.npy").write_bytes(b"no array")
    for last in ("text_emb/text_emb_0.npy", "text_emb/text_emb_7.npy"):
        with pytest.raises((InputError, OSError)) as raised:
            open_vectors(f"{place}/img_emb/img_emb_0.npy::{place}/{last}")
        assert "hunter2" not in str(raised.value)
        assert last.rpartition("/")[2] in str(raised.value)


class Ranged(SimpleHTTPRequestHandler):
    knows_ranges = True

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_body: bool) -> None:
        place = Path(self.translate_path(self.path))
        if not place.is_file():
            self.send_error(404)
            return
        data, asked = place.read_bytes(), self.headers.get("Range")
        size = len(data)
        self.send_response(206 if asked and self.knows_ranges else 200)
        if asked and self.knows_ranges:
            first, last = asked.removeprefix("bytes=").split("-")
            data = data[int(first) : int(last or size) + 1]
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(data) - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes" if self.knows_ranges else "none")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    write_clip_retrieval(tmp_path / "theirs", [600, 30])
    monkeypatch.chdir(tmp_path / "theirs")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ranged)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_files_on_the_web_are_listed_by_braces_and_read_by_ranges(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{web}/{{img_emb/img_emb,text_emb/text_emb}}_{{0..1}}.npy::{web}/metadata/metadata_{{0..1}}.parquet"
    place = store_of(source, "", str(tmp_path / "output"))
    assert place is not None
    store = EmbeddingStore.open(place)
    assert store.manifest.view_of == web
    assert columns(store).equals(columns(stored(tmp_path / "theirs", tmp_path)))
    monkeypatch.setattr(Ranged, "knows_ranges", False)
    with pytest.raises(InputError, match=r"its server gives no ranges of bytes"):
        open_vectors(source.partition("::")[0])


def test_a_server_that_does_not_answer_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"{place}/\S*_0.npy cannot be reached"):
            open_vectors(f"http://{place}/{{img_emb,text_emb}}_0.npy")


def test_what_cannot_be_told_apart_or_put_together_is_named(tmp_path: Path) -> None:
    folder = write_clip_retrieval(tmp_path / "theirs", [4, 3])
    for name, suffix in (("img_emb", "npy"), ("text_emb", "npy"), ("metadata", "parquet")):
        shutil.copy(folder / f"{name}/{name}_1.{suffix}", folder / f"{name}/{name}_001.{suffix}")
    with pytest.raises(
        InputError, match=r"img_emb_001\.npy and img_emb/img_emb_1\.npy are of one number, 1; leave one"
    ):
        open_vectors(str(folder))
    folder = write_clip_retrieval(tmp_path / "wide", [4, 3])
    np.save(folder / "img_emb/img_emb_1.npy", np.ones((3, 2 * WIDTH), np.float16))
    with pytest.raises(InputError, match=r"img_emb_0\.npy and .* in img_emb/img_emb_1\.npy; import them apart"):
        open_vectors(str(folder))
    with pytest.raises(InputError, match="--modalities names image more than once, in image,text,image; name each"):
        open_vectors(str(write_clip_retrieval(tmp_path / "good", [3])), ("image", "text", "image"))


def test_the_first_files_columns_are_in_their_order(tmp_path: Path) -> None:
    image, text = (pa.FixedSizeListArray.from_arrays(vectors(3, seed).ravel(), WIDTH) for seed in range(2))
    pq.write_table(pa.table({"image": image, "text": text}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"text": text, "image": image}), tmp_path / "1.parquet")
    assert list(open_vectors(str(tmp_path)).columns.widths) == ["image", "text"]


def test_a_key_of_floats_is_none(tmp_path: Path) -> None:
    image, text = (pa.FixedSizeListArray.from_arrays(vectors(3, seed).ravel(), WIDTH) for seed in range(2))
    pq.write_table(pa.table({"key": [0.5, 1.5, 2.5], "image": image, "text": text}), tmp_path / "v.parquet")
    place = str(tmp_path / "v.parquet")
    for key in ("", "none"):
        assert "key         file and row: key is of double, no texts or integers" in open_vectors(place, (), key).plan()
    with pytest.raises(InputError, match=r"no column of keys 'key', which is of double; those .* are none; give one"):
        open_vectors(place, (), "key")


def test_a_table_of_captions_that_is_empty_is_one(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", vectors(3, 0))
    (tmp_path / "c.csv").write_text("")
    with pytest.raises(InputError, match=r"c\.csv is empty; give a table with a column of captions"):
        open_vectors(str(tmp_path / "image.npy"), (), "", str(tmp_path / "c.csv"))
