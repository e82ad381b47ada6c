"""Checkpoints in a bucket: whole or not there, whatever happens to single requests."""

from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.storage import s3 as s3_module
from isoenergy.training.checkpoints import CheckpointFolder
from tests.s3.proxy import Fault, FaultProxy, share
from tests.s3.seaweedfs import S3Server
from tests.training.made_up_checkpoints import FILES, put, restored

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_FIRST_WAIT_SECONDS", 0.01)


def test_the_last_ones_and_the_best_are_kept_in_a_bucket(s3: S3Server, proxy: FaultProxy, tmp_path: Path) -> None:
    bucket = s3.bucket()
    checkpoints = CheckpointFolder(f"s3://{bucket}/run/checkpoints", keep=2)
    assert restored(checkpoints, tmp_path) is None
    proxy.rule = share(0.2, Fault.SLOW_DOWN, Fault.CUT, Fault.RESET, seed=1)
    for step, score in ((1, 0.9), (2, 0.1), (3, 0.2), (4, 0.3)):
        put(checkpoints, tmp_path, step, score)
    assert [record.step for record in CheckpointFolder(f"s3://{bucket}/run/checkpoints").records()] == [1, 3, 4]
    assert restored(checkpoints, tmp_path) == 4
    assert sum(proxy.done.values()) > 2
    checkpoints.remove_all()
    assert not [path for path in s3.filesystem.find(f"{bucket}/run") if "step-" in path]


@pytest.mark.parametrize("name", [*FILES, "complete.json"])
def test_a_half_written_one_in_a_bucket_is_passed_over(name: str, s3: S3Server, tmp_path: Path) -> None:
    bucket = s3.bucket()
    checkpoints = CheckpointFolder(f"s3://{bucket}/checkpoints")
    for step in (4, 8):
        put(checkpoints, tmp_path, step)
    s3.filesystem.rm_file(f"{bucket}/checkpoints/step-00000008/{name}")
    assert restored(checkpoints, tmp_path) == 4
    put(checkpoints, tmp_path, 12)
    assert restored(checkpoints, tmp_path) == 12


def test_an_outage_is_an_error_and_not_an_older_checkpoint(
    s3: S3Server, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = CheckpointFolder(f"s3://{s3.bucket()}/checkpoints")
    for step in (4, 8):
        put(checkpoints, tmp_path, step)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    proxy.rule = lambda _: Fault.SLOW_DOWN
    with pytest.raises(OSError, match="503"):
        checkpoints.restore(tmp_path)
    with pytest.raises(InputError, match=r"cannot be written .*503"):
        put(checkpoints, tmp_path, 12)
    proxy.rule = lambda _: None
    assert restored(checkpoints, tmp_path) == 8
