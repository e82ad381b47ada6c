"""Which sparse encoder, as a setting that builds its module: settings are read where torch is not."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from isoenergy.errors import InputError
from isoenergy.settings.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor

    from isoenergy.codes.sparse_codes import DenseCodes, SparseCodes
    from isoenergy.sparse_encoders.encoder_module import EncoderModule

# each `build` imports its module, and torch with it, only when there is one to be built


class SparseEncoder(Variant):
    """A family of settings: which encoder, and what it needs beside k."""

    noun: ClassVar[str] = "sparse encoder"

    def build(self, dictionary: "Tensor", k: int) -> "EncoderModule[Any]":
        """Return a fresh module for an autoencoder of this `(atoms, dim)` dictionary."""
        raise NotImplementedError


@dataclass(frozen=True)
class MatchingPursuit(SparseEncoder):
    """k rounds, each of which takes the atom with the largest correlation: the paper's, unless its rules are others."""

    name: str = field(default="matching-pursuit", init=False)
    selection: str = "signed"
    """signed, non-negative or absolute: see `isoenergy.pursuit.PursuitPolicy`."""
    tolerance: float = 0.0
    """Norm of the residual at which a row stops; 0: it does not."""
    repeats: str = "go-on"
    """go-on, or end: a row stops when an atom is chosen again."""

    def __post_init__(self) -> None:
        allowed = {"selection": ("signed", "non-negative", "absolute"), "repeats": ("go-on", "end")}
        for name, names in allowed.items():
            if getattr(self, name) not in names:
                raise InputError(f"{name} must be one of {', '.join(names)}, got {getattr(self, name)!r}")
        if not 0 <= self.tolerance < math.inf:
            raise InputError(f"tolerance must be 0 or more, got {self.tolerance}")

    def __str__(self) -> str:
        return self.name if self == MatchingPursuit() else super().__str__()

    def build(self, dictionary: "Tensor", k: int) -> "EncoderModule[SparseCodes]":
        """Return the module."""
        from isoenergy.pursuit import PursuitPolicy
        from isoenergy.sparse_encoders.matching_pursuit import PursuitModule

        del dictionary
        policy = PursuitPolicy(self.selection, self.tolerance or None, self.repeats)  # type: ignore[arg-type]  # checked
        return PursuitModule(k, policy)


@dataclass(frozen=True)
class TopK(SparseEncoder):
    """The k largest scores of each row, negative ones set to 0."""

    name: str = field(default="top-k", init=False)

    def build(self, dictionary: "Tensor", k: int) -> "EncoderModule[SparseCodes]":
        """Return the module."""
        from isoenergy.sparse_encoders.top_k import TopKModule

        return TopKModule(dictionary, k)


@dataclass(frozen=True)
class BatchTopK(SparseEncoder):
    """The k × rows largest positive scores of the global batch; afterwards those above the usual threshold."""

    name: str = field(default="batch-top-k", init=False)

    def build(self, dictionary: "Tensor", k: int) -> "EncoderModule[DenseCodes]":
        """Return the module."""
        from isoenergy.sparse_encoders.batch_top_k import BatchTopKModule

        return BatchTopKModule(dictionary, k)


@dataclass(frozen=True)
class JumpReLU(SparseEncoder):
    """Every atom whose score passes its own learned threshold; the number of them is penalised, k is its scale."""

    name: str = field(default="jump-relu", init=False)
    l0: float = 0.1
    """Weight of a row's number of atoms, in multiples of k, relative to its squared error summed over its entries."""
    threshold: float = 0.05
    """Where the thresholds start, on the scale of the rows' norm."""
    bandwidth: float = 0.05
    """Width of the window around a threshold in which scores move it."""

    def __post_init__(self) -> None:
        if not 0 <= self.l0 < math.inf:
            raise InputError(f"l0 must be 0 or more, got {self.l0}")
        for name in ("threshold", "bandwidth"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0 and finite, got {getattr(self, name)}")

    def build(self, dictionary: "Tensor", k: int) -> "EncoderModule[DenseCodes]":
        """Return the module."""
        from isoenergy.sparse_encoders.jump_relu import JumpReLUModule

        return JumpReLUModule(dictionary, k, self.l0, self.threshold, self.bandwidth)


@dataclass(frozen=True)
class ReLU(SparseEncoder):
    """Every atom with a positive score, the sum of which is penalised; k does not bound it."""

    name: str = field(default="relu", init=False)
    l1: float = 0.1
    """Weight of the L1 norm of a row's code, relative to the row's squared error summed over its entries."""

    def __post_init__(self) -> None:
        if not 0 <= self.l1 < math.inf:
            raise InputError(f"l1 must be 0 or more, got {self.l1}")

    def build(self, dictionary: "Tensor", k: int) -> "EncoderModule[DenseCodes]":
        """Return the module."""
        from isoenergy.sparse_encoders.relu import ReLUModule

        return ReLUModule(dictionary, k, self.l1)
