"""What Ray Tune runs for a pass; its workers import this module and none that only the driver needs."""

from dataclasses import dataclass
from typing import Any

import ray
import ray.tune
import torch

from tune.distributed_pass import run_distributed_pass
from tune.objectives import Objectives
from tune.passes import SearchFolder
from tune.placement import PassPlacement
from tune.shared_rows import SharedRows
from tune.training_pass import PassData, PassTask, run_pass
from workflows.cluster.gpu import given_device
from workflows.training.training_data import means_of

_WAITING = {"CPU": 0.0, "memory": 2.0**20}
"""What the driver of a distributed pass asks for: no CPU, which would be one less for its workers."""


@dataclass(frozen=True)
class PassInputs:
    """What all passes of a search have in common."""

    folder: SearchFolder
    objectives: Objectives
    parts: int
    placement: PassPlacement
    held: Any
    """A reference to the `TrialPairs`."""
    index: Any


def trainable(inputs: PassInputs, rows: SharedRows | None) -> Any:
    """Return what Ray Tune runs with `{"pass": id}`; rows: what a pass on one device reads, None for several."""

    def train(config: dict[str, Any]) -> None:
        task = PassTask(inputs.folder, config["pass"], inputs.objectives, inputs.parts)
        if rows is None:
            run_distributed_pass(task, inputs.index, ray.get(inputs.held), inputs.placement)
            return
        torch.set_num_threads(inputs.placement.cpus)
        device = given_device(inputs.placement.gpus > 0)
        data = PassData(
            batches=rows.batches(device),
            widths=rows.index.widths,
            device=device,
            means=means_of([rows.index]),
            held=ray.get(inputs.held),
        )
        run_pass(task, data, ray.tune.report)

    # the workers of a distributed pass are Ray Train's own, and its driver waits
    resources = inputs.placement.resources if rows is not None else _WAITING
    return ray.tune.with_resources(train, resources)
