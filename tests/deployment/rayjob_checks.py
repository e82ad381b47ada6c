"""What can be wrong with a RayJob manifest, as far as that can be told without Kubernetes."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import tyro
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.kuberay.utils import parse_quantity

from tests.deployment import cluster_checks
from tests.deployment.cluster_checks import Config, Pins
from tests.deployment.stage_requests import Stages, stages_fit
from workflows import presets
from workflows.embed import EmbedConfig
from workflows.evaluate import SUMMARY_FILE, EvaluateConfig
from workflows.report import ReportConfig
from workflows.train import TrainConfig

# KubeRay 1.7.0, docs/reference/api.md: the fields of ray.io/v1; those of pods from Kubernetes' core/v1.
FIELDS = {
    "RayJob": "apiVersion kind metadata spec",
    "RayJobSpec": "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector "
    "submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources "
    "entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished preRunningDeadlineSeconds shutdownAfterJobFinishes "
    "suspend",
    "SubmitterConfig": "backoffLimit",
    "RayClusterSpec": "upgradeStrategy authOptions suspend managedBy autoscalerOptions headServiceAnnotations "
    "enableInTreeAutoscaling gcsFaultToleranceOptions historyServerOptions networkPolicy tlsOptions headGroupSpec "
    "rayVersion workerGroupSpecs",
    "AuthOptions": "enableK8sTokenAuth secretName mode",
    "AutoscalerOptions": "resources image imagePullPolicy securityContext idleTimeoutSeconds upscalingMode version env "
    "envFrom volumeMounts command args",
    "HeadGroupSpec": "template headService enableIngress ingressOptions resources labels rayStartParams serviceType",
    "WorkerGroupSpec": "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds priority resources "
    "labels rayStartParams template scaleStrategy numOfHosts",
    "Pod": "metadata spec",
    "PodSpec": "serviceAccountName tolerations affinity containers initContainers volumes nodeSelector securityContext "
    "restartPolicy terminationGracePeriodSeconds priorityClassName imagePullSecrets topologySpreadConstraints",
    "Container": "name image env envFrom resources volumeMounts ports command args lifecycle securityContext "
    "imagePullPolicy livenessProbe readinessProbe startupProbe workingDir",
    "Toleration": "key operator value effect tolerationSeconds",
}
MODES = {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}


def groups(job: Config) -> list[Config]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def containers(job: Config) -> Iterator[tuple[str, Config]]:
    for group in groups(job):
        for container in group["template"]["spec"]["containers"]:
            yield group.get("groupName", "head"), container


def unknown_fields(job: Config) -> list[str]:
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    found = [("RayJob", job), ("RayJobSpec", spec), ("RayClusterSpec", cluster)]
    found += [("SubmitterConfig", spec.get("submitterConfig", {})), ("AuthOptions", cluster.get("authOptions", {}))]
    found += [("AutoscalerOptions", cluster.get("autoscalerOptions", {})), ("HeadGroupSpec", cluster["headGroupSpec"])]
    found += [("WorkerGroupSpec", group) for group in cluster["workerGroupSpecs"]]
    for group in groups(job):
        found += [("Pod", group["template"]), ("PodSpec", group["template"]["spec"])]
        found += [("Toleration", toleration) for toleration in group["template"]["spec"].get("tolerations", [])]
    found += [("Container", container) for _, container in containers(job)]
    problems = [f"{kind} has no {name}" for kind, part in found for name in part if name not in FIELDS[kind].split()]
    if (job["apiVersion"], job["kind"]) != ("ray.io/v1", "RayJob"):
        problems.append(f"{job['apiVersion']} {job['kind']} is not what KubeRay takes")
    for group in groups(job):
        for name, value in group["rayStartParams"].items():
            if not isinstance(value, str):
                problems.append(f"rayStartParams: {name} must be text, and is {value!r}")
    return problems


def endings(job: Config) -> list[str]:
    """What keeps a cluster, and its cost, after its job, or a job that hangs."""
    spec = job["spec"]
    problems = []
    if not spec.get("shutdownAfterJobFinishes"):
        problems.append("the cluster outlives its job")
    if not 0 < spec.get("activeDeadlineSeconds", 0) <= 7 * 86400:
        problems.append("there is no deadline")
    if not 0 < spec.get("preRunningDeadlineSeconds", 0) < spec.get("activeDeadlineSeconds", 0):
        problems.append("a cluster that never starts is waited for")
    if spec.get("backoffLimit", 0) < 1:
        problems.append("a lost head is the end")
    if spec.get("submissionMode", "K8sJobMode") not in MODES:
        problems.append(f"submissionMode {spec['submissionMode']} is unknown")
    if not spec["rayClusterSpec"].get("enableInTreeAutoscaling"):
        problems.append("nothing scales")
    if not 0 < spec["rayClusterSpec"].get("autoscalerOptions", {}).get("idleTimeoutSeconds", 0) <= 1800:
        problems.append("idle pods stay")
    return problems


def node_types(job: Config) -> Config:
    """The autoscaler's config, which Ray itself derives and validates."""
    cluster = {"metadata": {"name": "isoenergy", "namespace": "default"}, "spec": job["spec"]["rayClusterSpec"]}
    return _derive_autoscaling_config_from_ray_cr(cluster)


def scaling(job: Config) -> list[str]:
    config = node_types(job)
    problems = cluster_checks.counts(config)
    problems += cluster_checks.idle_head(config["available_node_types"], config["head_node_type"])
    for name, container in containers(job):
        resources = container["resources"]
        if resources["requests"] != resources["limits"]:
            problems.append(f"{name}: requests are not limits")
    for group in groups(job):
        asks = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        tolerated = {toleration["key"] for toleration in group["template"]["spec"].get("tolerations", [])}
        if "nvidia.com/gpu" in asks and "nvidia.com/gpu" not in tolerated:
            problems.append(f"{group['groupName']}: GPU nodes are tainted, and it does not tolerate that")
    return problems


def images(job: Config, pins: Pins) -> list[str]:
    problems = []
    for image in dict.fromkeys(container["image"] for _, container in containers(job)):
        problems += cluster_checks.image_tag(image, pins)
    if (version := job["spec"]["rayClusterSpec"]["rayVersion"]) != pins.ray:
        problems.append(f"rayVersion {version} is not {pins.ray}")
    if len({container["image"] for _, container in containers(job)}) > 1:
        problems.append("pods have different images")
    return problems


def secrets(job: Config) -> list[str]:
    problems = cluster_checks.secrets(yaml.safe_dump(job))
    for name, container in containers(job):
        for variable in container.get("env", []):
            if re.search("TOKEN|SECRET|KEY|PASSWORD|URI", variable["name"]) and "value" in variable:
                problems.append(f"{name}: {variable['name']} is written out; take it from a Secret")
    if job["spec"]["rayClusterSpec"].get("authOptions", {}).get("mode") != "token":
        problems.append("anyone may submit jobs")
    if job["spec"]["rayClusterSpec"]["headGroupSpec"].get("serviceType", "ClusterIP") != "ClusterIP":
        problems.append("the head is seen from outside")
    return problems


def spilling(job: Config) -> list[str]:
    problems = []
    for group in groups(job):
        name, pod = group.get("groupName", "head"), group["template"]["spec"]
        (container,) = pod["containers"]
        mounted = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        spill = volumes.get(mounted.get(group["rayStartParams"].get("object-spilling-directory")), {})
        size = spill.get("emptyDir", {}).get("sizeLimit")
        problems += [
            f"{name}: {volume} is mounted and no volume" for volume in mounted.values() if volume not in volumes
        ]
        if size is None:
            problems.append(f"{name}: objects are not spilled to a bounded volume")
        elif parse_quantity(size) > parse_quantity(container["resources"]["limits"].get("ephemeral-storage", "0")):
            problems.append(f"{name}: the pod is evicted before its volume is full")
    return problems


def entrypoint(job: Config) -> list[str]:
    """Whether the stages take their command lines, have room when the job starts, and can grow as far as they say."""
    program, flag, script = shlex.split(job["spec"]["entrypoint"])
    if (program, flag) != ("sh", "-ec"):
        return ["a stage that fails would not end the job"]
    parsed: dict[str, Any] = {}
    for line in script.split(";"):
        _, stage, *arguments = shlex.split(line)
        try:
            parsed[stage] = parse(stage, arguments)
        except SystemExit:
            return [f"isoenergy {stage} does not take {arguments}"]
    embed, train = parsed["embed"], parsed["train"]
    config = node_types(job)
    stages = Stages(embed.actors, embed.gpus_per_actor, train.workers)
    nodes, head = config["available_node_types"], config["head_node_type"]
    problems = stages_fit(nodes, head, told=False, stages=stages)
    gpus = sum(node["resources"].get("GPU", 0) * node["max_workers"] for node in nodes.values())
    problems += [
        f"{stage} may take {most}, and there are at most {gpus} GPUs"
        for stage, most in (("embed", embed.actors[1] if embed.actors else 0), ("train", train.workers.most))
        if not 0 < most <= gpus
    ]
    if train.store != embed.output or parsed["evaluate"].store != embed.output:
        problems.append("stages do not go on from each other's store")
    if parsed["report"].evaluation != f"{parsed['evaluate'].output}/{SUMMARY_FILE}":
        problems.append("report does not go on from what evaluate writes")
    problems += [
        f"{stage}: {config.output} is each pod's own"
        for stage, config in parsed.items()
        if not config.output.startswith("$ISOENERGY_BUCKET/")
    ]
    missing = set(parsed["evaluate"].saes) - {f"{train.output}/{name}" for name in train.training.names}
    return problems + [f"evaluate takes {place}, which train does not make" for place in sorted(missing)]


def parse(stage: str, arguments: list[str]) -> Any:
    if stage == "train":
        choices = {name: TrainConfig(training=training) for name, training in presets.TRAINING.items()}
        return presets.parse(choices, "paper", arguments, "train", "")
    return tyro.cli({"embed": EmbedConfig, "evaluate": EvaluateConfig, "report": ReportConfig}[stage], args=arguments)
