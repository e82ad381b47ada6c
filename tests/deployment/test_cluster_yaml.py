import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

from tests.deployment import cluster_checks
from tests.deployment.cluster_checks import Config, Pins
from tests.deployment.stage_requests import Stages, stages_fit
from workflows.cluster.cluster_size import Resources
from workflows.training.training_placement import Workers

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster.yaml").read_text()
PINS = Pins.read(ROOT)


def prepared(config: Config) -> Config:
    """The config as Ray fills it in."""
    return prepare_config(copy.deepcopy(config))


CHECKS: dict[str, Callable[[Config], list[str]]] = {
    "ray": cluster_checks.ray_accepts,
    "counts": lambda config: cluster_checks.counts(prepared(config)),
    "mounts": lambda config: cluster_checks.mounts(config, ROOT),
    "images": lambda config: cluster_checks.images(config, PINS),
    "head": lambda config: cluster_checks.idle_head(config["available_node_types"], config["head_node_type"]),
    "fallbacks": cluster_checks.fallbacks,
    "exposure": cluster_checks.exposure,
    "set up": cluster_checks.nodes_are_set_up,
    "shell": lambda config: cluster_checks.shell(cluster_checks.commands(config)),
    "secrets": lambda config: cluster_checks.secrets(yaml.safe_dump(config)),
    "stages": lambda config: stages_fit(prepared(config)["available_node_types"], config["head_node_type"]),
}


@pytest.fixture
def config() -> Config:
    return yaml.safe_load(TEXT)


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_wrong_with_the_cluster(config: Config, check: str) -> None:
    assert CHECKS[check](config) == []


def test_its_comments_hold_no_secret_either() -> None:
    assert cluster_checks.secrets(TEXT) == []


def put(*path: Any) -> Callable[[Config], None]:
    """A change that puts the last of `path`, or what it makes of what is there, at the place that the others name."""
    *places, last, value = path

    def change(config: Config) -> None:
        inner: Any = config
        for place in places:
            inner = inner[place]
        inner[last] = value(inner[last]) if callable(value) else value

    return change


def without(*path: Any) -> Callable[[Config], None]:
    *places, last = path

    def change(config: Config) -> None:
        inner: Any = config
        for place in places:
            inner = inner[place]
        del inner[last]

    return change


def replaced(old: str, new: str) -> Callable[[list[str]], list[str]]:
    def change(lines: list[str]) -> list[str]:
        changed = [line.replace(old, new) for line in lines]
        assert changed != lines, f"{old} is in none of {lines}"
        return changed

    return change


NODES = "available_node_types"


def on_workers(kind: str, amount: int) -> Callable[[Config], None]:
    """A change of one resource of all workers."""

    def change(config: Config) -> None:
        for name, node in config[NODES].items():
            if name != config["head_node_type"]:
                node["resources"][kind] = amount

    return change


BROKEN: list[tuple[str, Callable[[Config], None], str]] = [
    ("ray", put("surprise", 1), "surprise"),
    ("counts", put(NODES, "gpu_spot", "min_workers", 9), "gpu_spot: min_workers 9 is above max_workers 8"),
    ("counts", put("max_workers", 14), "max_workers is 14, and the types' own come to 15"),
    ("counts", without(NODES, "cpu_spot", "max_workers"), "come to"),
    ("counts", put("idle_timeout_minutes", 240), "240 minutes"),
    ("mounts", put("file_mounts", "/home/ray/weights", "./weights"), "./weights is not there"),
    ("mounts", put("rsync_exclude", ["/.git", "/runs", "/mlruns"]), "lacks .venv"),
    ("images", put("docker", "image", "rayproject/ray:2.59.0-py311-cpu"), "has Ray 2.59.0"),
    ("images", put("docker", "image", "rayproject/ray:2.60.0-py310-cpu"), "has Python 3.10"),
    ("images", put("docker", "image", "rayproject/ray:latest"), "does not say its Ray"),
    ("images", put(NODES, "gpu_spot", "docker", "worker_image", "rayproject/ray:2.60.1-py311-gpu"), "has Ray 2.60.1"),
    ("head", put(NODES, "head", "resources", {}), "offers {}"),
    ("head", put(NODES, "head", "resources", "CPU", 4), "offers {'CPU': 4}"),
    ("fallbacks", put(NODES, "gpu_ondemand", "resources", "CPU", 8), "gpu_spot is spot, and no type on demand"),
    ("fallbacks", put(NODES, "cpu_ondemand", "max_workers", 0), "cpu_spot is spot, and no type on demand"),
    ("fallbacks", put(NODES, "gpu_ondemand", "priority", 10), "gpu_spot is spot, and not preferred"),
    ("fallbacks", put(NODES, "head", "node_config", "InstanceMarketOptions", {}), "the head is a spot instance"),
    ("exposure", put("head_start_ray_commands", replaced("--host $host", "--host 0.0.0.0")), "every address"),
    ("exposure", put("head_start_ray_commands", replaced("--host $host", "")), "does not say where it listens"),
    ("exposure", put("head_start_ray_commands", replaced("127.0.0.1 --object", ":: --object")), "the dashboard"),
    ("exposure", put("provider", "security_group", "IpPermissions", [{"FromPort": 8265}]), "lets in more"),
    ("exposure", put("docker", "run_options", replaced("AUTH_MODE=token", "AUTH_MODE=disabled")), "ask for a token"),
    ("exposure", without("file_mounts", "/home/ray/.ray/auth_token"), "the token does not get"),
    ("set up", put("docker", "run_options", replaced("--shm-size=24g", "--shm-size=16g")), "cpu_spot: --shm-size"),
    ("set up", put("docker", "run_options", replaced("--ulimit nofile", "--ulimit nproc")), "limit of open files"),
    ("set up", put("provider", "region", "eu-west-1"), "AWS_DEFAULT_REGION"),
    ("set up", put("provider", "availability_zone", "us-west-2a"), "not several of the region"),
    ("set up", put("provider", "availability_zone", "us-west-2a,us-east-1b"), "not several of the region"),
    ("set up", put("worker_start_ray_commands", replaced("--object-spilling-directory", "--temp-dir")), "not spilled"),
    ("set up", put("docker", "run_options", replaced("-v /mnt/nvme:", "-v /mnt/other:")), "not spilled to a disk"),
    ("set up", put("initialization_commands", replaced("/mnt/nvme/spill", "/mnt/nvme/x")), "no one makes"),
    ("set up", put("worker_start_ray_commands", replaced("unset OMP_NUM_THREADS;", "")), "worker: `ray up` leaves"),
    ("set up", put("head_start_ray_commands", replaced("workflows.node_types", "workflows.x")), "may grow to"),
    ("shell", put("initialization_commands", replaced("}; fi;", "};")), "syntax error"),
    ("shell", put("head_start_ray_commands", replaced("ray stop", "pkill -f mlflow; ray stop")), "ends its own shell"),
    ("secrets", put("docker", "run_options", ["-e AWS_ACCESS_KEY_ID=AKIA" + "A" * 16]), "AKIA"),
    ("secrets", put("docker", "run_options", ["-e RAY_AUTH_TOKEN=" + "0123456789abcdef" * 2]), "TOKEN=0123"),
    ("secrets", put("docker", "run_options", ["-e MLFLOW_TRACKING_URI=http://me:secret@host"]), "://me:secret@"),
    ("stages", on_workers("CPU", 0), "embed: --actors asks for at least 1 encoders of 1 GPU, and there is room for 0"),
    (
        "stages",
        on_workers("memory", 4 * 2**30),
        "4.16 GiB of memory, and the largest node has 1 GPU and 4.00",
    ),
]


@pytest.mark.parametrize(("check", "breaking", "complaint"), BROKEN, ids=[f"{c}-{w}" for c, _, w in BROKEN])
def test_a_cluster_that_is_broken_is_found_out(
    config: Config, check: str, breaking: Callable[[Config], None], complaint: str
) -> None:
    unshare(config)
    breaking(config)
    assert complaint in "\n".join(CHECKS[check](config))


def unshare(config: Config) -> None:
    """YAML's aliases are one object in Python: a change of one node type would be one of others."""
    config[NODES] = {name: yaml.safe_load(yaml.safe_dump(node)) for name, node in config[NODES].items()}


def test_a_stage_that_asks_for_what_no_node_has_is_found_out(config: Config) -> None:
    nodes = prepared(config)[NODES]
    assert "there is room for 0" in "\n".join(stages_fit(nodes, "head", stages=Stages(gpus_per_actor=2)))
    assert stages_fit(nodes, "head", stages=Stages(gpus_per_actor=0)) == [
        "embed: asks for no GPU, though there are some"
    ]
    assert "33 workers need" in "\n".join(stages_fit(nodes, "head", stages=Stages(workers=Workers(33, 33))))


def test_a_cluster_that_is_not_told_what_it_may_grow_to_has_no_room(config: Config) -> None:
    complaints = stages_fit(prepared(config)[NODES], "head", told=False)
    assert [complaint.split(":")[0] for complaint in complaints] == ["embed", "train", "tune", "evaluate"]


ENCODER: Resources = {"CPU": 1, "GPU": 1}


def started(config: Config, request: Resources, times: int, refused: str = "") -> dict[str, int]:
    """What Ray's own autoscaler starts on an empty cluster, after AWS has `refused` a node type."""
    autoscaling = AutoscalingConfig(config, skip_content_hash=True)
    requests = ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(request) for _ in range(times)])
    asked = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=autoscaling.get_node_type_configs(),
        max_num_nodes=autoscaling.get_max_num_nodes(),
        resource_requests=requests,
        recoverable_resource_availabilities={refused: 0.0} if refused else {},
    )
    return {launch.instance_type: launch.count for launch in ResourceDemandScheduler().schedule(asked).to_launch}


def test_spot_is_started_first_and_on_demand_when_there_is_none(config: Config) -> None:
    assert started(config, ENCODER, 1) == {"gpu_spot": 1}
    assert started(config, ENCODER, 1, refused="gpu_spot") == {"gpu_ondemand": 1}
    assert started(config, ENCODER, 10) == {"gpu_spot": 8, "gpu_ondemand": 2}
    assert started(config, {"CPU": 0.9}, 30) == {"cpu_spot": 1}
    assert started(config, {"CPU": 0.9}, 30, refused="cpu_spot") == {"cpu_ondemand": 1}
    assert started(config, {"CPU": 1, "memory": 5 * 2**30}, 20) == {"cpu_spot": 3}


def test_a_fallback_of_other_resources_would_be_started_before_spot(config: Config) -> None:
    unshare(config)
    config[NODES]["gpu_ondemand"]["resources"]["CPU"] = 8
    assert started(config, ENCODER, 1) == {"gpu_ondemand": 1}
