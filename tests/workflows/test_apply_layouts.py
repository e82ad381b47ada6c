"""What `isoenergy apply` writes beside its Parquet: whole, whatever was killed, and made again where it is gone."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import lance
import numpy as np
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
    for left_before in ({}, {"_versions/1.manifest": b"ha"}):
        for file in sorted(place.parent.rglob("*")):
            if file.is_file():
                file.unlink()
        for name, data in left_before.items():
            (place / name).write_bytes(data)
        killed = subprocess.run([sys.executable, "-m", "tests.workflows.killed_lance", made.uri, config.output])
        assert killed.returncode == -9
        apply.run(config, engine=ApplyingHere())
        assert lance.dataset(str(place)).to_table() == whole
        assert [entry.name for entry in place.parent.iterdir()] == [place.name]
    assert whole.num_rows == UNITS * ROWS
    untouched = times(str(place))
    apply.run(config, engine=ApplyingHere())
    assert times(str(place)) == untouched


def test_a_lance_dataset_that_cannot_be_written_is_one_sentence(config: ApplyConfig) -> None:
    Path(config.output).mkdir()
    Path(config.output, "lance").write_text("in its way")
    with pytest.raises(InputError, match=r"lance/pairs.lance cannot be written .*run the same command again"):
        apply.run(config, engine=ApplyingHere())


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
    assert "5 are to be done, with 150 pairs\nlayouts    5 of them are there" in capsys.readouterr().out
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
    apply.run(config, engine=ApplyingHere())
    store = fill_store(tmp_path / "store", units=UNITS + 7, file="more.parquet", first=UNITS)
    made = apply.run(config, engine=ApplyingHere())
    assert [record.file for record in made.commits] == ["more.parquet"] * 7 + ["pairs.parquet"] * UNITS
    other = dataclasses.replace(config, output=str(tmp_path / "other"))
    apply.run(other, engine=ApplyingHere())
    assert contents(Path(config.output)) == contents(Path(other.output))
    arrays = [np.load(file) for file in sorted(Path(config.output, "npy", "bimodal", "img_emb").iterdir())]
    assert len(np.concatenate(arrays)) == len(store) == (UNITS + 7) * ROWS


def contents(output: Path) -> dict[str, bytes]:
    """Return what lies in `npy` and `csr`."""
    files = sorted([*output.glob("npy/**/*.*"), *output.glob("csr/*")])
    return {str(file.relative_to(output)): file.read_bytes() for file in files}
