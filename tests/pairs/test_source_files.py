"""Files that a folder lacks, by what the names of others count and by a saved dataset's list."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.opening import SourceConfig, open_source
from isoenergy.pairs.rejection import Rejected
from isoenergy.pairs.source_files import source_files, without_count
from isoenergy.store.vector_sources import open_vectors
from tests.store.given_vectors import vectors


def no_fetch(names: Iterable[Sequence[str | None]]) -> Iterator[list[bytes | Rejected]]:
    raise AssertionError(list(names))


def write_arrow(place: Path, first: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    rows = {name: pa.array(vectors(2, seed).tolist(), pa.list_(pa.float16())) for seed, name in enumerate("ab")}
    pairs = {"image": [b"\xff\xd8\xff"] * 2, "caption": ["c", "d"], "key": [f"k{first}", f"k{first + 1}"]}
    table = pa.table({**rows, **pairs})
    with pa.OSFile(str(place), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def write_dataset(folder: Path, shards: int, listed: Sequence[str] = (), index: str = "") -> Path:
    """Write what `datasets.save_to_disk` writes."""
    names = [f"data-{number:05d}-of-{shards:05d}.arrow" for number in range(shards)]
    for number, name in enumerate(names):
        write_arrow(folder / name, 2 * number)
    state = {"_data_files": [{"filename": name} for name in listed or names], "_fingerprint": "x"}
    if index:
        state["_indices_data_files"] = [{"filename": index}]
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_a_saved_dataset_with_a_lost_shard_is_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "saved", 3)
    assert sum(open_vectors(str(folder)).rows.values()) == 6
    (folder / "data-00002-of-00003.arrow").unlink()
    for lost in ("data-00002-of-00003.arrow", "data-00000-of-00003.arrow, data-00002-of-00003.arrow"):
        with pytest.raises(InputError, match=rf"saved lacks {lost}, which belong .* as FOLDER/\*\.arrow"):
            open_vectors(str(folder))
        with pytest.raises(InputError, match=f"lacks {lost}"):
            open_source(SourceConfig(str(folder)), no_fetch)
        (folder / "data-00000-of-00003.arrow").unlink(missing_ok=True)
    assert sum(open_vectors(f"{folder}/*.arrow").rows.values()) == 2
    write_dataset(tmp_path / "plain", 2, ["data-00000-of-00002.arrow", "more.arrow"])
    with pytest.raises(InputError, match=r"plain lacks more\.arrow"):
        open_vectors(str(tmp_path / "plain"))


def test_a_saved_dataset_is_what_it_lists(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "saved", 2)
    write_dataset(folder, 1)
    assert open_vectors(str(folder)).rows == {"data-00000-of-00001.arrow": 2}
    assert open_source(SourceConfig(str(folder)), no_fetch).files == ["data-00000-of-00001.arrow"]
    pq.write_table(pa.table({"image": [b"\xff\xd8\xff"], "caption": ["c"]}), folder / "x.parquet")
    assert source_files(str(folder), (".parquet",))[2] == ["x.parquet"]
    (folder / "x.parquet").unlink()
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    write_dataset(folder / "train", 1)
    with pytest.raises(InputError, match="saved lacks test, which"):
        open_vectors(str(folder))


def test_rows_that_an_index_chooses_are_refused(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "saved", 1, index="indices.arrow")
    with pytest.raises(InputError, match=r"indices\.arrow says which .* after dataset\.flatten_indices\(\)"):
        open_vectors(str(folder))


@pytest.mark.parametrize(
    ("there", "lacks"),
    [
        (["train-00000-of-00002-0123456789abcdef.parquet"], r"train-00001-of-00002\.parquet"),
        (["a/x_1_of_3.tar", "a/x_3_of_3.tar"], r"a/x_2_of_3\.tar"),
        (["0000-of-900000000.npy"], r"0001-of-900000000\.npy, 0002-of-900000000\.npy, 0003.* and others"),
    ],
)
def test_names_count_their_fellows(there: list[str], lacks: str, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    suffix = Path(there[0]).suffix
    with pytest.raises(InputError, match=f"lacks {lacks}"):
        source_files(str(tmp_path), (suffix,))
    chosen = source_files(f"{tmp_path}/**/*{suffix}", (suffix,))[2]
    assert [Path(file).name for file in chosen] == [Path(name).name for name in there]
    assert source_files(",".join(f"{tmp_path}/{name}" for name in there), (suffix,))[2]


def test_whole_sets_and_names_that_count_nothing_are_taken(tmp_path: Path) -> None:
    names = ["a-1-of-2.tar", "a-2-of-2.tar", "b-0-of-2.tar", "b-1-of-2.tar", "2-of-us.tar"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "state.json").write_text("[" * 100_000)
    assert source_files(str(tmp_path), (".tar",))[2] == sorted(names)


def test_arrays_whose_names_count_them_are_shards_of_their_modality(tmp_path: Path) -> None:
    for number in range(2):
        np.save(tmp_path / f"image-{number:05d}-of-00002.npy", vectors(2 + number, number))
        np.save(tmp_path / f"text-{number:05d}-of-00002.npy", vectors(2 + number, 2 + number))
    files = open_vectors(str(tmp_path))
    assert list(files.columns.widths) == ["image", "text"]
    assert list(files.rows.values()) == [2, 3]
    (tmp_path / "text-00001-of-00002.npy").unlink()
    with pytest.raises(InputError, match=r"lacks text-00001-of-00002\.npy"):
        open_vectors(str(tmp_path))
    assert without_count("image-00001-of-00002-ab") == "image-00001"


def test_a_pair_in_parquet_is_not_lost_with_its_file(tmp_path: Path) -> None:
    table = pa.table({"image": [b"\xff\xd8\xff"], "caption": ["c"]})
    pq.write_table(table, tmp_path / "train-00000-of-00002.parquet")
    with pytest.raises(InputError, match=r"lacks train-00001-of-00002\.parquet"):
        open_source(SourceConfig(str(tmp_path)), no_fetch)
