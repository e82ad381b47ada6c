"""When the workers of steps begin, and what they give back to the system."""

import subprocess
import sys

import pytest
import ray

from workflows.steps import on_ray

_GIVEN_BACK = """
import sys
import numpy as np
from workflows.steps import step_worker

resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
blocks = [np.ones(2**17) for _ in range(512)]  # 512 MB of the heap
kept = blocks[::64]
del blocks
full = resident()
step_worker._give_back_memory(2**30)
assert resident() > full - 2**26, "little is kept"
step_worker._give_back_memory(2**28)
assert resident() < full - 3 * 2**27, "much is given back"
blocks = [np.ones(2**17) for _ in range(64)]
del blocks
full = resident()
step_worker._give_back_memory(0)
assert resident() < full - 2**25, "before a large step all is"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives back what is asked for")
def test_much_unused_memory_is_given_back_and_a_little_kept() -> None:
    heap = {"MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_MMAP_MAX_": "0", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", _GIVEN_BACK], env=heap, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_ray_is_started_before_it_is_known_that_there_is_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "remote", lambda *_: pytest.fail("a task starts Ray"))
    on_ray.begin_workers(["wave"])
