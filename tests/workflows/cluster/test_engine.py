"""The Ray that the stages start on this machine: who can reach it."""

import json
import subprocess
import sys

import pytest

from tests.workflows.processes import without_ray_address

pytestmark = [pytest.mark.slow, pytest.mark.ray]

LISTENING = """
import ipaddress, json, psutil, ray, sys
from workflows.cluster import engine

engine.connect(dashboard=sys.argv[1] == "dashboard")

@ray.remote
class Actor:
    def address(self):
        return ray.util.get_node_ip_address()

actor = Actor.remote()
address = ray.get(actor.address.remote())
found = {"here": set(), "elsewhere": set()}
me = psutil.Process()
for process in [me, *me.children(recursive=True)]:
    for connection in process.net_connections("inet"):
        if not connection.raddr:
            ip = ipaddress.ip_address(connection.laddr.ip)
            kind = "here" if (getattr(ip, "ipv4_mapped", None) or ip).is_loopback else "elsewhere"
            found[kind].add(process.name())
print(json.dumps({"address": address, **{kind: sorted(names) for kind, names in found.items()}}))
"""


def ran(program: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=without_ray_address(), capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("dashboard", ["dashboard", "none"])
def test_a_ray_that_is_started_here_listens_on_the_loopback_alone(dashboard: str) -> None:
    done = ran(LISTENING, dashboard)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["elsewhere"] == []
    assert {"gcs_server", "raylet", "ray::Actor"} <= {*found["here"]}
    assert found["address"] == "127.0.0.1"


JOINED = """
import os, subprocess, sys
import ray
from workflows.cluster import engine

if "RAY_ADDRESS" not in os.environ:
    engine.connect()
    environment = os.environ | {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    subprocess.run([sys.executable, *sys.orig_argv[1:]], env=environment, check=True, timeout=120)
else:
    print("joined, and sees", int(engine.connect()["CPU"]) > 0)
"""


def test_another_program_can_join_it() -> None:
    done = ran(JOINED)
    assert done.returncode == 0, done.stderr
    assert "joined, and sees True" in done.stdout
