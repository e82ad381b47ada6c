"""What a pursuit takes at its peak."""

import subprocess
import sys

import pytest

LARGE_FORWARD = """
import torch
from pathlib import Path
from isoenergy.pursuit import matching_pursuit
generator = torch.Generator().manual_seed(0)
x, dictionary = (torch.randn(rows, 128, generator=generator) for rows in (24_576, 16_384))
matching_pursuit(x, torch.nn.functional.normalize(dictionary, dim=1).requires_grad_(), 3)
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_a_large_forward_stays_under_2_5_gb() -> None:
    """24,576 rows × 16,384 atoms: dense correlations alone would be 1.6 GB, and the Gram matrix is 1.1.

    The peak is the whole process's VmHWM: what getrusage tells of a child begins with what its parent had.
    """
    run = subprocess.run([sys.executable, "-c", LARGE_FORWARD], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert 1024 * int(run.stdout) < 2.5e9
