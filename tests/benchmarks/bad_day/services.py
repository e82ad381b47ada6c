"""What a bad day happens to: local Ray nodes, S3 behind a proxy, an MLflow server, and a small disk."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from tests.s3.proxy import FaultProxy
from tests.s3.seaweedfs import S3Server, seaweedfs
from tests.workflows.cluster.nodes import nodes_of
from tests.workflows.tracking.mlflow_server import MlflowServer

ROOT = Path(__file__).parents[3]
NODES, CPUS = 2, 2
_DISK_MEBIBYTES = 64
_RAYS_OWN = "ray::IDLE", "ray::_", "ray::ActorLocationTracker"
"""Workers without work, and actors of Ray Data that belong to no driver."""
_MARK = "ISOENERGY_BAD_DAY"


@dataclass
class Services:
    """All that stages use; whatever is started in its environment carries a mark by which it is found again."""

    s3: S3Server
    proxy: FaultProxy
    mlflow: MlflowServer
    cluster: Cluster
    nodes: list[Any]
    disk: Path
    """A file system of 64 MiB, in memory: TMPDIR of drivers and nodes, and some outputs."""
    mark: str
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))
    """For what takes long to come back; the schedule goes on meanwhile."""

    @property
    def environment(self) -> dict[str, str]:
        """Of a driver."""
        return {
            **os.environ,
            "RAY_ADDRESS": self.cluster.address,
            "MLFLOW_TRACKING_URI": self.mlflow.uri,
            "TMPDIR": str(self.disk / "tmp"),
        }

    def lose_node(self, number: int) -> None:
        """Switch a node off: its processes are killed, and its workers see it and end."""
        self.cluster.remove_node(self.nodes.pop(number), allow_graceful=False)

    def add_node(self) -> None:
        """Add a node; it joins in some seconds."""
        self.nodes.append(_node(self.cluster, self.disk))

    def start_mlflow(self) -> Future:
        """Start the server again, in some seconds."""
        return self.threads.submit(self.mlflow.start)

    def fill_disk(self) -> None:
        """Leave no byte on the small disk."""
        with contextlib.suppress(OSError), (self.disk / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**16))

    def clear_disk(self) -> None:
        """Take away what fills the disk."""
        (self.disk / "ballast").unlink(missing_ok=True)

    def workers(self) -> list[psutil.Process]:
        """Return the Ray workers that are at work on nodes."""
        found = []
        for process in processes_of(self.mark):
            with contextlib.suppress(psutil.Error, IndexError):
                name = process.cmdline()[0]
                if name.startswith("ray::") and not name.startswith(_RAYS_OWN):
                    found.append(process)
        return found


@contextlib.contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Start all of it, and end it; what is large or long-lived lies in `folder`, Ray's sockets in a short one."""
    mark = uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        ray_folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bad-day-", ignore_cleanup_errors=True))
        disk = stack.enter_context(_small_disk(folder / "disk"))
        (folder / "s3").mkdir()
        (folder / "mlflow").mkdir()
        server = stack.enter_context(seaweedfs(folder / "s3"))
        proxy = FaultProxy(server.endpoint)
        stack.enter_context(proxy.running())
        os.environ.update(server.environment)
        os.environ.update(
            {
                _MARK: mark,
                "AWS_ENDPOINT_URL": proxy.url,
                "ISOENERGY_S3_PATIENCE": "10",
                "OMP_NUM_THREADS": "1",  # else as many as a worker's CPUs, which a lost node changes
                "PYTHONPATH": str(ROOT),
                "RAY_AUTH_MODE": "disabled",
                "RAY_TMPDIR": ray_folder,
                "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
                "RAY_worker_niceness": "0",  # Ray's own is 15: beside whatever else runs here a day would be a week
            }
        )
        os.environ.pop("RAY_ADDRESS", None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with this process
        mlflow = stack.enter_context(MlflowServer(folder / "mlflow").running())
        on_sigterm = signal.getsignal(signal.SIGTERM)
        cluster = stack.enter_context(nodes_of(head_cpus=0))
        signal.signal(signal.SIGTERM, on_sigterm)
        found = Services(server, proxy, mlflow, cluster, [], disk, mark)
        stack.callback(found.threads.shutdown)
        found.nodes += [_node(cluster, disk) for _ in range(NODES)]
        cluster.wait_for_nodes()
        yield found


def _node(cluster: Cluster, disk: Path) -> Any:
    on_sigterm = signal.getsignal(signal.SIGTERM)
    node = cluster.add_node(wait=False, num_cpus=CPUS, env_vars={"TMPDIR": str(disk / "tmp")})
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would leave all else that was started
    return node


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of some MiB; raises OSError where this user may not."""
    place.mkdir()
    size = f"size={_DISK_MEBIBYTES}m"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], capture_output=True, text=True)
    if done.returncode:
        raise OSError(
            f"a bad day fills a disk of its own, and this user may not mount one ({done.stderr.strip()}); run it as "
            f"root"
        )
    try:
        (place / "tmp").mkdir()
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def processes_of(mark: str) -> list[psutil.Process]:
    """Return what runs and was started in an environment with a mark, but for this process."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            its = process.pid != os.getpid() and process.environ().get(_MARK) == mark
            if its and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
