"""A GPU that Ray counts and torch cannot use ends a run before it begins, with what is to be done."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy.errors import InputError
from tests.evaluation.evaluations import write_pairs
from tests.pairs.made_up_pairs import written_rows
from tests.workflows.embedding_stores import ENCODER
from tests.workflows.processes import end_session, without_ray_address
from workflows.cluster.gpu import given_device, unusable_gpu

WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine's GPU can be used")
HEAD = """
import sys, ray
ray.init(num_gpus=1, num_cpus=2, include_dashboard=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a Ray that counts a GPU which is not there."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [sys.executable, "-c", HEAD], env=without_ray_address(), start_new_session=True, **pipes
    ) as head:
        try:
            yield head.stdout.readline().strip()
        finally:
            end_session(head)


@WITHOUT_GPU
def test_a_worker_that_was_given_a_gpu_says_what_is_wrong_with_it() -> None:
    assert given_device(has_gpu=False) == torch.device("cpu")
    why = unusable_gpu()
    assert why is not None
    assert f"torch {torch.__version__}" in why or torch.__version__ in why
    assert "its driver is" in why or "without CUDA" in why
    with pytest.raises(InputError, match=r"^node .* has a GPU"):
        given_device(has_gpu=True)


@WITHOUT_GPU
@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("stage", ["embed", "train", "tune"])
def test_a_stage_on_a_node_with_such_a_gpu_ends_before_it_begins(
    stage: str, address: str, tmp_path: Path, bundled_rows: list[dict]
) -> None:
    written_rows(bundled_rows[:4], tmp_path / "pairs" / "0.parquet")
    rows = np.ones((9000, 4))
    store = write_pairs(tmp_path / "store", rows, rows, rows_a_unit=9000, split="validation", train=8500)
    given = ["--pairs", tmp_path / "pairs", "--encoder", ENCODER] if stage == "embed" else ["--store", store]
    ended = subprocess.run(
        [sys.executable, "-m", "workflows.cli", stage, *map(str, given), "--output", str(tmp_path / "out")],
        env={**os.environ, "RAY_ADDRESS": address, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert "has a GPU" in ended.stderr
    assert "Traceback" not in ended.stderr
