"""Tars of `.npy` members, as webdataset writes them."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore, tar_columns
from isoenergy.store.column_files import FilePlace
from isoenergy.store.vector_sources import holds_vectors, open_vectors
from tests.store.given_vectors import WIDTH, vectors
from workflows.training.vector_stores import VectorCopy

ROWS = 7


def npy(row: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, row)
    return stream.getvalue()


def write_tar(file: Path, members: list[tuple[str, bytes]]) -> Path:
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file


def members(first: int, images: np.ndarray, texts: np.ndarray) -> list[tuple[str, bytes]]:
    found = []
    for row, (image, text) in enumerate(zip(images, texts, strict=True), start=first):
        key = f"part/{row:04d}"
        found += [(f"{key}.img_emb.npy", npy(image)), (f"{key}.json", b"{}"), (f"{key}.text_emb.npy", npy(text[None]))]
        found.append((f"{key}.txt", f"picture {row}\n".encode()))
    return found


def stored(source: Path, tmp_path: Path, skip_bad_rows: bool = False) -> EmbeddingStore:
    return VectorCopy(open_vectors(str(source)), str(tmp_path / "store"), skip_bad_rows=skip_bad_rows).run()


@pytest.mark.parametrize("row", [0, 5])
def test_a_row_without_a_vector_is_named_and_costs_no_modality(row: int, tmp_path: Path) -> None:
    there = members(0, vectors(ROWS, 0), vectors(ROWS, 1))
    lacking = [(name, content) for name, content in there if name != f"part/{row:04d}.text_emb.npy"]
    source = write_tar(tmp_path / "tars" / "0.tar", lacking)
    with pytest.raises(InputError, match=rf"row {row}: there is no text vector"):
        stored(source, tmp_path)
    store = stored(source, tmp_path, skip_bad_rows=True)
    assert (len(store), store.manifest.modalities) == (ROWS - 1, {"image": WIDTH, "text": WIDTH})


def test_tars_become_a_store(tmp_path: Path) -> None:
    images, texts = vectors(2 * ROWS, 0), vectors(2 * ROWS, 1)
    for part in (0, 1):
        rows = slice(part * ROWS, (part + 1) * ROWS)
        write_tar(tmp_path / "tars" / f"{part}.tar", members(part * ROWS, images[rows], texts[rows]))
    assert holds_vectors(str(tmp_path / "tars"))
    assert holds_vectors(str(tmp_path / "tars" / "1.tar"))
    store = stored(tmp_path / "tars", tmp_path)
    assert (len(store), store.manifest.modalities) == (2 * ROWS, {"image": WIDTH, "text": WIDTH})
    arrays = store.to_arrays()
    order = np.argsort(arrays.keys)
    assert [*arrays.keys[order]] == [f"part/{row:04d}" for row in range(2 * ROWS)]
    np.testing.assert_array_equal(arrays.images[order], images)
    np.testing.assert_array_equal(arrays.texts[order], texts)
    captions = {row["key"]: row["caption"] for r in store.commits for row in store.read_unit(r.unit).to_pylist()}
    assert captions["part/0009"] == "picture 9"


def test_ranges_are_read_one_after_the_other(tmp_path: Path) -> None:
    images, texts = vectors(ROWS, 0), vectors(ROWS, 1)
    file = write_tar(tmp_path / "a.tar", members(0, images, texts))
    tar = tar_columns.TarColumns.of(FilePlace(LocalFileSystem(), str(file.parent), file.name))
    tables = list(tar.tables([(1, 3), (5, 5), (5, 7)], ["text_emb", "key"]))
    assert [table["key"].to_pylist() for table in tables] == [
        ["part/0001", "part/0002"],
        [],
        ["part/0005", "part/0006"],
    ]
    np.testing.assert_array_equal(np.array(tables[2]["text_emb"].to_pylist()), texts[5:])


def test_a_row_that_lacks_a_vector_is_a_bad_row(tmp_path: Path) -> None:
    images, texts = vectors(ROWS, 0), vectors(ROWS, 1)
    found = [(name, x) for name, x in members(0, images, texts) if name != "part/0003.text_emb.npy"]
    file = write_tar(tmp_path / "a.tar", found)
    with pytest.raises(InputError, match="row 3"):
        stored(file, tmp_path)
    store = VectorCopy(open_vectors(str(file)), str(tmp_path / "other"), skip_bad_rows=True).run()
    assert (len(store), sum(store.rejected.values())) == (ROWS - 1, 1)


def test_tars_of_pictures_are_no_vectors(tmp_path: Path) -> None:
    pictures = [(f"{row}.{kind}", b"x") for row in range(4) for kind in ("jpg", "txt", "feature.npy")]
    assert not holds_vectors(str(write_tar(tmp_path / "a.tar", pictures)))


def test_an_empty_tar_costs_the_others_nothing(tmp_path: Path) -> None:
    write_tar(tmp_path / "tars/0.tar", [])
    with pytest.raises(InputError, match="holds no rows in 1 file"):
        open_vectors(str(tmp_path / "tars"))
    write_tar(tmp_path / "tars/1.tar", members(0, vectors(ROWS, 0), vectors(ROWS, 1)))
    write_tar(tmp_path / "tars/2.tar", [])
    assert holds_vectors(str(tmp_path / "tars"))
    assert len(stored(tmp_path / "tars", tmp_path)) == ROWS


@pytest.mark.parametrize("harm", ["objects", "cut"])
def test_harm_is_named(harm: str, tmp_path: Path) -> None:
    images, texts = vectors(ROWS, 0), vectors(ROWS, 1)
    found = members(0, images, texts)
    if harm == "objects":
        objects = io.BytesIO()
        np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
        found = [(name, objects.getvalue() if name.endswith("npy") else x) for name, x in found]
    file = write_tar(tmp_path / "a.tar", found)
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:9000])
    with pytest.raises(InputError, match="holds no vectors" if harm == "objects" else "is spoilt"):
        open_vectors(str(file))


def test_a_text_that_is_not_utf8_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    row = [("a.image.npy", npy(vectors(1, 0)[0])), ("a.text.npy", npy(vectors(1, 1)[0])), ("a.txt", b"caf\xe9\n")]
    store = stored(write_tar(tmp_path / "v.tar", row), tmp_path)
    assert store.read_unit(store.commits[0].unit)["caption"].to_pylist() == ["caf\ufffd"]
    assert "1 caption not UTF-8" in caplog.text


def test_a_key_that_repeats_is_found_without_reading_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = [("a.image.npy", npy(vectors(1, 0)[0])), ("a.text.npy", npy(vectors(1, 1)[0]))]
    other = [(name.replace("a", "b", 1), content) for name, content in row]
    files = open_vectors(str(write_tar(tmp_path / "v.tar", [*row, *other, *row])))
    monkeypatch.setattr(tar_columns, "_value", None)
    with pytest.raises(InputError, match=r"1 row with a key that stands before, .*v\.tar, row 2, key 'a'"):
        VectorCopy(files, str(tmp_path / "store")).run()
