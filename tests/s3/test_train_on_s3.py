"""`isoenergy train` from a store in a bucket to SAEs in a bucket, through faults and a kill: the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.training.checkpoints import CheckpointFolder
from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.s3.proxy import Fault, FaultProxy, share
from tests.s3.seaweedfs import S3Server
from tests.workflows.processes import without_ray_address

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.server]
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.TORN, Fault.RESET]
OPTIONS = ["--epochs=6", "--expansion=2", "--k=4", "--batch-pairs=50", "--checkpoint-every=10", "--residence=stream"]


def command(store: str, output: str) -> list[str]:
    return [sys.executable, "-m", "workflows.cli", "train", f"--store={store}", f"--output={output}", *OPTIONS]


def test_a_run_on_s3_survives_faults_and_a_kill(s3: S3Server, proxy: FaultProxy, tmp_path: Path) -> None:
    local = write_planted_store(tmp_path / "store", *planted_pairs(400, 16), pairs_a_shard=100)
    bucket = s3.bucket()
    s3.filesystem.put(str(local), f"{bucket}/store", recursive=True)
    alone = {"env": without_ray_address()}
    subprocess.run(command(str(local), str(tmp_path / "saes")), check=True, capture_output=True, **alone)

    proxy.rule = share(0.1, *PASSING)
    output = f"s3://{bucket}/saes"
    again = command(f"s3://{bucket}/store", output)
    first = subprocess.Popen(again, start_new_session=True, stdout=subprocess.DEVNULL, **alone)
    checkpoints = CheckpointFolder(f"{output}/checkpoints")
    while len(checkpoints.records()) < 2:
        assert first.poll() is None, "the run ended before it could be killed"
    os.killpg(first.pid, 9)
    first.wait()
    done = subprocess.run(again, check=False, capture_output=True, text=True, **alone)
    assert done.returncode == 0, done.stderr
    assert sum(proxy.done[fault] for fault in PASSING) > 0
    for name in ("beta-0", "beta-0.0004"):
        there = SparseAutoencoder.load(f"{output}/{name}").dictionary
        assert torch.equal(there, SparseAutoencoder.load(tmp_path / "saes" / name).dictionary)
    assert not [name for name in s3.filesystem.find(f"{bucket}/saes") if "/.ray/" in name]
