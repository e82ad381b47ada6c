"""A Ray of the tests' own in a process of its own, which stages join as they join a cluster.

`python -m tests.workflows.cluster.own_ray` starts it, says where it is, and ends it with its standard input: also when
whoever started it is killed.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray

from tests.workflows.processes import end_session, without_ray_address
from workflows.cluster import engine


@contextmanager
def joined_ray() -> Iterator[None]:
    """Start a Ray whose workers have this process's environment, and join it; RAY_ADDRESS leads other processes to it.

    What a test of this process may have joined before is left.
    """
    ray.shutdown()
    command = [sys.executable, "-m", "tests.workflows.cluster.own_ray"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=without_ray_address(), start_new_session=True, **pipes) as head:
        assert head.stdout is not None
        try:
            address = head.stdout.readline().strip()
            assert address, f"Ray did not start: {command} ended with {head.wait()}"
            with pytest.MonkeyPatch.context() as leading:
                leading.setenv("RAY_ADDRESS", address)
                engine.connect()
                yield
        finally:
            ray.shutdown()
            end_session(head)


def main() -> None:
    engine.connect()
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
