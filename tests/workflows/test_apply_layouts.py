"""What `isoenergy apply` writes beside its Parquet: whole, whatever was killed, and made again where it is gone."""

import subprocess
import sys
from pathlib import Path

import lance
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
