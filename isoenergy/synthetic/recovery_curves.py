"""One seed of the synthetic experiment over training time: what SAEs of every β recover, measured in one pass."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.variants import number_text
from isoenergy.synthetic.experiment_config import CurvesConfig
from isoenergy.synthetic.generator import generate
from isoenergy.synthetic.recovery_experiment import measure, one_thread, recovery_trainer
from isoenergy.training.trainer import Metrics, SaveCheckpoint

_TIMED_STEPS = 5


def measure_curves(config: CurvesConfig, _inputs: Mapping[str, Path], _output: Path) -> dict[str, Any]:
    """Draw, train and measure on one thread, after each of the epochs that are asked for. A step's function.

    A point is of one training, whose learning rate rises and falls over all of its epochs: it is not what a training
    of only so many epochs ends at. Returns `points`, one by β and epoch, in the order of epochs, with what `measure`
    says of it, and `training_seconds`, measuring excluded.
    """
    with one_thread():
        pairs = generate(config.experiment.data, config.experiment.seed)
        trainer = recovery_trainer(config.experiment, pairs)
        points, measuring = [], 0.0
        started = time.perf_counter()

        def report(step: int, _metrics: Metrics, _save: SaveCheckpoint | None) -> None:
            nonlocal measuring
            epoch = step // trainer.batches.steps
            if epoch not in config.at and step < trainer.steps:
                return
            began = time.perf_counter()
            for sae in trainer.group.saes:
                assert isinstance(sae, SparseAutoencoder)
                measured = measure(sae.eval(), pairs)
                sae.train()
                points.append({"beta": number_text(sae.config.beta), "epoch": epoch, "step": step, **measured})
            measuring += time.perf_counter() - began

        trainer.run(report)
        return {"points": points, "training_seconds": time.perf_counter() - started - measuring}


def estimated_seconds(configs: Sequence[CurvesConfig]) -> float:
    """Return the CPU time that these curves would take, one after the other, from a few steps of the first.

    They differ in their lengths, but not in what a step costs. What else the machine does is not in it.
    """
    experiment = configs[0].experiment
    pairs = min(experiment.data.pairs, _TIMED_STEPS * experiment.batch_pairs)
    few = replace(experiment, epochs=1, data=replace(experiment.data, pairs=pairs))
    with one_thread():
        drawn = generate(few.data, few.seed)
        for _ in range(2):  # the first steps compile, the first measure imports
            trainer = recovery_trainer(few, drawn)
            began = time.process_time()
            trainer.run(None)
            trained = time.process_time()
            for sae in trainer.group.saes:
                assert isinstance(sae, SparseAutoencoder)
                measure(sae.eval(), drawn)
            measured = time.process_time()
    grows = experiment.data.pairs / pairs
    an_epoch, a_point = (trained - began) * grows, (measured - trained) * grows
    return sum(its.experiment.epochs * an_epoch + (len(its.at) + 1) * a_point for its in configs)
