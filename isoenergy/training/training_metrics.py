"""What a training says of itself: sums over the steps between two reports, as numbers, and what to make of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from isoenergy.distributed import add_up
from isoenergy.metrics.reconstruction import r2_of_sums
from isoenergy.sae.group import LOSSES, RowSums
from isoenergy.sae.joint import Autoencoder
from isoenergy.statistics.concept_statistics import energy_share
from isoenergy.statistics.modality_shares import modality_shares
from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY, EPSILON

Metrics = dict[str, float]

MANY_DEAD = 0.15
"""Share of the atoms from which on a training says that they are dead."""
R2_LOSS = 0.05
"""What alignment may cost of R² before a training says so."""
_UNSTABLE_SQUARED_NORM = 2.0
_MUCH_ALWAYS_ON = 0.05


class StepSums:
    """Sums over steps, on the device that trains; read, and brought together over all workers, once a report."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def add(self, losses: Tensor, sums: RowSums) -> None:
        """Add a step of this worker: `GroupOutput.losses` and `sums`."""
        rows = sums.inputs[:, 0].sum()
        parts = [losses.detach() * rows, sums.squared_errors, sums.fires, sums.energies, sums.inputs]
        if not self._sums:
            self._sums = [torch.zeros_like(part) for part in parts]
        torch._foreach_add_(self._sums, parts)  # in place: a graph of a step knows where they are

    def metrics(self, names: list[str], modalities: Sequence[str]) -> Metrics:
        """Return the metrics of all SAEs over all workers since the last call; all workers must call it together."""
        flat = torch.cat([part.flatten() for part in self._sums])
        add_up(flat)
        parts = flat.cpu().double().split([part.numel() for part in self._sums])
        losses, errors, fires, energies, inputs = (
            part.view(like.shape).numpy() for part, like in zip(parts, self._sums, strict=True)
        )
        torch._foreach_zero_(self._sums)
        entries, total, squares, rows = inputs.T
        metrics: Metrics = {}
        for number, name in enumerate(names):
            weighted = dict(zip(LOSSES, (losses[number] / entries.sum()).tolist(), strict=True))
            r2 = r2_of_sums(errors[number], entries, total, squares)
            energy = energies[number].sum(0)
            always_on = fires[number].sum(0) > ALWAYS_ON_FREQUENCY * rows.sum()
            # a dead atom's shares are NaN, which is not below the cut
            shared = modality_shares(energies[number] / rows[:, None]).max(0) <= 1 - EPSILON
            metrics |= {f"{name}/{key}": value for key, value in weighted.items()}
            metrics |= {
                **{f"{name}/r2_{modality}": float(value) for modality, value in zip(modalities, r2, strict=True)},
                f"{name}/l0": float(fires[number].sum() / rows.sum()),
                f"{name}/always_on_atoms": float(always_on.sum()),
                f"{name}/always_on_energy": float(energy_share(energy, always_on)),
                f"{name}/bimodal_energy": float(energy_share(energy, shared)),
            }
        return metrics


def r2_by_modality(metrics: Mapping[str, float], name: str) -> dict[str, float]:
    """Return an SAE's R² on each modality, in their order."""
    start = f"{name}/r2_"
    return {key.removeprefix(start): value for key, value in metrics.items() if key.startswith(start)}


def mean_r2(metrics: Mapping[str, float], name: str) -> float:
    """Return an SAE's R², averaged over modalities; NaN if it was not measured."""
    found = r2_by_modality(metrics, name).values()
    return sum(found) / len(found) if found else math.nan


def largest_squared_norm(sae: Autoencoder) -> float:
    """Return the largest squared norm of an atom."""
    return max(float(part.dictionary.detach().square().sum(1).max()) for part in sae.dictionaries)


@dataclass(frozen=True)
class Notice:
    """Something that a user should know of a running training."""

    sae: str
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.sae}: {self.message}"


def notices(metrics: Metrics, names: list[str], atoms: int, baseline: str | None, warming_up: bool) -> list[Notice]:
    """Return what to make of a report's metrics.

    baseline: the SAE with β = 0 that the others' R² is compared with. warming_up: whether atoms have not yet had the
    time to die or to come alive.
    """
    found = []
    for name in names:

        def of(key: str, name: str = name) -> float:
            return metrics.get(f"{name}/{key}", math.nan)

        r2 = mean_r2(metrics, name)
        if of("always_on_energy") > _MUCH_ALWAYS_ON and not warming_up:
            found.append(
                Notice(
                    name,
                    "always-on",
                    f"{of('always_on_atoms'):.0f} atoms fire on more than {ALWAYS_ON_FREQUENCY:.0%} of all inputs and "
                    f"hold {of('always_on_energy'):.0%} of the energy: β is past the point at which codes collapse; "
                    f"give a smaller --beta, or --beta auto",
                )
            )
        if of("dead_atoms") > MANY_DEAD * atoms and not warming_up:
            found.append(
                Notice(
                    name,
                    "dead",
                    f"{of('dead_atoms'):.0f} of {atoms} atoms are dead, no row has chosen them for long; give "
                    f"--revival 0.3, by which they learn what the others leave, or a smaller --expansion",
                )
            )
        if of("largest_squared_norm") >= _UNSTABLE_SQUARED_NORM:
            found.append(
                Notice(
                    name,
                    "norm",
                    f"an atom has a squared norm of {of('largest_squared_norm'):.2f}: from "
                    f"{_UNSTABLE_SQUARED_NORM:.0f} on a round of pursuit makes the residual larger; give "
                    f"--atom-norm unit, or a smaller --learning-rate",
                )
            )
        if baseline is not None and baseline != name and not warming_up:
            best = mean_r2(metrics, baseline)
            if best - r2 > R2_LOSS:
                found.append(
                    Notice(
                        name,
                        "r2",
                        f"R² is {r2:.3f}, and {best:.3f} with beta = 0: alignment is bought with reconstruction; give "
                        f"a smaller --beta, or --beta auto",
                    )
                )
    return found
