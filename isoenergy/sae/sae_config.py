"""What a sparse autoencoder is, apart from its weights; the files that hold one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, get_args

from isoenergy.alignments import Alignment, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.settings.modalities import MODALITIES as MODALITIES
from isoenergy.settings.modalities import MODALITY_NAME
from isoenergy.settings.numbers import finite_number, whole_number
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder

WEIGHTS_FILE = "sae.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
FITTED_FILE = "fitted.safetensors"
"""What was fitted on the train split of the store that it was trained on; an SAE may be without."""

AtomNorm = Literal["unit", "free"]
Input = Literal["normalised", "centred", "raw"]
BiasAtoms = Literal["none", "means"]


@dataclass(frozen=True)
class SaeConfig:
    """What a sparse autoencoder is, apart from its weights."""

    dim: int
    """Width of the embeddings; if each modality has its own dictionary, of all of them together."""
    atoms: int
    """Size of the dictionary."""
    k: int
    """Rounds of Matching Pursuit, hence the most atoms in a row's code; of other encoders see `sparse_encoders`."""
    beta: float
    """Weight of the alignment term that it was trained with; 0 for a standard SAE."""
    sparse_encoder: SparseEncoder = field(default_factory=MatchingPursuit)
    """How atoms are chosen."""
    atom_norm: AtomNorm = "unit"
    """unit: atoms are kept at norm 1. free: they are not."""
    input: Input = "normalised"
    """normalised: rows of unit norm. centred: those minus their modality's mean. raw: rows as they are."""
    bias_atoms: BiasAtoms = "none"
    """none: every atom is learned from a random start, as in the paper. means: the first atoms, one a modality, begin
    as the directions of the modalities' means, and no alignment looks at them."""
    bias_learned: bool = False
    """Whether those atoms are learned from there on; else they stay what they are."""
    decoder_bias: bool = False
    """Whether there is a vector that belongs to every row: `prepare` subtracts it, `restore` adds it. Autoencoders of
    other libraries have one; training here learns none."""
    null: bool = False
    """Whether it was trained on shuffled pairs: what it shows is the objective's own making."""
    alignment: Alignment = field(default_factory=MaskedCosine)
    """What β weighed."""
    modalities: tuple[str, ...] = MODALITIES
    """Of what it was trained on, in order."""
    widths: tuple[int, ...] = ()
    """Width of each modality, if each has its own dictionary; empty: one dictionary serves all."""

    def __post_init__(self) -> None:
        for name in ("dim", "atoms", "k"):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), 1))
        if self.k > self.atoms:
            raise InputError(f"k must be at most the number of atoms, {self.atoms}, got {self.k}")
        object.__setattr__(self, "beta", finite_number("beta", self.beta))
        for name, allowed in (
            ("atom_norm", get_args(AtomNorm)),
            ("input", get_args(Input)),
            ("bias_atoms", get_args(BiasAtoms)),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not isinstance(self.sparse_encoder, SparseEncoder) or not isinstance(self.alignment, Alignment):
            raise InputError(
                f"sparse_encoder and alignment must be objects of isoenergy.sparse_encoders and isoenergy.alignments, "
                f"got {self.sparse_encoder!r} and {self.alignment!r}"
            )
        for name in ("null", "bias_learned", "decoder_bias"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if not all(isinstance(name, str) and MODALITY_NAME.fullmatch(name) for name in self.modalities):
            raise InputError(f"modalities must be names of letters, digits, _ and -, got {self.modalities!r}")
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise InputError(f"modalities must be one or more different names, got {self.modalities!r}")
        if self.widths and (len(self.widths) != len(self.modalities) or sum(self.widths) != self.dim):
            raise InputError(
                f"widths must be one for each of {', '.join(self.modalities)}, {self.dim} together, got {self.widths}"
            )
        if self.bias_atoms == "means":
            self._require_room_for_bias_atoms()

    def _require_room_for_bias_atoms(self) -> None:
        if self.widths or self.input == "centred" or not isinstance(self.sparse_encoder, MatchingPursuit):
            raise InputError(
                "bias_atoms means needs one dictionary for all modalities, input other than centred (which leaves no "
                "mean) and matching-pursuit (other encoders have weights of their own); give these, or bias_atoms none"
            )
        if self.atoms <= len(self.modalities):
            raise InputError(f"atoms must be more than the {len(self.modalities)} bias atoms, got {self.atoms}")

    @property
    def bias_count(self) -> int:
        """The number of bias atoms: they are the first, in the order of the modalities."""
        return len(self.modalities) if self.bias_atoms == "means" else 0

    @property
    def frozen_count(self) -> int:
        """The number of atoms, the first ones, that training leaves as they are."""
        return 0 if self.bias_learned else self.bias_count

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` made `values` of; raises InputError, TypeError or ValueError for others."""
        unknown = [name for name in values if name not in cls.__dataclass_fields__]
        if unknown:
            raise InputError(
                f"{CONFIG_FILE} has {', '.join(unknown)}, which this version of isoenergy does not know: it was "
                f"written by a newer version, or not by isoenergy; install a newer one"
            )
        for name in ("modalities", "widths"):
            if not isinstance(values.get(name, []), list | tuple):
                raise InputError(f"{name} must be a list, got {values[name]!r}")
        families = {"sparse_encoder": SparseEncoder, "alignment": Alignment}
        chosen = {name: family.from_dict(values[name]) for name, family in families.items() if name in values}
        listed = {name: tuple(values[name]) for name in ("modalities", "widths") if name in values}
        return cls(**{**values, **chosen, **listed})
