"""What the stages ask of a cluster, found by asking their own code; nothing but the cluster's size is made up."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import ray.data

from isoenergy.errors import InputError
from isoenergy.evaluation.fit import FitConfig
from isoenergy.evaluation.measured_rows import PartConfig, StoreReference, UnitRows
from isoenergy.pairs.source import PairUnit
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from tune.placement import PassPlacement
from tune.search_config import SearchConfig
from workflows.cluster.cluster_size import ClusterSize, Resources
from workflows.embed import EmbedConfig
from workflows.evaluate import EvaluateConfig
from workflows.evaluation.evaluation_graph import EvaluationGraph
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.extraction.extraction_graph import Extraction, Task
from workflows.extraction.extraction_placement import Placement
from workflows.steps.step import Step
from workflows.steps.step_placement import place
from workflows.training.training_placement import AUTOMATIC, TrainingPlacement, Workers

NodeTypes = Mapping[str, Any]

_WIDEST, _EXPANSION, _K = 1152, 8, 20
"""The largest dictionary that the paper's models come to: SigLIP's widest tower at the default expansion."""


@dataclass(frozen=True)
class Stages:
    """What a run asks of the stages, as far as it decides where they can run."""

    actors: tuple[int, int] | None = EmbedConfig().actors
    gpus_per_actor: float = EmbedConfig().gpus_per_actor
    workers: Workers = AUTOMATIC


def size_of(node_types: NodeTypes, head: str, told: bool) -> ClusterSize:
    """The size of a cluster that has just been started; `told`: it knows what it may grow to."""
    workers = [(node["resources"], node) for name, node in node_types.items() if name != head]
    now = [(dict(node_types[head]["resources"]), 1)]
    now += [(dict(resources), 1) for resources, node in workers for _ in range(node["min_workers"])]
    return ClusterSize(now, [(dict(r), node["max_workers"]) for r, node in workers] if told else [])


def stages_fit(node_types: NodeTypes, head: str, told: bool = True, stages: Stages | None = None) -> list[str]:
    """Return a complaint for each stage that there is no node for."""
    stages = stages or Stages()
    size = size_of(node_types, head, told)
    problems = []
    asked: dict[str, list[Resources]] = {}
    with patch.object(ClusterSize, "of_this_one", lambda: size):
        for stage, ask in (("embed", _embedding), ("train", _training), ("tune", _search), ("evaluate", _evaluation)):
            try:
                asked[stage] = ask(size, stages)
            except InputError as refused:
                problems.append(f"{stage}: {refused}")
    nodes = [node["resources"] for name, node in node_types.items() if name != head and node["max_workers"]]
    for stage, requests in asked.items():
        for request in requests:
            if not any(all(node.get(kind, 0) >= amount for kind, amount in request.items()) for node in nodes):
                problems.append(f"{stage}: no node has {json.dumps(request)}")
    if any(node.get("GPU") for node in nodes):
        problems += [
            f"{stage}: asks for no GPU, though there are some"
            for stage in ("embed", "train", "tune")
            if stage in asked and not any(request.get("GPU") for request in asked[stage])
        ]
    return problems


def _embedding(_size: ClusterSize, stages: Stages) -> list[Resources]:
    placement = Placement.fit(stages.actors, stages.gpus_per_actor)
    graph = _RecordedDataset()
    nothing: Any = None
    with patch.object(ray.data, "from_items", lambda _items, **_: graph):
        extraction = Extraction(nothing, nothing, {}, EmbedConfig().batch_rows, placement)
        extraction._outcomes([Task(PairUnit("pairs.tar", 0, None), "new", None)], [], False)
    return graph.requests


class _RecordedDataset:
    """Stands where a Ray dataset does, and keeps what each stage of it asks for."""

    def __init__(self) -> None:
        self.requests: list[Resources] = []

    def map_batches(self, _function: Callable, num_cpus: float, num_gpus: float = 0, **_: Any) -> "_RecordedDataset":
        self.requests.append({"CPU": num_cpus, **({"GPU": num_gpus} if num_gpus else {})})
        return self

    def iter_batches(self, **_: Any) -> list[Any]:
        return []


def _training(size: ClusterSize, stages: Stages) -> list[Resources]:
    placement = TrainingPlacement.fit(stages.workers)
    places = sum(
        min(int(resources.get(kind, 0) // amount) for kind, amount in placement.resources.items()) * count
        for resources, count in (size.later or size.now)
    )
    if placement.fewest > places:
        raise InputError(f"{placement} have {places} places")
    return [placement.resources]


def _search(_size: ClusterSize, _stages: Stages) -> list[Resources]:
    return [PassPlacement.fit(SearchConfig()).resources]


def _evaluation(size: ClusterSize, _stages: Stages) -> list[Resources]:
    config = EvaluateConfig("store", ("sae",))
    store = StoreReference("s3://bucket/store", "fingerprint", config.split, (("image", 512), ("text", 512)))
    units = (UnitRows("unit", "unit.parquet", "file", 10),)
    part = PartConfig(store, units, 0, config.seed)
    measured = MeasuredPairs((part,), 10, config.draw, 10, FitConfig(store, units, config.fit_pairs))
    saes = {
        f"s3://bucket/saes/beta-{beta:g}": SparseAutoencoder(
            SaeConfig(dim=_WIDEST, atoms=_EXPANSION * _WIDEST, k=_K, beta=beta)
        )
        for beta in (0.0, 4e-4)
    }
    due = EvaluationGraph(measured, saes).targets
    found: dict[str, Step] = {}
    while due:
        step = due.pop()
        found[step.name] = step
        due += step.inputs.values()
    names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
    options = place(list(found.values()), size)
    return [{names[key]: amount for key, amount in asked.items() if amount} for asked in options.values()]
