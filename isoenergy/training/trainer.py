"""The training loop: batches in, `report(step, metrics, save)` out; it knows no engine.

One pass over the data trains one SAE for each β and seed on the same batches. It runs alone, under DDP (pass `wrap`),
in a notebook or in a test. Source: paper 1.3, 1.4, 3.3.
"""

import json
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isoenergy.adam import Adam
from isoenergy.distributed import add_up, from_first, processes
from isoenergy.errors import InputError
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_paper
from isoenergy.pursuit.candidates import CandidateCount, counting_candidates
from isoenergy.sae.group import RowSums, SaeGroup
from isoenergy.sae.joint import Autoencoder, load_autoencoder
from isoenergy.settings.differences import differing_fields
from isoenergy.settings.modalities import Widths
from isoenergy.store.batches import Batches
from isoenergy.training.step_parts import CapturedParts, PlainParts, graphs_of
from isoenergy.training.training_config import TrainingConfig, sae_name, with_defaults
from isoenergy.training.training_metrics import Metrics, StepSums, largest_squared_norm

__all__ = ["Metrics", "SaveCheckpoint", "Trainer", "TrainingConfig", "sae_name"]

STATE_FILE = "trainer.safetensors"
STATE_JSON = "trainer.json"
_IDLE_STEPS = "idle_steps"
_FIRED, _UNFIRED = "fired_in_epoch", "unfired_in_last_epoch"

SaveCheckpoint = Callable[[Path], None]
Report = Callable[[int, Metrics, SaveCheckpoint | None], None]
RawPairs = tuple[Tensor, ...]
"""Raw vectors, `(pairs, width)` a modality, images and texts say; row i of all belongs to one pair."""


class DivergedError(InputError):
    """A loss or a weight is not finite."""

    def __init__(self, message: str, sae: str = "") -> None:
        """sae: the name of the SAE that it is of."""
        super().__init__(message, sae)
        self.sae = sae

    def __str__(self) -> str:
        return str(self.args[0])


class Trainer:
    """A group of SAEs, their optimizer and their position in the data; saved and loaded as a whole.

    All randomness is a function of (seed, epoch, step): the position is the random state.
    """

    def __init__(
        self,
        config: TrainingConfig,
        batches: Batches,
        dim: Widths,
        device: torch.device | None = None,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
        means: dict[str, Tensor] | None = None,
        validation: RawPairs | None = None,
        captured: bool = True,
    ) -> None:
        """Draw the SAEs.

        dim: the embeddings' width, or each modality's by name, in the order in which batches have them.
        wrap: makes a module distributed, if it is to be.
        means: `(width,)` mean unit row by modality, for centred input and for bias atoms.
        validation: pairs on which each checkpoint is measured, by the first worker.
        captured: whether steps run as CUDA graphs where they can: on a GPU, in one process, of matching pursuit and
        without revival, which waits for the GPU.
        Raises InputError if the batches are of unpaired rows and the alignment needs pairs, if only one of settings and
        batches is of shuffled pairs, if they differ in `batch_pairs`, if the batches have other widths than `dim` says,
        or if means are missing.
        """
        if not batches.paired and config.alignment.needs_pairs and any(config.betas):
            raise InputError(
                f"{config.alignment} compares the codes of a pair, and these images and texts are not paired; "
                f"give --alignment iso-energy"
            )
        if config.null != batches.null:
            raise InputError(
                f"null is {config.null} in the settings and {batches.null} of the batches; "
                f"give TrainingConfig(null=True) and UnpairedBatches.shuffled(…), or neither"
            )
        if config.batch_pairs != batches.batch_pairs:
            raise InputError(
                f"batch_pairs is {config.batch_pairs} in the settings and {batches.batch_pairs} of the batches; "
                f"give both the same"
            )
        self.config, self.batches, self.step = config, batches, 0
        self.device = device or torch.device("cpu")
        self.group = SaeGroup(config.saes(dim), config.revival).to(self.device)
        self._require_widths()
        if config.input == "centred" or config.bias_atoms == "means":
            self._set_means(means)
        self.group.start_from(batches.unshared().epoch(0))
        self._validation = validation
        self._module = wrap(self.group)
        self._atoms = config.atoms_for(dim)
        self.dead_after = config.dead_after_of(self.steps)
        self._fired = torch.zeros(len(self.group.saes), self._atoms, dtype=torch.bool, device=self.device)
        self._unfired: Tensor | None = None
        self._idle_steps = torch.zeros(len(self.group.saes), self._atoms, dtype=torch.int32, device=self.device)
        self._betas = torch.tensor([sae.config.beta for sae in self.group.saes], device=self.device)
        self._sums, self._candidates = StepSums(), CandidateCount()
        self._optimizer = Adam(self.group.parameters(), lr=config.learning_rate, fused=self.device.type != "meta")
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, config.learning_rate, total_steps=self.steps
        )
        self._parts = self._parts_of_a_step(captured)
        self._since, self._waited, self._rows = time.perf_counter(), 0.0, 0

    @property
    def steps(self) -> int:
        """Steps in the whole run."""
        return self.config.epochs * self.batches.steps

    def run(self, report: Report | None) -> None:
        """Train from the current position to the end.

        `report(step, metrics, save)` is called every `log_every` steps, every `checkpoint_every` and at the end, by all
        workers alike; `save` is None but every `checkpoint_every` steps and at the end, when `save(folder)` writes a
        checkpoint. Raises DivergedError when a report finds a loss or a weight that is not finite.
        Without a report nothing is measured on the way, which short steps gain a third by: there are no checkpoints,
        atoms are only watched for dying if revival needs it, and weights that are not finite are found at the end.
        """
        self._since, self._waited, self._rows = time.perf_counter(), 0.0, 0
        while self.step < self.steps:
            epoch, first_step = divmod(self.step, self.batches.steps)
            with closing(self._timed(self.batches.epoch(epoch, first_step))) as batches:
                for vectors in batches:
                    self._step(vectors, measured=report is not None or self.config.revival > 0)
                    if report is not None:
                        self._report_if_due(report)
        if report is None:
            self._require_finite_weights()

    def _require_widths(self) -> None:
        sae = self.group.saes[0]
        expected = {name: sae.part(name).config.dim for name in sae.config.modalities}
        if list(expected.values()) != list(self.batches.widths):
            raise InputError(
                f"the batches have vectors of widths {', '.join(map(str, self.batches.widths))}, and dim says "
                f"{', '.join(f'{name} {width}' for name, width in expected.items())}; give dim as the batches have it: "
                f"a number if all are equal, else a mapping from each modality to its width"
            )

    def _parts_of_a_step(self, captured: bool) -> PlainParts | CapturedParts:
        new_graph = graphs_of(self.device)
        alone = processes() == 1 and self._module is self.group
        waits = self.config.revival > 0 or not self.group.is_of_pursuit
        if new_graph is None or not captured or not alone or waits:
            return PlainParts()
        return CapturedParts(new_graph, self.group.parameters())

    def _report_if_due(self, report: Report) -> None:
        checkpoint_due = self.step == self.steps or self.step % self.config.checkpoint_every == 0
        if checkpoint_due or self.step % self.config.log_every == 0:
            metrics = self._metrics()
            if checkpoint_due and self._validation is not None:
                metrics |= self.validate()
            report(self.step, metrics, self.save if checkpoint_due else None)

    def _timed(self, batches: Iterator[RawPairs]) -> Generator[RawPairs]:
        """Yield the batches; note how long they kept the loop waiting."""
        for _ in range(self.batches.steps):
            asked = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def _step(self, vectors: RawPairs, measured: bool) -> None:
        vectors = tuple(part.to(self.device, non_blocking=True).float() for part in vectors)
        self._parts.run(("gradients", measured), partial(self._gradients, measured=measured), *vectors)
        self._optimizer.step()
        self._schedule.step()
        self._parts.run("projection", self.group.project_atoms)
        self._rows += sum(map(len, vectors))
        self.step += 1
        if measured and self.step % self.batches.steps == 0:
            self._unfired = (~self._fired).sum(dim=1)
            self._fired.zero_()

    def _gradients(self, *vectors: Tensor, measured: bool) -> None:
        """Compute a step's gradients, and count what is reported; a graph may repeat it: see `step_parts`."""
        try:
            with counting_candidates(self._candidates):
                output = self._module(vectors, self._dead_atoms(), measured)
        except ValueError:  # a pursuit refuses atoms that are not finite
            self._require_finite_weights()
            raise
        # DDP averages over workers; their shares of the batch may differ by a pair.
        share = len(vectors[0]) * self.batches.workers / self.batches.batch_pairs
        reconstruction, alignment, penalty, revival = output.losses.T
        own = reconstruction + penalty + self.config.revival * revival
        weight = 1.0 if self.config.alignment.over_all else share
        objective = share * own.sum() + weight * (self._betas * alignment).sum()
        self._optimizer.zero_grad(set_to_none=True)
        objective.backward()
        self.group.hold_frozen_atoms()
        self.group.clip_gradients(self.config.gradient_clip)
        if output.sums is not None:
            self._count(output.losses, output.sums)

    def _count(self, losses: Tensor, sums: RowSums) -> None:
        used = sums.fires.sum(1)
        add_up(used)
        self._idle_steps.add_(1).masked_fill_(used > 0, 0)
        self._fired |= used > 0
        self._sums.add(losses, sums)

    def _dead_atoms(self) -> Tensor:
        dead = self._idle_steps >= self.dead_after
        dead[:, : self.group.saes[0].config.frozen_count] = False  # nothing to revive: they are not learned
        return dead

    def _metrics(self) -> Metrics:
        """Return the metrics of all workers' rows since the last report."""
        names = self.group.names
        metrics = self._sums.metrics(names, self.group.modalities)
        dead_atoms = self._dead_atoms().sum(dim=1).tolist()
        # of the last whole epoch; in the first, so far
        unfired = ((~self._fired).sum(dim=1) if self._unfired is None else self._unfired).tolist()
        for number, (name, dead, sae) in enumerate(zip(names, dead_atoms, self.group.saes, strict=True)):
            metrics[f"{name}/dead_atoms"] = float(dead)
            metrics[f"{name}/unfired_atoms"] = float(unfired[number])
            if self.config.atom_norm == "free":
                metrics[f"{name}/largest_squared_norm"] = largest_squared_norm(sae)
            if not all(math.isfinite(value) for key, value in metrics.items() if key.startswith(f"{name}/")):
                raise self._diverged(name, "loss is")
        self._require_finite_weights()
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        candidates = self._candidates.a_round(self.device)
        if candidates is not None:
            metrics["candidates_a_round"] = candidates
        self._candidates = CandidateCount()
        metrics |= {
            "epoch": self.step / self.batches.steps,
            "learning_rate": float(self._schedule.get_last_lr()[0]),
            "rows_per_second": self._rows * self.batches.workers / seconds,
            "waiting_for_data": self._waited / seconds,
        }
        self._since, self._waited, self._rows = now, 0.0, 0
        return metrics

    def _require_finite_weights(self) -> None:
        for name, sae in zip(self.group.names, self.group.saes, strict=True):
            if not all(parameter.isfinite().all() for parameter in sae.parameters()):
                raise self._diverged(name, "weights are")

    def _diverged(self, name: str, what: str) -> DivergedError:
        steps = min(self.config.log_every, self.step)
        return DivergedError(
            f"{name}: the {what} not finite within {steps} steps before step {self.step}; "
            f"give a smaller --learning-rate or --beta; checkpoints of earlier steps are whole",
            name,
        )

    @torch.no_grad()
    def validate(self) -> Metrics:
        """Return each SAE's R² on the validation pairs, as measured by the first worker."""
        if self._validation is None:
            return {}
        measures = torch.zeros(len(self.group.saes), device=self.device)
        if processes() == 1 or torch.distributed.get_rank() == 0:
            for number, sae in enumerate(self.group.saes):
                measures[number] = _mean_r2(sae, self._validation, self.device)
        values = from_first(measures).tolist()
        return {f"{name}/validation_r2": r2 for name, r2 in zip(self.group.names, values, strict=True)}

    def save(self, folder: Path) -> None:
        """Write each SAE to a folder of its name, and what an exact resume needs beside them; no pickle."""
        for name, sae in zip(self.group.names, self.group.saes, strict=True):
            sae.save(folder / name)
        optimizer = self._optimizer.state_dict()
        tensors = {
            f"{index}.{name}": value.cpu().contiguous()
            for index, state in optimizer["state"].items()
            for name, value in state.items()
        }
        tensors |= {_IDLE_STEPS: self._idle_steps.cpu(), _FIRED: self._fired.cpu()}
        if self._unfired is not None:
            tensors[_UNFIRED] = self._unfired.cpu()
        save_file(tensors, folder / STATE_FILE)
        schedule = {k: v for k, v in self._schedule.state_dict().items() if isinstance(v, int | float | bool | list)}
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "steps": self.steps,
            "data": self.batches.data,
            "param_groups": optimizer["param_groups"],
            "schedule": schedule,
        }
        (folder / STATE_JSON).write_text(json.dumps(state, indent=2) + "\n")

    def load(self, folder: Path) -> None:
        """Continue from a checkpoint: the steps that follow are those of a run that was never interrupted.

        Raises InputError if it is unreadable, or was made with another config, naming the fields that differ.
        """
        try:
            state = json.loads((folder / STATE_JSON).read_text())
            tensors = load_file(folder / STATE_FILE)
            idle_steps = tensors.pop(_IDLE_STEPS)
            fired = tensors.pop(_FIRED, torch.zeros_like(idle_steps, dtype=torch.bool))  # not always saved before
            unfired = tensors.pop(_UNFIRED, None)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(f"{folder} is not a training checkpoint ({error})") from error
        here = asdict(self.config) | {"steps": self.steps}
        differences = differing_fields(with_defaults(state["config"]) | {"steps": state["steps"]}, here)
        if differences:
            raise InputError(f"{folder} was trained otherwise: {differences}; restore these settings or start anew")
        if (begun := state.get("data")) and self.batches.data and begun != self.batches.data:
            raise InputError(
                f"{folder} was trained on other data ({begun}, here {self.batches.data}); give the same pairs, or "
                f"start anew"
            )
        self._idle_steps.copy_(idle_steps)  # in place: a graph of a step knows where they are
        self._fired.copy_(fired)
        self._unfired = None if unfired is None else unfired.to(self.device)
        for name, sae in zip(self.group.names, self.group.saes, strict=True):
            sae.load_state_dict(load_autoencoder(folder / name).state_dict())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        self._optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]

    def _set_means(self, means: dict[str, Tensor] | None) -> None:
        if means is None:
            raise InputError(
                "centred input and bias atoms need the mean of each modality's unit rows: give means, `(dim,)` tensors "
                "by modality, as PairIndex.build(store, 'train').means has them"
            )
        for sae in self.group.saes:
            for part in sae.dictionaries:
                part.start_bias_atoms(means)
            if sae.config.input == "centred":
                for modality in sae.config.modalities:
                    getattr(sae.part(modality), f"{modality}_mean").copy_(means[modality])


def _mean_r2(sae: Autoencoder, pairs: RawPairs, device: torch.device) -> float:
    """Mean over modalities of R² (paper 1.6)."""
    was_training = sae.training
    sae.eval()
    measures = []
    for modality, vectors in zip(sae.config.modalities, pairs, strict=True):
        part = sae.part(modality)
        rows = part.prepare(vectors.to(device).float(), modality)
        sums = ReconstructionSums.zeros(part.config.dim)
        sums.update(rows.cpu(), part(rows).residual.cpu())
        measures.append(sums)
    sae.train(was_training)
    return r2_paper(*measures)
