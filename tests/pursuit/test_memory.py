"""What a pursuit takes at its peak."""

import subprocess
import sys

LARGE_FORWARD = """
import torch
from pathlib import Path
from isoenergy.pursuit import matching_pursuit
generator = torch.Generator().manual_seed(0)
x, dictionary = (torch.randn(rows, 512, generator=generator) for rows in (65_536, 16_384))
matching_pursuit(x, torch.nn.functional.normalize(dictionary, dim=1).requires_grad_(), 3)
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


def test_a_large_forward_stays_under_4_gb() -> None:
    """65,536 rows × 16,384 atoms: dense correlations alone would be 4.3 GB. The peak is the whole process's.

    It is VmHWM: what getrusage tells of a child begins with what its parent had.
    """
    run = subprocess.run([sys.executable, "-c", LARGE_FORWARD], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert 1024 * int(run.stdout) < 4e9
