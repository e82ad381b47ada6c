"""What a pursuit selects, and when it stops."""

from dataclasses import dataclass
from typing import Literal, get_args

Selection = Literal["signed", "non-negative", "absolute"]
Repeats = Literal["go-on", "end"]
Precision = Literal["full", "tf32"]


@dataclass(frozen=True)
class PursuitPolicy:
    """The rules of a pursuit; the defaults are the paper's.

    Raises ValueError, naming the field, for an unknown selection or rule, or a negative tolerance.
    """

    selection: Selection = "signed"
    """signed: the largest correlation, of whatever sign. non-negative: the same, and a row stops when it is not above
    zero, as MP-SAE and SAELens do. absolute: the largest in magnitude, the classical pursuit of Mallat and Zhang."""
    tolerance: float | None = None
    """A row stops once the L2 norm of its residual is at most this; None: after k rounds."""
    repeats: Repeats = "go-on"
    """What happens when an atom is chosen again: go-on: nothing, its coefficients add up. end: that round is the row's
    last, as SAELens has it by default."""

    def __post_init__(self) -> None:
        for name, allowed in (("selection", get_args(Selection)), ("repeats", get_args(Repeats))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise ValueError(f"tolerance must be None or at least 0, got {self.tolerance}")

    @property
    def stops(self) -> bool:
        """Whether a row may end before its k rounds are over."""
        return self.selection == "non-negative" or self.tolerance is not None
