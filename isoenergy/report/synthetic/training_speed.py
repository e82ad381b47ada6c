"""How much sooner alignment gets somewhere: the ratio of the steps that a value of W takes without it and with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from isoenergy.report.synthetic.over_seeds import Interval, mean_of_few

Course = Sequence[tuple[int, float]]
"""`(epoch, value)`, in the order of epochs."""


def epochs_to_reach(course: Course, target: float) -> float | None:
    """Return after how many epochs a course is at `target` or below it first; None if it never is.

    Linear between two measured epochs. A course that is there when it is first measured took at most that long.
    """
    before: tuple[int, float] | None = None
    for epoch, value in course:
        if value <= target:
            if before is None:
                return float(epoch)
            return before[0] + (epoch - before[0]) * (before[1] - target) / (before[1] - value)
        before = epoch, value
    return None


def speed(plain: Sequence[Course], aligned: Sequence[Course], target: float) -> dict[str, Any]:
    """Return what reaching `target` takes without alignment and with it, over seeds, and the ratio of both.

    plain, aligned: the courses of the same seeds in the same order; a ratio is of one seed, whose two SAEs share pairs,
    order and initialisation, so that epochs and steps have the same ratio. Above 1: alignment is sooner. The mean is
    geometric, with Student's 95 % interval of the logarithms. `seeds` counts all, `plain_reached` and `aligned_reached`
    those that get there. There is a ratio only where all do with alignment; those that do not without it count with all
    of their epochs, so that the ratio is at least what is said (`at_least`).
    """
    slow, fast = ([epochs_to_reach(course, target) for course in courses] for courses in (plain, aligned))
    most = [course[-1][0] if taken is None else taken for course, taken in zip(plain, slow, strict=True)]
    logs = [float(np.log(s / f)) for s, f in zip(most, fast, strict=True) if f is not None]
    ratio = mean_of_few(logs if len(logs) == len(fast) else [])
    return {
        "target": target,
        "seeds": len(slow),
        "plain_reached": len(_known(slow)),
        "aligned_reached": len(_known(fast)),
        "plain_epochs": _mean_if_all(slow),
        "aligned_epochs": _mean_if_all(fast),
        "at_least": len(_known(slow)) < len(slow),
        "ratio": {end: None if log is None else float(np.exp(log)) for end, log in ratio.items()},
    }


def _known(epochs: Sequence[float | None]) -> list[float]:
    return [epoch for epoch in epochs if epoch is not None]


def _mean_if_all(epochs: Sequence[float | None]) -> Interval:
    known = _known(epochs)
    return mean_of_few(known if len(known) == len(epochs) else [])
