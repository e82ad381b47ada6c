"""The training loop: batches in, `report(metrics, checkpoint)` out; it knows no engine.

One pass over the data trains one SAE for each β, from the same initialisation and on the same batches. It runs alone,
under DDP (pass `wrap`), in a notebook or in a test. Source: paper 1.3, 1.4, 3.3.
"""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from itertools import repeat
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isoenergy.differences import differing_fields
from isoenergy.errors import InputError
from isoenergy.objective import ALIGNMENTS, AlignmentName, reconstruction_loss, revival_loss
from isoenergy.sae import SaeConfig, SparseAutoencoder
from isoenergy.store.batches import PairBatches

STATE_FILE = "trainer.safetensors"
STATE_JSON = "trainer.json"
_IDLE_STEPS = "idle_steps"

Metrics = dict[str, float]
SaveCheckpoint = Callable[[Path], None]
Report = Callable[[int, Metrics, SaveCheckpoint | None], None]


@dataclass(frozen=True)
class TrainingConfig:
    """How the SAEs are trained; the defaults are the paper's for CLIP ViT-B/32."""

    betas: tuple[float, ...] = (0.0, 4e-4)
    """Weights of the alignment term, relative to the per-element mean squared error: an SAE each, 0 a standard one."""
    alignment: AlignmentName = "masked-cosine"
    """masked-cosine: as in the paper's code, each modality's top atom is exempt. cosine: as in its text."""
    expansion: int = 8
    """Atoms in the dictionary, in multiples of the embeddings' width."""
    k: int = 20
    """Rounds of Matching Pursuit."""
    epochs: int = 5
    """Passes over the train split."""
    batch_pairs: int = 512
    """Pairs in a step, over all workers; twice as many rows."""
    learning_rate: float = 5e-4
    """Highest rate of the OneCycle schedule."""
    gradient_clip: float = 1.0
    """Largest gradient norm of one SAE."""
    revival: float = 0.0
    """Weight of the loss by which dead atoms learn what the others leave, on the scale of beta; 0, the paper's: off."""
    dead_after: int = 100
    """Steps in which no row of the batch chose an atom, for it to count as dead."""
    seed: int = 0
    """Decides the initialisation and the order of the data."""
    log_every: int = 10
    """Steps between two reports of the metrics."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and field.name not in ("seed", "revival") and not value > 0:
                raise InputError(f"{field.name} must be above 0, got {value}")
        if not 0 <= self.revival < math.inf:
            raise InputError(f"revival must be 0 or more, got {self.revival}")
        if not self.betas or len(set(self.betas)) != len(self.betas):
            raise InputError(f"betas must be one or more different numbers, got {self.betas}")


def sae_name(beta: float) -> str:
    """Return the name of the SAE trained with `beta`, fit for a folder: `beta-0`, `beta-0.0004`."""
    return f"beta-{beta:g}"


class SaeGroup(nn.Module):
    """SAEs that share their batches, one for each β, all from one initialisation."""

    def __init__(self, config: TrainingConfig, dim: int) -> None:
        super().__init__()
        self.betas = config.betas
        self._alignment, self._revives = ALIGNMENTS[config.alignment], config.revival > 0
        self.saes = [
            SparseAutoencoder(
                SaeConfig(dim=dim, atoms=config.expansion * dim, k=config.k, beta=beta),
                torch.Generator().manual_seed(config.seed),
            )
            for beta in config.betas
        ]
        self._registered = nn.ModuleList(self.saes)

    def forward(self, images: Tensor, texts: Tensor, dead: Tensor) -> tuple[Tensor, Tensor]:
        """Encode raw `(pairs, dim)` embeddings with every SAE, whose dead atoms are `dead`, `(SAEs, atoms)` bool.

        Returns `(SAEs, 3)` losses: reconstruction, alignment and revival; and `(SAEs, atoms)` uint8: 1 for each atom
        that a row chose.
        """
        rows = nn.functional.normalize(torch.cat([images, texts]), dim=1)
        losses, used = zip(*map(self._losses, self.saes, repeat(rows), dead), strict=True)
        return torch.stack(losses), torch.stack(used)

    def _losses(self, sae: SparseAutoencoder, rows: Tensor, dead: Tensor) -> tuple[Tensor, Tensor]:
        codes = sae(rows)
        image, text = codes.split(len(rows) // 2)
        with torch.set_grad_enabled(torch.is_grad_enabled() and sae.config.beta > 0):
            alignment = self._alignment(image, text)
        revival = revival_loss(codes, sae.dictionary[dead]) if self._revives else alignment.new_zeros(())
        return torch.stack([reconstruction_loss(codes), alignment, revival]), codes.used_atoms(len(dead))

    def project_atoms(self) -> None:
        """Rescale every atom of every SAE to unit norm."""
        for sae in self.saes:
            sae.project_atoms()


class Trainer:
    """A group of SAEs, their optimizer and their position in the data; saved and loaded as a whole."""

    def __init__(
        self,
        config: TrainingConfig,
        batches: PairBatches,
        device: torch.device | None = None,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
    ) -> None:
        """Draw the SAEs; `wrap` makes a module distributed, if it is to be."""
        self.config, self.batches, self.step = config, batches, 0
        self.device = device or torch.device("cpu")
        dim = batches.pairs.images.shape[1]
        self.group = SaeGroup(config, dim).to(self.device)
        self._module = wrap(self.group)
        self._idle_steps = torch.zeros(len(config.betas), config.expansion * dim, dtype=torch.int32, device=self.device)
        self._optimizer = torch.optim.Adam(self.group.parameters(), lr=config.learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, config.learning_rate, total_steps=self.steps
        )

    @property
    def steps(self) -> int:
        """Steps in the whole run."""
        return self.config.epochs * self.batches.steps

    def run(self, report: Report) -> None:
        """Train from the current position to the end.

        `report(step, metrics, save)` is called every `log_every` steps and at the end; `save` is None but every
        `checkpoint_every` steps and at the end, when `save(folder)` writes a checkpoint.
        """
        while self.step < self.steps:
            epoch, first_step = divmod(self.step, self.batches.steps)
            for images, texts in self.batches.epoch(epoch, first_step):
                losses = self._step(images, texts)
                last = self.step == self.steps
                checkpoint_due = last or self.step % self.config.checkpoint_every == 0
                if checkpoint_due or self.step % self.config.log_every == 0:
                    report(self.step, self._metrics(losses), self.save if checkpoint_due else None)

    def _step(self, images: Tensor, texts: Tensor) -> Tensor:
        losses, used = self._module(images.to(self.device), texts.to(self.device), self._dead_atoms())
        betas = torch.tensor(self.config.betas, device=self.device)
        # DDP averages over workers; their shares of the batch may differ by a pair.
        share = len(images) * self.batches.workers / self.batches.batch_pairs
        weighted = losses[:, 0] + betas * losses[:, 1] + self.config.revival * losses[:, 2]
        objective = share * weighted.sum()
        self._optimizer.zero_grad(set_to_none=True)
        objective.backward()
        for sae in self.group.saes:
            nn.utils.clip_grad_norm_(sae.parameters(), self.config.gradient_clip)
        self._optimizer.step()
        self._schedule.step()
        self.group.project_atoms()
        if self.batches.workers > 1:
            torch.distributed.all_reduce(used, torch.distributed.ReduceOp.MAX)
        self._idle_steps = torch.where(used.bool(), 0, self._idle_steps + 1)
        self.step += 1
        return losses.detach()

    def _dead_atoms(self) -> Tensor:
        return self._idle_steps >= self.config.dead_after

    def _metrics(self, losses: Tensor) -> Metrics:
        """Return the losses of this worker's share of the last batch, and each SAE's count of dead atoms."""
        learning_rate = float(self._schedule.get_last_lr()[0])
        metrics: Metrics = {"epoch": self.step / self.batches.steps, "learning_rate": learning_rate}
        dead = self._dead_atoms().sum(dim=1).tolist()
        for beta, (reconstruction, alignment, revival), count in zip(
            self.config.betas, losses.tolist(), dead, strict=True
        ):
            metrics[f"{sae_name(beta)}/reconstruction_loss"] = reconstruction
            metrics[f"{sae_name(beta)}/alignment"] = alignment
            metrics[f"{sae_name(beta)}/dead_atoms"] = float(count)
            if self.config.revival:
                metrics[f"{sae_name(beta)}/revival_loss"] = revival
        return metrics

    def save(self, folder: Path) -> None:
        """Write each SAE to a folder of its name, and what an exact resume needs beside them; no pickle."""
        for beta, sae in zip(self.config.betas, self.group.saes, strict=True):
            sae.save(folder / sae_name(beta))
        optimizer = self._optimizer.state_dict()
        tensors = {
            f"{index}.{name}": value.cpu().contiguous()
            for index, state in optimizer["state"].items()
            for name, value in state.items()
        }
        save_file(tensors | {_IDLE_STEPS: self._idle_steps.cpu()}, folder / STATE_FILE)
        schedule = {k: v for k, v in self._schedule.state_dict().items() if isinstance(v, int | float | bool | list)}
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "pairs": len(self.batches.pairs),
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
            self._idle_steps = tensors.pop(_IDLE_STEPS).to(self.device)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(f"{folder} is not a training checkpoint ({error})") from error
        here = asdict(self.config) | {"pairs": len(self.batches.pairs)}
        differences = differing_fields(state["config"] | {"pairs": state["pairs"]}, here)
        if differences:
            raise InputError(f"{folder} was trained otherwise: {differences}; restore these settings or start anew")
        for beta, sae in zip(self.config.betas, self.group.saes, strict=True):
            sae.load_state_dict(SparseAutoencoder.load(folder / sae_name(beta)).state_dict())
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = value
        self._optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
