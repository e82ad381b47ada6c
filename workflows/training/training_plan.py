"""What a training will take: sizes by arithmetic, time from a few steps on a worker's own resources."""

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from isoenergy.counts import counted
from isoenergy.durations import duration
from isoenergy.settings.modalities import Widths
from isoenergy.settings.residence import Residence
from isoenergy.settings.variants import number_text
from isoenergy.store.batches import PairBatches
from isoenergy.store.index import PairIndex
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows, ShardRows, available_memory
from isoenergy.training.beta_search import AutomaticBeta
from isoenergy.training.trainer import Trainer, TrainingConfig
from workflows.training.training_data import means_of, widths_of
from workflows.training.training_engine import TrainingEngine
from workflows.training.training_placement import TrainingPlacement

_PROBE_STEPS = 20
_WARM_UP_STEPS = 3
_ADAM_COPIES = 4
"""Weights, gradients and two moments."""


@dataclass(frozen=True)
class StepProbe:
    """What a few steps of a training showed."""

    steps_per_second: float
    parameters: int
    device: str
    threads: int


def probed(
    config: TrainingConfig, indices: list[PairIndex], cpus: int, gpus: float, engine: TrainingEngine
) -> StepProbe:
    """Train a few steps on one worker's resources, and throw them away."""
    probe: StepProbe = engine.once(_probe, config, indices, cpus, gpus > 0, cpus=cpus, gpus=gpus)
    return probe


def beta_warnings(config: TrainingConfig, widths: Widths) -> list[str]:
    """Return a line if some β are so large that little of the reconstruction can be left."""
    if isinstance(config.beta, AutomaticBeta) or config.input == "raw":
        return []
    sae = next(config_of for config_of, _ in config.saes(widths).values())
    largest = config.alignment.largest_beta(sae.dim, sae.k)
    beyond = ", ".join(number_text(beta) for beta in config.betas if beta >= largest)
    if not beyond:
        return []
    return [
        f"beta {beyond} is a lot for {config.alignment}: at width {sae.dim} and k = {sae.k} it weighs more than all of "
        f"the reconstruction from about {largest:.2g} on, and R² may end at 0; --beta auto finds one that costs little"
    ]


def training_plan(
    config: TrainingConfig,
    indices: list[PairIndex],
    residence: Residence,
    placement: TrainingPlacement,
    output: str,
    engine: TrainingEngine,
) -> str:
    """Return the plan as text; trains a few steps, on one worker's resources, and throws them away."""
    pairs = min(len(index) for index in indices)
    steps = pairs // config.batch_pairs * config.epochs
    search = isinstance(config.beta, AutomaticBeta)
    trained = replace(config, beta=(0.0, 1e-4)) if search else config
    probe = probed(trained, indices, placement.cpus, 1 if placement.gpu else 0, engine)
    saes = len(trained.names)
    named = str(saes) if search else f"{saes} ({', '.join(config.names)})"
    atoms = config.atoms_for(widths_of(indices))
    data = sum(index.nbytes for index in indices)
    seconds = steps / probe.steps_per_second
    lines = [
        (
            "pairs",
            f"{' images and '.join(f'{len(index):,}' for index in indices)}, {data / 1e9:.2f} GB as stored"
            + "; shuffled pairs: each image gets the text of another" * config.null,
        ),
        (
            "SAEs",
            f"{'beta is looked for first, then ' * search}{named} of {atoms:,} atoms, k = {config.k}, "
            f"{config.sparse_encoder}, {probe.parameters / 1e6:.1f} M parameters in all",
        ),
        ("steps", f"{steps:,}: {counted(config.epochs, 'epoch')} of batches of {config.batch_pairs} pairs"),
        ("workers", str(placement)),
        (
            "memory",
            f"a worker: {_ADAM_COPIES * 4 * probe.parameters / 1e6:,.0f} MB for weights and optimizer, "
            f"{saes * 4 * atoms**2 / 1e6:,.0f} MB for Gram matrices; pairs: {_residence(residence, data)}",
        ),
        (
            "time",
            f"{duration(seconds)} on one worker ({probe.steps_per_second:.2f} steps/s, "
            f"{2 * config.batch_pairs * probe.steps_per_second:,.0f} rows/s, from {_PROBE_STEPS} steps on "
            f"{probe.device}, {probe.threads} threads)"
            + f"; {placement.most} workers: {duration(seconds / placement.most)} at best"
            * (placement.most > 1),
        ),
        ("output", output),
    ]
    if search:
        assert isinstance(config.beta, AutomaticBeta)
        share = config.beta.epochs / config.epochs * (5 + 3 * config.beta.rounds) / saes
        lines.insert(5, ("search", f"{1 + config.beta.rounds} short trainings, {duration(seconds * share)} more"))
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _probe(config: TrainingConfig, indices: list[PairIndex], threads: int, gpu: bool) -> StepProbe:
    device = torch.device("cuda" if gpu else "cpu")
    torch.set_num_threads(threads)
    rows = {name: part for index in indices for name, part in _first_rows(index, config.batch_pairs).items()}
    count = min(map(len, rows.values()))
    order = PairOrder(np.array([0, count]), min(config.batch_pairs, count), 0, window_pairs=count)
    batches = PairBatches(order, ArrayRows({name: part[:count] for name, part in rows.items()}))
    total = _WARM_UP_STEPS + _PROBE_STEPS
    epochs = replace(config, epochs=-(-total // batches.steps), log_every=1, checkpoint_every=10**9)
    # shuffled pairs take as long as true ones
    probed = replace(epochs, batch_pairs=batches.batch_pairs, beta=config.betas, null=False)
    trainer = Trainer(probed, batches, widths_of(indices), device, means=means_of(indices))
    times: list[float] = []

    def report(step: int, _metrics: Any, _save: Any) -> None:
        times.append(time.perf_counter())
        if step >= total:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        trainer.run(report)
    seconds = np.median(np.diff(times[_WARM_UP_STEPS - 1 :])) if len(times) > _WARM_UP_STEPS else float("nan")
    parameters = sum(parameter.numel() for parameter in trainer.group.parameters())
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU of {os.uname().nodename}"
    return StepProbe(float(1 / seconds), parameters, name, torch.get_num_threads())


class _EnoughError(Exception):
    """The probe has seen its steps."""


def _first_rows(index: PairIndex, batch_pairs: int) -> dict[str, np.ndarray]:
    """The first pairs of an index, a few batches of them, by modality."""
    wanted = min(len(index), 4 * batch_pairs)
    return {name: rows.numpy() for name, rows in ShardRows(index).take(np.arange(wanted)).items()}


def _residence(residence: Residence, data: int) -> str:
    if residence == "auto":
        free = available_memory()
        fits = "fits in half of" if data <= free / 2 else "does not fit in half of"
        return f"{data / 1e9:.2f} GB {fits} the {free / 1e9:.0f} GB that are free here"
    return f"{residence}, {data / 1e9:.2f} GB"
