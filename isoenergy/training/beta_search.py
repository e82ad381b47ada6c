"""Automatic β: the largest whose price in R² stays small and under which codes do not collapse onto always-on atoms.

The cliff at which they do is sharp (paper 3.6), and where it lies depends on model and data. A few short trainings of
several β each, on the same batches, find it: first over the decades, then by bisection of the interval that is left.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from isoenergy.errors import InputError
from isoenergy.settings.variants import Variant

_DECADES = (1e-5, 1e-4, 1e-3, 1e-2)


class BetaRule(Variant):
    """How β is chosen where it is not given."""

    noun: ClassVar[str] = "beta"


@dataclass(frozen=True)
class AutomaticBeta(BetaRule):
    """The largest β that keeps within these bounds, found by short trainings."""

    name: str = field(default="auto", init=False)
    tolerance: float = 0.03
    """Most R², of the validation pairs, that alignment may cost against β = 0."""
    always_on: float = 0.01
    """Most energy that atoms which fire on more than 90 % of all inputs may hold."""
    epochs: int = 1
    """Passes over the data of each short training."""
    rounds: int = 3
    """Short trainings after the first, of up to three β each: each leaves a quarter of the interval, on a log scale."""

    def __post_init__(self) -> None:
        for name in ("tolerance", "always_on", "epochs", "rounds"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0 and finite, got {getattr(self, name)}")


@dataclass(frozen=True)
class BetaMeasures:
    """What one β came to."""

    beta: float
    r2: float
    """Mean over modalities, on validation pairs."""
    always_on_energy: float
    bimodal_energy: float


@dataclass(frozen=True)
class BetaCurve:
    """The β that were tried, in their order, and the largest below all that failed; 0 if none above 0 is."""

    chosen: float
    measures: list[BetaMeasures] = field(repr=False)

    def table(self) -> str:
        """Return the curve for people."""
        lines = ["beta        R²      loss    always-on  bimodal"]
        baseline = self.measures[0].r2
        for item in self.measures:
            mark = "  <- chosen" if item.beta == self.chosen else ""
            lines.append(
                f"{item.beta:<10.3g}  {item.r2:.4f}  {baseline - item.r2:+.4f}  {item.always_on_energy:>8.1%}  "
                f"{item.bimodal_energy:>7.1%}{mark}"
            )
        return "\n".join(lines)


Try = Callable[[Sequence[float]], list[BetaMeasures]]


def search_beta(settings: AutomaticBeta, attempt: Try) -> BetaCurve:
    """Find β. `attempt(betas)` trains an SAE for each and returns what they came to, in this order.

    It is called with β = 0 among the first, then with up to three at a time, none of them twice. If β = 0 does not keep
    within the bounds either, there is nothing to look for.
    """
    tried = {item.beta: item for item in attempt((0.0, *_DECADES))}
    baseline = tried[0.0]

    def passes(item: BetaMeasures) -> bool:
        if not math.isfinite(item.r2):
            return False
        return baseline.r2 - item.r2 <= settings.tolerance and item.always_on_energy <= settings.always_on

    def interval() -> tuple[float, float]:
        highest = min((beta for beta, item in tried.items() if not passes(item)), default=math.inf)
        return max((beta for beta in tried if beta < highest), default=0.0), highest

    for _ in range(settings.rounds if passes(baseline) else 0):
        new = [beta for beta in dict.fromkeys(_between(*interval())) if beta not in tried]
        if not new:  # the interval is as narrow as three digits can say
            break
        tried |= {item.beta: item for item in attempt(new)}
    return BetaCurve(interval()[0], [tried[beta] for beta in sorted(tried)])


def _between(lowest: float, highest: float) -> tuple[float, float, float]:
    """Three β that cut an interval into four, on a log scale; at an open end, the next three half decades."""
    if math.isinf(highest):
        low, steps = lowest, [10**0.5, 10.0, 10**1.5]
    elif lowest == 0:
        low, steps = highest / 100, [10**0.5, 10.0, 10**1.5]
    else:
        low, steps = lowest, [(highest / lowest) ** (part / 4) for part in (1, 2, 3)]
    first, second, third = (float(f"{low * step:.3g}") for step in steps)
    return first, second, third
