"""Which pairs of a store an evaluation measures, in which parts, and what is fitted on others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

from isoenergy.errors import InputError
from isoenergy.evaluation.carried import CarriedConfig, take_carried
from isoenergy.evaluation.draw import Draw
from isoenergy.evaluation.fit import FitConfig, fit, spread_fit
from isoenergy.evaluation.measured_rows import (
    PartConfig,
    SaeReference,
    StoreReference,
    UnitRows,
    split_units,
)
from isoenergy.pairs.source import SourceConfig
from isoenergy.pairs.splits import Pairs
from isoenergy.settings.image_choices import UNRECORDED, ImageReading
from isoenergy.store import EmbeddingStore
from workflows.steps.step_plan import Step, StepFunction


@dataclass(frozen=True)
class MeasuredPairs:
    """Which pairs of a store are measured, how they are cut, and what is fitted on others."""

    parts: tuple[PartConfig, ...]
    pairs: int
    draw: Draw
    drawn: int
    fitting: FitConfig | CarriedConfig
    refitting: FitConfig | None = None
    """What could be fitted on the measured store itself, where `fitting` is of another: adaptation beside transfer."""
    source: SourceConfig | None = None
    """Where the pairs' images are."""
    reading: ImageReading = UNRECORDED

    @property
    def fits_here(self) -> bool:
        """Whether what is fitted is of the store that is measured."""
        fitting = self.fitting
        return isinstance(fitting, FitConfig) and fitting.store.fingerprint == self.parts[0].store.fingerprint

    @classmethod
    def of(
        cls,
        store: EmbeddingStore,
        split: Pairs,
        draw: Draw,
        fit_pairs: int,
        part_pairs: int,
        fit_on: EmbeddingStore | CarriedConfig | None = None,
    ) -> Self:
        """Cut the pairs of `split`, of which there are some, into parts of at least `part_pairs`, but the last.

        fit_on: a store to fit on, if it is not `store`, or what the SAEs carry of theirs. Raises InputError if a store
        has no train split, or if every pair is measured and some would be fitted on.
        """
        reference = StoreReference.of(store, split)
        parts: list[PartConfig] = []
        units: list[UnitRows] = []
        start = total = 0
        for unit in split_units(store, split):
            units.append(unit)
            total += unit.pairs
            if total - start >= part_pairs:
                parts.append(PartConfig(reference, tuple(units), start, draw.seed))
                units, start = [], total
        if units:
            parts.append(PartConfig(reference, tuple(units), start, draw.seed))
        fitting, refitting = _fitting(store, split, fit_pairs), None
        elsewhere = _elsewhere(store, fit_on, fit_pairs)
        if elsewhere is not None:
            refitting = fitting if fitting.store.split == "train" and split not in ("train", "all") else None
        elif split == "all":
            raise InputError(
                "--split all measures on the pairs too that classes and means are fitted on, as they are fitted on the "
                "store that is measured; give another one by --fit-store, or another split"
            )
        return cls(
            tuple(parts),
            total,
            draw,
            len(draw.rows(total)),
            elsewhere or fitting,
            refitting,
            store.manifest.source_config,
            store.manifest.image_reading,
        )

    @property
    def part_pairs(self) -> int:
        """Pairs of the largest part."""
        starts = [part.first_pair for part in self.parts]
        return max(b - a for a, b in pairwise([*starts, self.pairs]))

    @property
    def fitted_pairs(self) -> int:
        """The most pairs that anything is fitted on here."""
        return max(
            (fitting.most_pairs for fitting in (self.fitting, self.refitting) if isinstance(fitting, FitConfig)),
            default=0,
        )

    def steps(self, prefix: str) -> "StepMaker":
        """Return what makes steps over these pairs whose names begin with `prefix`."""
        return StepMaker(prefix, self.parts)


@dataclass(frozen=True)
class StepMaker:
    """Makes steps whose names have the same beginning: a step a line, which says its function, config and inputs."""

    prefix: str
    parts: tuple[PartConfig, ...]

    def one(
        self, name: str, function: StepFunction, config: Any, inputs: Mapping[str, Step] | None = None, memory: int = 0
    ) -> Step:
        """Return one step; memory: see `Step`."""
        return Step(f"{self.prefix}/{name}", function, config, inputs or {}, memory=memory)

    def fit(self, fitting: FitConfig | CarriedConfig, sae: SaeReference | None = None, memory: int = 0) -> Step:
        """Return the step that fits on the embeddings, or on what an SAE rebuilds, or takes what that carries."""
        if isinstance(fitting, CarriedConfig):
            uri = fitting.uri if sae is None else sae.uri
            return self.one("fit", take_carried, replace(fitting, uri=uri, sae=sae))
        return self.one("fit", fit, replace(fitting, sae=sae), memory=memory)

    def each(
        self,
        name: str,
        function: StepFunction,
        config: Callable[[PartConfig], Any],
        inputs: Mapping[str, Step] | None = None,
        codes: Mapping[str, Step] | None = None,
        memory: int = 0,
    ) -> dict[str, Step]:
        """Return a step a part of the pairs, by input name.

        codes: steps of the same kind; each step has the one of its part as a further input.
        """
        found = {}
        for number, part in enumerate(self.parts):
            key = f"part-{number:05d}"
            of_part = {**(inputs or {}), **({"codes": codes[key]} if codes else {})}
            found[key] = self.one(f"{name}/{number:05d}", function, config(part), of_part, memory)
        return found


def _fitting(store: EmbeddingStore, measured: Pairs, fit_pairs: int) -> FitConfig:
    """Fit on units of the train split from all over the store; without any, on the measured pairs."""
    return spread_fit(store, "train" if store.pairs_in("train") else measured, fit_pairs)


def _elsewhere(
    store: EmbeddingStore, fit_on: EmbeddingStore | CarriedConfig | None, fit_pairs: int
) -> FitConfig | CarriedConfig | None:
    """Return how to fit on another store than the measured one, if that is asked for."""
    if isinstance(fit_on, CarriedConfig):
        return fit_on if fit_on.carried.store != store.fingerprint else None
    if fit_on is None or fit_on.fingerprint == store.fingerprint:
        return None
    if not fit_on.pairs_in("train"):
        raise InputError(f"{fit_on.uri} has no pairs in its train split to fit on; give another --fit-store")
    return spread_fit(fit_on, "train", fit_pairs)
