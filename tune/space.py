"""What a search may vary, and in which bounds; the defaults are what the paper and others have found to work."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import product
from typing import Any, Self, get_args

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from isoenergy.alignments import Alignment, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import BiasAtoms
from isoenergy.settings.variants import number_text
from isoenergy.training.training_config import TrainingConfig

BETA = "beta"
_WHOLE = ("expansion", "k", "batch_pairs")
_CHOICES = ("alignment", "bias_atoms")


@dataclass(frozen=True)
class Dimension:
    """Numbers that a setting may take: all between two, on a log scale, or some."""

    low: float = 0.0
    high: float = 0.0
    values: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        numbers = self.values or (self.low, self.high)
        if not all(0 < number < math.inf for number in numbers):
            raise InputError(f"what is searched must be above 0 and finite, got {self}; write LOW..HIGH or A,B,C")
        if len(set(numbers)) != len(numbers) or (not self.values and self.low > self.high):
            raise InputError(f"numbers to be searched must rise or differ, got {self}; write LOW..HIGH or A,B,C")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `1e-5..1e-3`, `4,8` or `20` stands for."""
        low, dots, high = text.partition("..")
        try:
            if dots:
                return cls(float(low), float(high))
            return cls(values=tuple(float(word) for word in text.split(",")))
        except ValueError as error:
            raise InputError(f"numbers to be searched are written LOW..HIGH or A,B,C, got {text!r}") from error

    def __str__(self) -> str:
        if self.values:
            return ",".join(map(number_text, self.values))
        return f"{number_text(self.low)}..{number_text(self.high)}"

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        if self.values:
            return CategoricalDistribution(self.values)
        return FloatDistribution(self.low, self.high, log=True)

    def grid(self, points: int) -> tuple[float, ...]:
        """Return all values, or `points` of the range, evenly on a log scale, with three digits."""
        if self.values:
            return self.values
        return tuple(dict.fromkeys(float(f"{value:.3g}") for value in np.geomspace(self.low, self.high, points)))

    def nearest(self, value: float) -> float:
        """Return the value of this dimension that is nearest on a log scale."""
        if not self.values:
            return min(max(value, self.low), self.high)
        return min(self.values, key=lambda each: abs(math.log(each / value)))


@dataclass(frozen=True)
class SearchSpace:
    """LOW..HIGH is a range on a log scale, A,B,C are values to choose from, a single one is fixed."""

    beta: Dimension = Dimension(1e-5, 1e-3)
    """Weights of the alignment term: those of one pass train on the same batches. The paper's lie between 7e-5 and
    4e-4; above some 7e-4 codes collapse onto atoms that are always on."""
    expansion: Dimension = Dimension(values=(4.0, 8.0))
    """Atoms in multiples of the embeddings' width; the paper has 8, and 64 for one model."""
    k: Dimension = Dimension(values=(10.0, 20.0, 32.0))
    """Rounds of Matching Pursuit; the paper has 20, and 50."""
    learning_rate: Dimension = Dimension(2e-4, 1e-3)
    """Highest rate of the OneCycle schedule; the paper has 5e-4."""
    batch_pairs: Dimension = Dimension(values=(512.0,))
    """Pairs in a step; the paper has 512."""
    alignment: tuple[Alignment, ...] = field(default_factory=lambda: (MaskedCosine(),))
    """Objectives: one or more of those of `isoenergy train`."""

    bias_atoms: tuple[BiasAtoms, ...] = ("none",)
    """none, means or both: see `isoenergy train`."""

    def __post_init__(self) -> None:
        for name in _WHOLE:
            dimension = getattr(self, name)
            if not dimension.values or any(value != int(value) for value in dimension.values):
                raise InputError(f"{name} must be whole numbers to choose from, such as 4,8; got {dimension}")
        if not self.alignment or len(set(map(str, self.alignment))) != len(self.alignment):
            raise InputError("alignment must be one or more different objectives")
        known = get_args(BiasAtoms)
        if not self.bias_atoms or len(set(self.bias_atoms)) != len(self.bias_atoms) or set(self.bias_atoms) - {*known}:
            raise InputError(f"bias_atoms must be one or more of {', '.join(known)}, got {self.bias_atoms}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` made `values` of, as JSON has it."""
        numbers = {
            name: Dimension(part["low"], part["high"], tuple(part["values"]))
            for name, part in values.items()
            if name not in _CHOICES
        }
        alignment = tuple(map(Alignment.from_dict, values["alignment"]))
        return cls(**numbers, alignment=alignment, bias_atoms=tuple(values["bias_atoms"]))

    @property
    def dimensions(self) -> dict[str, Dimension]:
        """The numbers, by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _CHOICES}

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return all that a search may set, as Optuna has it."""
        found = {name: dimension.distribution for name, dimension in self.dimensions.items()}
        return {
            **found,
            "alignment": CategoricalDistribution([str(each) for each in self.alignment]),
            "bias_atoms": CategoricalDistribution(self.bias_atoms),
        }

    def prior(self, base: TrainingConfig) -> dict[str, Any]:
        """Return the point of this space that is nearest to a training's own settings, with the largest of its β."""
        known: dict[str, float] = {name: getattr(base, name) for name in self.dimensions if name != BETA}
        known[BETA] = max(base.betas) or self.beta.grid(3)[-1]
        nearest = {name: dimension.nearest(known[name]) for name, dimension in self.dimensions.items()}
        bias = base.bias_atoms if base.bias_atoms in self.bias_atoms else self.bias_atoms[0]
        return {**nearest, "alignment": str(self.alignment[0]), "bias_atoms": bias}

    def grid(self, points: int) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
        """Return every combination of all but β, and the β that each is tried with.

        points: how many of each range.
        """
        names = [name for name in self.dimensions if name != BETA]
        axes = [self.dimensions[name].grid(points) for name in names]
        return [
            (
                {**dict(zip(names, numbers, strict=True)), "alignment": str(alignment), "bias_atoms": bias},
                self.beta.grid(points),
            )
            for alignment in self.alignment
            for bias in self.bias_atoms
            for numbers in product(*axes)
        ]


def settings_of(base: TrainingConfig, chosen: Mapping[str, Any], betas: tuple[float, ...]) -> TrainingConfig:
    """Return the training of one pass: `chosen` is all but β, by name, the rest is that of `base`."""
    return replace(
        base,
        expansion=int(chosen["expansion"]),
        atoms=None,
        k=int(chosen["k"]),
        learning_rate=chosen["learning_rate"],
        batch_pairs=int(chosen["batch_pairs"]),
        alignment=Alignment.parse(chosen["alignment"]),
        bias_atoms=chosen["bias_atoms"],
        beta=betas,
    )
