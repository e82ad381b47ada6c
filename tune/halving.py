"""Early stopping for several objectives: asynchronous successive halving on what a pass adds to the others.

Ranking passes one by one, by the volume that each dominates, would keep those at one end of the front and stop all at
the other. Source: Schmucker et al. 2021, multi-objective asynchronous successive halving (arXiv 2106.12639), with the
greedy choice by hypervolume in place of the ε-net.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from tune.objectives import Measures, Objectives
from tune.passes import PassRecord

PassMeasures = Mapping[str, Sequence[Measures]]
"""Measures of a pass's trials, by pass."""


class JointHalving(FIFOScheduler):
    """After each rung a pass goes on if it is one of the 1/`reduction` that together dominate the most volume.

    It is compared with the passes that came to this rung before it, so that none waits for another. One always goes on;
    a share is rounded down, since the first ones at a rung, which have few to be compared with, get too far as it is.
    """

    def __init__(self, objectives: Objectives, parts: int, reduction: int, known: Iterable[PassRecord] = ()) -> None:
        """parts: of a whole training; the rungs are at its powers of `reduction`. known: what is on record already."""
        super().__init__()  # type: ignore[no-untyped-call]  # Ray gives it no types
        self._objectives, self._parts, self._reduction = objectives, parts, reduction
        self._rungs: dict[int, dict[str, Sequence[Measures]]] = {}
        for record in known:
            for report in record.reports:
                self._reach(record.id, report.part, list(record.measures_of(report).values()))

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide on a pass that reports a part of its training."""
        del tune_controller
        goes_on = self._reach(trial.config["pass"], result["part"], result["measures"])
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def _reach(self, pass_id: str, part: int, measures: Sequence[Measures]) -> bool:
        rung = self._rungs.setdefault(part, {})
        if pass_id in rung or part == self._parts or not self._is_rung(part):
            return True  # a pass that goes on after a kill says its last part again
        rung[pass_id] = measures
        return pass_id in best_together(rung, max(1, len(rung) // self._reduction), self._objectives)

    def _is_rung(self, part: int) -> bool:
        while part % self._reduction == 0:
            part //= self._reduction
        return part == 1


def best_together(passes: PassMeasures, count: int, objectives: Objectives) -> list[str]:
    """Return `count` passes, each the one that adds most to the volume that those before it dominate."""
    chosen: list[str] = []
    left = dict(passes)
    while left and len(chosen) < count:
        so_far = [measures for name in chosen for measures in passes[name]]
        best = max(left, key=lambda name: objectives.hypervolume([*so_far, *left[name]]))
        chosen.append(best)
        del left[best]
    return chosen
