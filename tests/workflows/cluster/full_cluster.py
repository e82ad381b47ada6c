"""`python -m tests.workflows.cluster.full_cluster STAGE STORE OUTPUT`: a stage while somebody else holds all CPUs."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import ray

from isoenergy.training.training_config import TrainingConfig
from tests.workflows.embedding_stores import settings_of
from tests.workflows.searches import SEARCH
from tests.workflows.steps.number_steps import Number, read
from tune import search
from workflows import embed, train, tune
from workflows.cluster import engine
from workflows.command import run_command, take_verbosity
from workflows.settings.embed_settings import EmbedConfig
from workflows.settings.train_settings import TrainConfig
from workflows.steps import on_ray, step_plan
from workflows.steps.step import Step
from workflows.training.ray_training import RayTraining
from workflows.training.training_placement import Workers

MINUTES = 0.2


class _Holder:
    def there(self) -> None:
        """Answer once it has what it holds."""


@contextmanager
def _held_cpus() -> Iterator[None]:
    """Hold all CPUs of the cluster that this process has joined."""
    every = sum(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    holder: Any = ray.remote(num_cpus=every)(_Holder).remote()
    ray.get(holder.there.remote())
    yield


def _on_a_full_cluster(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any) -> Any:
        with _held_cpus():
            return function(*arguments)

    return run


def run_steps(output: str, patience: float = MINUTES) -> None:
    engine.connect()
    on_ray.run_on_ray(step_plan.plan([Step("read", read, Number(1))], output), output, "evaluate", 60 * patience)


def run_embed(output: str, patience: float = MINUTES) -> None:
    embed.run(EmbedConfig(**settings_of(Path(output)), patience=patience))


def run_train(store: str, output: str, patience: float = MINUTES) -> None:
    training = TrainingConfig(beta=(0.0,), expansion=2, k=4, epochs=1, batch_pairs=60)
    train.run(TrainConfig(store=store, output=output, workers=Workers(2, 2), training=training, patience=patience))


def run_tune(store: str, output: str, patience: float = MINUTES) -> None:
    tune.run(replace(SEARCH, store=store, output=output, passes=1, patience=patience))


def main() -> None:
    """Run the stage; the CPUs are taken just before what it asks for them."""
    stage, *arguments = sys.argv[1:]
    take_verbosity([])
    match stage:
        case "steps":
            on_ray.run_on_ray = _on_a_full_cluster(on_ray.run_on_ray)
            run_steps(*arguments)
        case "embed":
            embed.Extraction.run = _on_a_full_cluster(embed.Extraction.run)  # type: ignore[method-assign]
            run_embed(*arguments)
        case "train":
            RayTraining.train = _on_a_full_cluster(RayTraining.train)  # type: ignore[method-assign]
            run_train(*arguments)
        case "tune":
            search._fit = _on_a_full_cluster(search._fit)
            run_tune(*arguments)


if __name__ == "__main__":
    run_command(main)
