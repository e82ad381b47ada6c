"""The benchmark of a GPU, run where there is none: every part at shapes for Triton's interpreter, in two runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="no Triton: nothing is shown of the benchmark")


def benchmark(output: Path, *arguments: str, interpret: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--output", str(output), *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment |= {"TRITON_INTERPRET": "1"} if interpret else {}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_every_part_runs_and_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    output = tmp_path / "gpu"
    first = benchmark(output, "--device", "cpu", "--tiny", "--only", "correctness")
    assert first.returncode == 0, first.stdout + first.stderr
    found = json.loads(output.with_suffix(".json").read_text())["parts"]["correctness"]
    assert found["wrong"] == []
    assert len(found["checks"]) > 30
    second = benchmark(output, "--device", "cpu", "--tiny")
    assert second.returncode == 0, second.stdout + second.stderr
    parts = json.loads(output.with_suffix(".json").read_text())["parts"]
    assert parts["correctness"] == found
    assert list(parts) == ["correctness", "speed", "launches", "training", "encoders", "operations"]
    assert not any(measures.keys() & {"failed", "left_out"} for measures in parts.values())
    assert parts["training"]["the whole paper-size run"]["seconds"] > 0
    assert output.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: nothing is shown of machines without one")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    done = benchmark(tmp_path / "gpu", interpret=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "no GPU" in done.stdout
    done = benchmark(tmp_path / "gpu", "--device", "cpu", "--tiny", interpret=False)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "TRITON_INTERPRET=1" in done.stdout
