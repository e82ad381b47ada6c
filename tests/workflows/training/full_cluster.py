"""`python -m tests.workflows.training.full_cluster STORE OUTPUT`: train while somebody else holds all CPUs."""

import sys
from collections.abc import Callable
from typing import Any

import ray

from tests.workflows.training.standing_training import config_of
from workflows import train
from workflows.command import run_command, take_verbosity
from workflows.training.ray_training import RayTraining
from workflows.training.training_engine import Seat
from workflows.training.training_placement import TrainingPlacement

PATIENCE_SECONDS = 18.0


class OnAFullCluster(RayTraining):
    """All CPUs are taken just before the workers come."""

    def train(self, work: Callable[[Seat], None], placement: TrainingPlacement, output: str) -> None:
        class Holder:
            def there(self) -> None:
                """Answer once it has what it holds."""

        holder: Any = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Holder).remote()
        ray.get(holder.there.remote())
        super().train(work, placement, output)


def main() -> None:
    take_verbosity([])
    train.run(config_of(*sys.argv[1:]), engine=OnAFullCluster(PATIENCE_SECONDS))


if __name__ == "__main__":
    run_command(main)
