"""What a search wants: several measures at once, hence a front of trials none of which is better in all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import moocore
import numpy as np
import numpy.typing as npt

from isoenergy.errors import InputError

Objective = Literal["r2", "mse", "bimodal-energy", "p-acc", "delta-r1", "always-on-energy"]
Measures = Mapping[str, float]

_GAINS: dict[Objective, tuple[str, float, float]] = {
    "r2": ("r2", 0.0, 1.0),
    "mse": ("mse", 1.0, 0.0),
    "bimodal-energy": ("bimodal_energy", 0.0, 1.0),
    "p-acc": ("p_acc", 0.5, 1.0),
    "delta-r1": ("delta_r1", -1.0, 0.0),
    "always-on-energy": ("always_on_energy", 1.0, 0.0),
}
"""Of each: the measure, what is worth nothing, and what cannot be bettered."""
_RECONSTRUCTION = ("r2", "mse")


@dataclass(frozen=True)
class Objectives:
    """Two or more objectives; each measure becomes a gain between 0, worth nothing, and 1, the best that can be."""

    names: tuple[Objective, ...]

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in get_args(Objective)]
        if unknown:
            raise InputError(f"there is no objective {unknown[0]!r}; expected {', '.join(get_args(Objective))}")
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise InputError(
                f"a search needs two or more different objectives (the loss alone always picks the smallest beta), "
                f"got {', '.join(self.names) or 'none'}"
            )
        if not any(name in _RECONSTRUCTION for name in self.names):
            raise InputError(f"one objective must be of reconstruction, r2 or mse, got {', '.join(self.names)}")

    @staticmethod
    def measure(name: Objective) -> str:
        """Return the measure that an objective is of."""
        return _GAINS[name][0]

    def gains(self, measures: Measures) -> npt.NDArray[np.float64]:
        """Return `(objectives,)` gains, in [0, 1]; zeros where a measure is not finite."""
        gains = []
        for name in self.names:
            measure, worst, best = _GAINS[name]
            gains.append((measures[measure] - worst) / (best - worst))
        gains_array = np.clip(np.array(gains, np.float64), 0, 1)
        return gains_array if np.isfinite(gains_array).all() else np.zeros(len(gains))

    def hypervolume(self, trials: Sequence[Measures]) -> float:
        """Return the volume that the trials dominate, of the cube of all gains: in [0, 1], 1 if one is best in all."""
        if not trials:
            return 0.0
        gains = np.array([self.gains(measures) for measures in trials])
        return float(moocore.hypervolume(gains, ref=np.zeros(len(self.names)), maximise=True))

    def front(self, trials: Sequence[Measures]) -> list[int]:
        """Return the numbers of the trials that no other is at least as good as in all and better in one."""
        if not trials:
            return []
        gains = np.array([self.gains(measures) for measures in trials])
        return np.flatnonzero(moocore.is_nondominated(gains, maximise=True, keep_weakly=True)).tolist()

    @property
    def aligned(self) -> Objective:
        """The objective by which a trial counts as more aligned: the first that is not of reconstruction."""
        return next((name for name in self.names if name not in _RECONSTRUCTION), self.names[-1])

    def recommended(self, trials: Sequence[Measures], within: float) -> int | None:
        """Return the number of the most aligned trial whose R² is within a share `within` of the best; None of none.

        It is on the front, unless it is as good as one there.
        """
        r2 = np.array([measures["r2"] for measures in trials], np.float64)
        if not np.isfinite(r2).any():
            return None
        best = np.nanmax(r2)
        able = [number for number, value in enumerate(r2) if value >= best - within * abs(best)]
        measure, worst, top = _GAINS[self.aligned]
        return max(able, key=lambda number: (trials[number][measure] * np.sign(top - worst), r2[number]))

    def rule(self, within: float) -> str:
        """Return what `recommended` does, for people."""
        measure, worst, best = _GAINS[self.aligned]
        return f"the {'highest' if best > worst else 'lowest'} {measure} of those within {within:.0%} of the best R²"
