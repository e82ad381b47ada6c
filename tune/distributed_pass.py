"""A pass on several workers: Ray Train below Ray Tune, the same code in each worker."""

from dataclasses import dataclass
from typing import Any, cast

import ray
import ray.train
import ray.train.torch
import ray.tune
import torch
from ray.tune.integration.ray_train import TuneReportCallback
from torch import nn

from isoenergy.distributed import NodeGroup
from isoenergy.store.batches import Batches
from isoenergy.store.index import PairIndex
from isoenergy.training.training_config import TrainingConfig
from tune.placement import PassPlacement
from tune.training_pass import PassData, PassTask, TrialPairs, run_pass
from workflows.training.training_data import means_of, open_batches
from workflows.training.training_workers import distributed


def run_distributed_pass(task: PassTask, index: PairIndex, held: TrialPairs, placement: PassPlacement) -> None:
    """Run a pass on the workers of a placement; called in a trial of Ray Tune, to which the first worker reports."""
    trainer = ray.train.torch.TorchTrainer(
        _run_worker,
        train_loop_config={"work": _Work(task, index, held, placement)},
        scaling_config=ray.train.ScalingConfig(
            num_workers=placement.workers, use_gpu=placement.gpus > 0, resources_per_worker=placement.resources
        ),
        run_config=ray.train.RunConfig(
            callbacks=[cast(Any, TuneReportCallback())],
        ),
    )
    trainer.fit()


@dataclass(frozen=True)
class _Work:
    task: PassTask
    index: PairIndex
    held: TrialPairs
    placement: PassPlacement


def _run_worker(settings: dict[str, Any]) -> None:
    work: _Work = settings["work"]
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(work.placement.cpus)
    node, device = NodeGroup.form(), ray.train.torch.get_device()

    def batches(training: TrainingConfig) -> Batches:
        return open_batches([work.index], training, "auto", device, node, rank, workers)

    def wrap(module: nn.Module, training: TrainingConfig) -> nn.Module:
        return distributed(module, device, node, workers, training.batch_pairs)

    data = PassData(batches, work.index.widths, device, means_of([work.index]), work.held, wrap, rank == 0)
    run_pass(work.task, data, ray.train.report)
