"""What to try next: by Optuna from what came out so far, at random, or everything on a grid."""

import warnings
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from isoenergy.training.training_config import TrainingConfig
from tune.objectives import Objectives
from tune.passes import PassRecord
from tune.space import BETA, SearchSpace, settings_of

_TRIES = 8
"""Times a sampler is asked for a β, until one differs from those of the pass."""

Searcher = Literal["optuna", "random", "grid"]


class Proposals(Protocol):
    """Chooses the settings of passes; it knows of earlier ones what `tell` said."""

    def propose(self, number: int) -> PassRecord | None:
        """Return what the pass of this number, from 0 on, is to train; None: there are no more."""
        ...

    def tell(self, record: PassRecord) -> None:
        """Take note of a pass: one that runs, or one that has ended."""
        ...


def _rounded(beta: float) -> float:
    return float(f"{beta:.3g}")


def pass_id(number: int) -> str:
    """Return the name of a pass."""
    return f"pass-{number:04d}"


class GridProposals:
    """Every combination once, in random order; the β of the grid are those of each pass.

    In the order of a dimension each pass might be better than those before it, and none would be stopped early.
    """

    def __init__(self, space: SearchSpace, base: TrainingConfig, points: int, seed: int) -> None:
        """points: how many of each range."""
        cells = space.grid(points)
        self._cells = [cells[number] for number in np.random.default_rng(seed).permutation(len(cells))]
        self._base = base

    def __len__(self) -> int:
        """Return the number of passes."""
        return len(self._cells)

    def propose(self, number: int) -> PassRecord | None:
        """Return a cell of the grid."""
        if number >= len(self._cells):
            return None
        chosen, betas = self._cells[number]
        return PassRecord(pass_id(number), settings_of(self._base, chosen, betas), chosen)

    def tell(self, record: PassRecord) -> None:
        """Nothing follows from what came out."""


class SampledProposals:
    """Optuna's samplers over the trials of all passes: each β of a pass is a trial of the study.

    A proposal is a function of the seed, the pass's number and what was told; so a resumed search goes on alike. The
    first pass holds the settings of `base`, or what is nearest to them.
    """

    def __init__(
        self,
        space: SearchSpace,
        base: TrainingConfig,
        objectives: Objectives,
        per_pass: int,
        seed: int,
        searcher: Literal["optuna", "random"],
    ) -> None:
        """per_pass: trials in a pass, one a β."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space, self._base, self._objectives = space, base, objectives
        self._seed, self._searcher = seed, searcher
        self._per_pass = min(per_pass, len(space.beta.values)) if space.beta.values else per_pass
        self._told: dict[str, PassRecord] = {}

    def propose(self, number: int) -> PassRecord | None:
        """Return the settings of a pass: all but β as the sampler has it, then as many β as go with that."""
        study = self._study()
        sampler = self._sampler(number)
        study.sampler = sampler
        if number == 0:
            study.enqueue_trial(self._space.prior(self._base))
        distributions = self._space.distributions()
        chosen = dict(study.ask(distributions).params)
        betas = {_rounded(chosen.pop(BETA))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.sampler = PartialFixedSampler(chosen, sampler)
        for _ in range(_TRIES * self._per_pass):
            if len(betas) == self._per_pass:
                break
            betas.add(_rounded(study.ask(distributions).params[BETA]))
        return PassRecord(pass_id(number), settings_of(self._base, chosen, tuple(sorted(betas))), chosen)

    def tell(self, record: PassRecord) -> None:
        """Take note of a pass; of one that was stopped early, what it had come to by then counts."""
        self._told[record.id] = record

    def _study(self) -> optuna.Study:
        study = optuna.create_study(directions=["maximize"] * len(self._objectives.names))
        trials = [trial for _, record in sorted(self._told.items()) for trial in self._trials(record)]
        study.add_trials(trials)
        return study

    def _trials(self, record: PassRecord) -> list[optuna.trial.FrozenTrial]:
        distributions = self._space.distributions()
        measures = record.last_measures() if record.outcome is not None else {}
        trials = []
        for beta in record.training.betas:
            parameters = {**record.chosen, BETA: beta}
            if beta in measures:
                gains: Sequence[float] | None = self._objectives.gains(measures[beta]).tolist()
                state = TrialState.COMPLETE
            else:
                gains, state = None, TrialState.FAIL if record.outcome is not None else TrialState.RUNNING
            trials.append(create_trial(state=state, params=parameters, distributions=distributions, values=gains))
        return trials

    def _sampler(self, number: int) -> BaseSampler:
        seed = int(np.random.default_rng([self._seed, number]).integers(2**31))
        if self._searcher == "random":
            return RandomSampler(seed)
        return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=4 * self._per_pass)
