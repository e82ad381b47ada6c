"""What can be wrong with a cluster config that Ray's own validation lets pass; each check returns its complaints.

The checks of node types take those of `ray up` and of KubeRay alike, in Ray's form.
"""

import copy
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ray.autoscaler._private.util import prepare_config, validate_config

Config = dict[str, Any]
NodeTypes = Mapping[str, Any]

NEVER_SYNCED = (".git", ".venv", "runs", "mlruns")
_SECRETS = (
    r"\b(AKIA|ASIA)[A-Z0-9]{16}\b",
    r"(?i)(secret|password|token|access_key(_id)?)['\"]?\s*[:=]\s*['\"]?[\w/+]{8,}",
    r"-----BEGIN",
    r"://[^/\s$:@]+:[^/\s@]+@",
    r"\b[0-9a-f]{32,}\b",
)


@dataclass(frozen=True)
class Pins:
    """Versions that the project is locked to."""

    ray: str
    allowed_ray: SpecifierSet
    python: str
    """That types are checked for and CI runs."""
    allowed_python: SpecifierSet

    @classmethod
    def read(cls, root: Path) -> "Pins":
        """Read them from a project's pyproject.toml and constraints.txt."""
        project = tomllib.loads((root / "pyproject.toml").read_text())
        needed = [Requirement(line) for line in project["project"]["optional-dependencies"]["cluster"]]
        (ray_needed,) = (requirement for requirement in needed if requirement.name == "ray")
        (locked,) = re.findall(r"(?m)^ray==(.+)$", (root / "constraints.txt").read_text())
        return cls(
            ray=locked,
            allowed_ray=ray_needed.specifier,
            python=project["tool"]["mypy"]["python_version"],
            allowed_python=SpecifierSet(project["project"]["requires-python"]),
        )


def ray_accepts(config: Config) -> list[str]:
    """Ray's own validation."""
    try:
        validate_config(prepare_config(copy.deepcopy(config)))
    except Exception as error:  # AssertionError, ValueError, and jsonschema's
        return [str(error).splitlines()[0]]
    return []


def counts(config: Config) -> list[str]:
    """Numbers of workers that contradict each other."""
    workers = {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}
    problems = [
        f"{name}: min_workers {node['min_workers']} is above max_workers {node['max_workers']}"
        for name, node in workers.items()
        if node["min_workers"] > node["max_workers"]
    ]
    together = sum(node["max_workers"] for node in workers.values())
    if together != config["max_workers"]:
        problems.append(f"max_workers is {config['max_workers']}, and the types' own come to {together}")
    if config["idle_timeout_minutes"] <= 0 or config["idle_timeout_minutes"] > 30:
        problems.append(f"idle nodes are kept for {config['idle_timeout_minutes']} minutes")
    return problems


def mounts(config: Config, root: Path) -> list[str]:
    """Local folders that are not there, and what is never to leave this machine."""
    problems = [
        f"file_mounts: {local} is not there"
        for local in config["file_mounts"].values()
        if not local.startswith("~/.ray/") and not (root / local).exists()
    ]
    excluded = {pattern.strip("/") for pattern in config["rsync_exclude"]}
    return problems + [f"rsync_exclude lacks {name}" for name in NEVER_SYNCED if name not in excluded]


def image_tag(image: str, pins: Pins) -> list[str]:
    """An image of another Ray or Python than the project's."""
    found = re.search(r"[:-](?:ray)?(\d+\.\d+\.\d+)-py(\d)(\d+)(?:$|-)", image)
    if found is None:
        return [f"{image} does not say its Ray and its Python"]
    tagged, python = found[1], f"{found[2]}.{found[3]}"
    problems = []
    if tagged != pins.ray or tagged not in pins.allowed_ray:
        problems.append(f"{image} has Ray {tagged}; the project is locked to {pins.ray}")
    if python != pins.python or python not in pins.allowed_python:
        problems.append(f"{image} has Python {python}; the project runs on {pins.python}")
    return problems


def images(config: Config, pins: Pins) -> list[str]:
    """The images of all nodes."""
    dockers = [config["docker"], *(node.get("docker", {}) for node in config["available_node_types"].values())]
    named = [docker[key] for docker in dockers for key in ("image", "head_image", "worker_image") if key in docker]
    return [problem for image in dict.fromkeys(named) for problem in image_tag(image, pins)]


def idle_head(node_types: NodeTypes, head: str) -> list[str]:
    """A head that takes work."""
    resources = node_types[head]["resources"]
    return [] if resources.get("CPU") == 0 and not resources.get("GPU") else [f"the head offers {resources}"]


def fallbacks(config: Config) -> list[str]:
    """Spot nodes whose work no node on demand can take over, or takes before them; a head that may be pre-empted."""
    on_demand = []
    problems = []
    for name, node in config["available_node_types"].items():
        if "InstanceMarketOptions" not in node["node_config"] and name != config["head_node_type"]:
            on_demand.append(node)
    for name, node in config["available_node_types"].items():
        if "InstanceMarketOptions" not in node["node_config"]:
            continue
        if name == config["head_node_type"]:
            problems.append("the head is a spot instance")
        same = [other for other in on_demand if other["resources"] == node["resources"] and other["max_workers"]]
        if not same:
            problems.append(f"{name} is spot, and no type on demand has its resources")
        elif not all(other.get("priority", 0) < node.get("priority", 0) for other in same):
            problems.append(f"{name} is spot, and not preferred to the type on demand")
    return problems


def secrets(text: str) -> list[str]:
    """What looks like a key, a token or a password."""
    return [f"looks like a secret: {found[0]}" for pattern in _SECRETS for found in re.finditer(pattern, text)]


def commands(config: Config) -> list[str]:
    """Every shell command, wherever it runs."""
    keys = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return [command for key in keys for command in config[f"{key}_commands"]]


def shell(lines: Iterable[str]) -> list[str]:
    """Commands that bash cannot read, or that end the shell which runs them."""
    lines = list(lines)
    found = [(line, subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True)) for line in lines]
    problems = [f"{result.stderr.strip()}: {line}" for line, result in found if result.returncode]
    for line in lines:  # all of it stands in the shell's own command line
        patterns = re.findall(r"\bpkill\b[^;|&]*? -f +(\S+?)(?:[;|&\s]|$)", line)
        problems += [f"pkill -f {each} ends its own shell: {line}" for each in patterns if re.search(each, line)]
    return problems


def exposure(config: Config) -> list[str]:
    """What listens on more than the loopback and the private address, or lets anyone in."""
    problems = []
    lines = "\n".join(commands(config))
    if re.search(r"0\.0\.0\.0|[= ]\[?::", lines):
        problems.append("something listens on every address")
    for line in commands(config):
        if "mlflow server" in line and "--host" not in line:
            problems.append("the MLflow server does not say where it listens")
        if "ray start --head" in line and "--dashboard-host=127.0.0.1" not in line:
            problems.append("the dashboard is not bound to the loopback")
    for rule in config["provider"].get("security_group", {}).get("IpPermissions", []):
        problems.append(f"the security group lets in more than ssh and the cluster itself: {rule}")
    if "-e RAY_AUTH_MODE=token" not in config["docker"]["run_options"]:
        problems.append("the nodes do not ask for a token")
    if "/home/ray/.ray/auth_token" not in config["file_mounts"]:
        problems.append("the token does not get to the nodes")
    return problems


def nodes_are_set_up(config: Config) -> list[str]:
    """What `ray start` and docker leave undone: spilling to NVMe, threads, open files, shared memory, the region."""
    problems = []
    options = " ".join(config["docker"]["run_options"])
    shared = re.search(r"--shm-size=(\d+)g", options)
    for name, node in config["available_node_types"].items():
        object_store = node["resources"].get("memory", 0) * 3 / 7  # Ray leaves 70 % of a node to tasks
        if object_store > int(shared[1] if shared else 0) * 2**30:
            problems.append(f"{name}: --shm-size is less than its object store")
    if "--ulimit nofile=" not in options:
        problems.append("docker's limit of open files stays")
    if f"AWS_DEFAULT_REGION={config['provider']['region']}" not in options:
        problems.append("AWS_DEFAULT_REGION is not the provider's region")
    zones = [zone.strip() for zone in config["provider"]["availability_zone"].split(",")]
    if len(zones) < 2 or not all(zone.startswith(config["provider"]["region"]) for zone in zones):
        problems.append(f"zones {zones} are not several of the region")
    for start in ("head", "worker"):
        (line,) = (line for line in config[f"{start}_start_ray_commands"] if "ray start" in line)
        spill = re.search(r"--object-spilling-directory=(/mnt/\w+)(\S+)", line)
        if spill is None or f"-v {spill[1]}:{spill[1]}" not in options:
            problems.append(f"{start}: objects are not spilled to a disk of the machine")
        elif f"{spill[1]}{spill[2]}" not in " ".join(config["initialization_commands"]):
            problems.append(f"{start}: no one makes {spill[1]}{spill[2]}")
        if "unset OMP_NUM_THREADS" not in line.split("ray start")[0]:
            problems.append(f"{start}: `ray up` leaves OMP_NUM_THREADS=1 to every worker")
    if not any("workflows.node_types" in line for line in config["head_start_ray_commands"]):
        problems.append("no one tells the cluster what it may grow to")
    return problems
