"""What `isoenergy apply` writes beside its Parquet: whole, whatever was killed, and made again where it is gone."""

import dataclasses
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from isoenergy.errors import InputError
from tests.workflows.applied_stores import ROWS, UNITS, fill_store, write_sae
from tests.workflows.embedding_stores import times
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere
from workflows.settings.apply_settings import ApplyConfig


@pytest.fixture
def config(tmp_path: Path) -> ApplyConfig:
    store = fill_store(tmp_path / "store")
    sae = write_sae(tmp_path / "sae")
    return ApplyConfig(str(sae), store.uri, str(tmp_path / "out"), "codes,bimodal", layouts="npy,csr,lance")


def test_a_lance_dataset_whose_writer_was_killed_is_written_whole(config: ApplyConfig) -> None:
    made = apply.run(config, engine=ApplyingHere())
    place = Path(config.output, "lance", "pairs.lance")
    whole = lance.dataset(str(place)).to_table()
    assert whole.num_rows == UNITS * ROWS
    shutil.rmtree(place)
    killed = subprocess.run([sys.executable, "-m", "tests.workflows.killed_lance", made.uri, config.output])
    assert killed.returncode == -signal.SIGKILL
    apply.run(config, engine=ApplyingHere())
    assert lance.dataset(str(place)).to_table() == whole
    assert [entry.name for entry in place.parent.iterdir()] == [place.name]
    for manifest in (place / "_versions").iterdir():
        manifest.write_bytes(b"ha")  # as a disk may leave it
    apply.run(config, engine=ApplyingHere())
    assert lance.dataset(str(place)).to_table() == whole
    untouched = times(str(place))
    apply.run(config, engine=ApplyingHere())
    assert times(str(place)) == untouched


def test_a_lance_dataset_that_cannot_be_written_is_one_sentence(config: ApplyConfig) -> None:
    Path(config.output).mkdir()
    Path(config.output, "lance").write_text("in its way")
    with pytest.raises(InputError, match=r"lance/pairs.lance cannot be written .*run the same command again"):
        apply.run(config, engine=ApplyingHere())


def test_a_lance_dataset_of_others_is_left_to_them(config: ApplyConfig) -> None:
    place = f"{config.output}/lance/pairs.lance"
    lance.write_dataset(pa.table({"key": ["a"]}), place)
    with pytest.raises(InputError, match=r"pairs\.lance is a dataset that `isoenergy apply` did not make"):
        apply.run(config, engine=ApplyingHere())
    assert lance.dataset(place).to_table().to_pylist() == [{"key": "a"}]


def test_files_beside_the_parquet_that_are_gone_are_made_again_from_it(
    config: ApplyConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    apply.run(config, engine=ApplyingHere())
    output = Path(config.output)
    before, written = contents(output), times(f"{output}/shards")
    shutil.rmtree(output / "csr")
    shutil.rmtree(output / "lance")
    (output / "npy" / "bimodal" / "text_emb" / "text_emb_3.npy").unlink()
    apply.run(dataclasses.replace(config, dry_run=True), engine=ApplyingHere())
    assert "5 of them to be done, with 150 pairs\nlayouts    5 of them are there" in capsys.readouterr().out
    assert not (output / "csr").exists()
    apply.run(config, engine=ApplyingHere())
    assert contents(output) == before
    assert times(f"{output}/shards") == written
    (output / "npy" / "bimodal" / "metadata" / "metadata_0.parquet").unlink()
    (next((output / "lance").rglob("*.lance/data/*"))).unlink()
    apply.run(config, engine=ApplyingHere())
    assert contents(output) == before
    assert "layouts    1 of them are there" in capsys.readouterr().out
    assert lance.dataset(str(output / "lance" / "pairs.lance")).to_table().num_rows == UNITS * ROWS


def test_units_that_come_between_others_leave_no_row_out_and_none_twice(config: ApplyConfig, tmp_path: Path) -> None:
    beside = {Path(config.output, place): b"another's" for place in ("npy/own.npy", "csr/image_9.npz", "npy/own/a.npy")}
    for file, data in beside.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    apply.run(config, engine=ApplyingHere())
    store = fill_store(tmp_path / "store", units=UNITS + 7, file="more.parquet", first=UNITS)
    made = apply.run(config, engine=ApplyingHere())
    assert [record.file for record in made.commits] == ["more.parquet"] * 7 + ["pairs.parquet"] * UNITS
    assert {file: file.read_bytes() for file in beside} == beside
    for file in beside:
        file.unlink()
    other = dataclasses.replace(config, output=str(tmp_path / "other"))
    apply.run(other, engine=ApplyingHere())
    assert contents(Path(config.output)) == contents(Path(other.output))
    arrays = [np.load(file) for file in sorted(Path(config.output, "npy", "bimodal", "img_emb").iterdir())]
    assert len(np.concatenate(arrays)) == len(store) == (UNITS + 7) * ROWS


def contents(output: Path) -> dict[str, bytes]:
    """Return what lies in `npy` and `csr`."""
    files = sorted([*output.glob("npy/**/*.*"), *output.glob("csr/*")])
    return {str(file.relative_to(output)): file.read_bytes() for file in files}
