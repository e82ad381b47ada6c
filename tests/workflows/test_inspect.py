"""`isoenergy inspect`: what a store holds, and whether it is sound."""

import shutil
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.store import EmbeddingStore
from tests.store.small_store import unit
from workflows import inspect
from workflows.inspect import InspectConfig


def test_what_a_store_holds(filled: Path) -> None:
    text = inspect.run(InspectConfig(str(filled), verify=True, samples=2))
    for words in (
        "format 3",
        "encoder      bundled, 3 dimensions, computed in float32",
        "units        3 of 3",
        "pairs        30 in, 28 embedded",
        "rejected     2\n          2  empty_image",
        "norms        of 28 pairs: lowest, mean, highest",
        "gap          0.000 between the means of normalised image and text; mean cosine of a pair 1.000",
        "verified     3 units, each as it was committed",
    ):
        assert words in text
    assert text.count("sample ") == 2


def test_an_incomplete_store_says_so(filled: Path) -> None:
    (filled / "commits" / f"{unit(1).name}.json").unlink()
    assert "units        2 of 3; 1 are not embedded yet" in inspect.run(InspectConfig(str(filled)))


def test_a_spoilt_unit_is_named_and_can_be_taken_out(filled: Path) -> None:
    file = filled / "shards" / f"{unit(1).name}.parquet"
    file.write_bytes(file.read_bytes()[:-20] + bytes(20))
    with pytest.raises(InputError, match=rf"shards/{file.name} is not the file that was committed.*--repair takes out"):
        inspect.run(InspectConfig(str(filled), verify=True))
    assert len(EmbeddingStore.open(str(filled)).commits) == 3
    with pytest.raises(InputError, match="taken out: 1 unit, 0 files; run"):
        inspect.run(InspectConfig(str(filled), verify=True, repair=True))
    assert [record.unit for record in EmbeddingStore.open(str(filled)).commits] == [unit(0).name, unit(2).name]


def test_files_that_no_record_names_are_told(filled: Path) -> None:
    junk, record = filled / "shards" / "junk.parquet", filled / "commits" / f"{unit(0).name}.json"
    junk.write_bytes(b"junk")
    with pytest.raises(InputError, match=r"shards/junk\.parquet is not what a commit record names"):
        inspect.run(InspectConfig(str(filled), verify=True))
    with pytest.raises(InputError, match="taken out: 0 units, 1 file; run"):
        inspect.run(InspectConfig(str(filled), verify=True, repair=True))
    assert "verified" in inspect.run(InspectConfig(str(filled), verify=True))
    record.write_text(record.read_text()[:100])
    with pytest.raises(InputError, match=rf"commits/{record.name} is not what a commit record names"):
        inspect.run(InspectConfig(str(filled), verify=True))


def test_a_shard_cut_short_is_not_passed_over(filled: Path) -> None:
    file = filled / "shards" / f"{unit(1).name}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"shards/{file.name} is not the file that was committed"):
        inspect.run(InspectConfig(str(filled), verify=True))


def test_a_folder_of_stores_names_them(filled: Path, tmp_path: Path) -> None:
    for name in ("clip", "siglip2"):
        shutil.copytree(filled, tmp_path / "stores" / name)
    (tmp_path / "stores" / "notes").mkdir()
    with pytest.raises(
        InputError, match=r"stores/ is not .* but a folder that holds some; .*: .*/stores/clip, .*/stores/siglip2$"
    ):
        inspect.run(InspectConfig(f"{tmp_path}/stores/"))


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not an embedding store"):
        inspect.run(InspectConfig(str(tmp_path)))
