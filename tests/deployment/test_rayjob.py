import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment import cluster_checks, rayjob_checks
from tests.deployment.cluster_checks import Config, Pins

FOLDER = Path(__file__).parents[2] / "kubernetes"
TEXT = (FOLDER / "rayjob.yaml").read_text()
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
PINS = Pins.read(FOLDER.parent)


CHECKS: dict[str, Callable[[Config], list[str]]] = {
    "fields": rayjob_checks.unknown_fields,
    "endings": rayjob_checks.endings,
    "scaling": rayjob_checks.scaling,
    "images": lambda job: rayjob_checks.images(job, PINS),
    "secrets": rayjob_checks.secrets,
    "spilling": rayjob_checks.spilling,
    "entrypoint": rayjob_checks.entrypoint,
}


@pytest.fixture
def job() -> Config:
    """The manifest; YAML's aliases are one object in Python, which a change of one part must not share."""
    return _own(yaml.safe_load(TEXT))


def _own(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _own(inner) for name, inner in value.items()}
    return [_own(inner) for inner in value] if isinstance(value, list) else copy.copy(value)


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_wrong_with_the_job(job: Config, check: str) -> None:
    assert CHECKS[check](job) == []


def test_the_manifest_holds_no_secret_in_its_comments_either() -> None:
    assert cluster_checks.secrets(TEXT) == []


def test_its_image_is_built_on_the_projects_own_ray() -> None:
    (base,) = re.findall(r"(?m)^FROM (\S+)$", DOCKERFILE)
    assert cluster_checks.image_tag(base, PINS) == []
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert set(cluster_checks.NEVER_SYNCED) <= set(ignored)


CLUSTER = ("spec", "rayClusterSpec")
HEAD_POD = (*CLUSTER, "headGroupSpec", "template", "spec")
GPU = (*CLUSTER, "workerGroupSpecs", 0)
GPU_POD = (*GPU, "template", "spec")
GPU_CONTAINER = (*GPU_POD, "containers", 0)
BROKEN: list[tuple[str, tuple[Any, ...], Any, str]] = [
    ("fields", ("spec", "activeDeadline"), 60, "RayJobSpec has no activeDeadline"),
    ("fields", (*GPU_CONTAINER, "shmSize"), "1Gi", "Container has no shmSize"),
    ("fields", (*CLUSTER, "headGroupSpec", "rayStartParams", "num-cpus"), 0, "must be text"),
    ("fields", ("apiVersion",), "ray.io/v1alpha1", "is not what KubeRay takes"),
    ("endings", ("spec", "shutdownAfterJobFinishes"), False, "outlives its job"),
    ("endings", ("spec", "activeDeadlineSeconds"), 0, "no deadline"),
    ("endings", ("spec", "preRunningDeadlineSeconds"), 100_000, "never starts"),
    ("endings", ("spec", "backoffLimit"), 0, "a lost head"),
    ("endings", ("spec", "submissionMode"), "JobMode", "is unknown"),
    ("endings", (*CLUSTER, "enableInTreeAutoscaling"), False, "nothing scales"),
    ("endings", (*CLUSTER, "autoscalerOptions", "idleTimeoutSeconds"), 7200, "idle pods stay"),
    ("scaling", (*GPU, "minReplicas"), 9, "gpu: min_workers 9 is above max_workers 8"),
    ("scaling", (*CLUSTER, "headGroupSpec", "rayStartParams", "num-cpus"), "2", "the head offers"),
    ("scaling", (*GPU_CONTAINER, "resources", "requests", "cpu"), "4", "gpu: requests are not limits"),
    ("scaling", (*GPU_POD, "tolerations"), [], "does not tolerate"),
    ("images", (*GPU_CONTAINER, "image"), "rayproject/ray:2.60.0-py311-gpu", "different images"),
    ("images", (*CLUSTER, "rayVersion"), "2.59.0", "rayVersion 2.59.0"),
    ("secrets", (*GPU_CONTAINER, "env"), [{"name": "RAY_AUTH_TOKEN", "value": "x"}], "is written out"),
    ("secrets", (*CLUSTER, "authOptions", "mode"), "disabled", "anyone may submit"),
    ("secrets", (*CLUSTER, "headGroupSpec", "serviceType"), "LoadBalancer", "seen from outside"),
    ("spilling", (*GPU, "rayStartParams"), {}, "gpu: objects are not spilled"),
    ("spilling", (*GPU_POD, "volumes"), [], "gpu: spill is mounted and no volume"),
    ("spilling", (*GPU_CONTAINER, "resources", "limits", "ephemeral-storage"), "10Gi", "is evicted"),
    ("spilling", (*HEAD_POD, "volumes", 0, "emptyDir", "sizeLimit"), "60Gi", "head: the pod is evicted"),
    ("entrypoint", ("spec", "entrypoint"), "sh -c 'isoenergy embed'", "would not end the job"),
    ("entrypoint", ("spec", "entrypoint"), ("--actors 1 8", "--actors 1"), "isoenergy embed does not take"),
    ("entrypoint", ("spec", "entrypoint"), ("--actors 1 8", "--actors 1 16"), "embed may take 16"),
    ("entrypoint", ("spec", "entrypoint"), ("--workers 1,8", "--workers 8"), "train: 8 workers need"),
    ("entrypoint", ("spec", "entrypoint"), ("saes/beta-0.0004", "saes/beta-0.1"), "which train does not make"),
    ("entrypoint", ("spec", "entrypoint"), ("train clip --store $ISOENERGY_BUCKET/store", "train --store x"), "go on"),
    ("entrypoint", (*GPU, "minReplicas"), 0, "embed: asks for no GPU"),
    ("entrypoint", (*GPU_CONTAINER, "resources"), {"limits": {"cpu": "15", "memory": "54Gi"}}, "at most 0 GPUs"),
    ("entrypoint", ("spec", "entrypoint"), ("--output $ISOENERGY_BUCKET/e", "--output /tmp/e"), "evaluate: /tmp/eval"),
    ("entrypoint", ("spec", "entrypoint"), ("--evaluation $ISOENERGY_BUCKET/e", "--evaluation /e"), "report does not"),
]


@pytest.mark.parametrize(("check", "path", "value", "complaint"), BROKEN, ids=[f"{b[0]}-{b[3]}" for b in BROKEN])
def test_a_job_that_is_broken_is_found_out(
    job: Config, check: str, path: tuple[Any, ...], value: Any, complaint: str
) -> None:
    inner: Any = job
    for place in path[:-1]:
        inner = inner[place]
    if isinstance(value, tuple):
        old, new = value
        assert old in inner[path[-1]]
        value = inner[path[-1]].replace(old, new)
    inner[path[-1]] = value
    assert complaint in "\n".join(CHECKS[check](job))
