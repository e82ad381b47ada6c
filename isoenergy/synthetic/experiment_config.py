"""What the synthetic experiment draws and trains."""

from dataclasses import dataclass, field

from isoenergy.alignments import Alignment, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import AtomNorm
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder


@dataclass(frozen=True)
class SyntheticConfig:
    """What the pairs are made of; the defaults are those of the authors' notebook."""

    dim: int = 512
    """Width of the embeddings: a tenth for what images alone have, a tenth for texts, the rest for what they share."""
    instances: int = 100
    """Atoms as the modalities have them: a tenth are images' biases, a tenth texts', and the rest are the image and the
    text instance of each shared concept."""
    atoms_per_row: int = 10
    """Atoms in an embedding: one bias, and the others are shared concepts, the same ones in image and text."""
    pairs: int = 10_000
    """Pairs to draw."""
    instance_cosine: float = 0.99
    """τ₁: cosine between the two instances of a concept; 1: one and the same atom, and Iso-Energy holds."""
    pair_cosine: float = 0.4
    """τ₂: cosine between the image and the text of every pair."""

    def __post_init__(self) -> None:
        for name in ("dim", "instances", "pairs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.instance_cosine <= 1:
            raise InputError(f"instance_cosine must be above 0 and at most 1, got {self.instance_cosine}")
        if not 0 < self.pair_cosine < 1:
            raise InputError(f"pair_cosine must be between 0 and 1, got {self.pair_cosine}")
        if self.biases < 1 or self.block < 1 or self.instances % 2:
            raise InputError(
                f"instances and dim must be at least 10, and instances even, got {self.instances} and {self.dim}"
            )
        if not 2 <= self.atoms_per_row <= self.concepts + 1:
            raise InputError(
                f"atoms_per_row must be from 2 to {self.concepts + 1}, a bias and some of the {self.concepts} "
                f"concepts, got {self.atoms_per_row}"
            )

    @property
    def biases(self) -> int:
        """Bias atoms of each modality."""
        return self.instances // 10

    @property
    def concepts(self) -> int:
        """Shared concepts."""
        return (self.instances - 2 * self.biases) // 2

    @property
    def block(self) -> int:
        """Coordinates of each modality's own block: first the images', then the texts'; the rest is shared."""
        return self.dim // 10


@dataclass(frozen=True)
class RecoveryConfig:
    """What is drawn and trained; the recipe is that of the authors' notebook (paper 2.2)."""

    data: SyntheticConfig
    seed: int
    """Decides the atoms and pairs, the SAEs' initialisation and the order of the pairs."""
    betas: tuple[float, ...]
    atoms: int
    k: int
    epochs: int
    batch_pairs: int
    learning_rate: float
    sparse_encoder: SparseEncoder = field(default_factory=MatchingPursuit)
    alignment: Alignment = field(default_factory=MaskedCosine)
    atom_norm: AtomNorm = "unit"


@dataclass(frozen=True)
class CurvesConfig:
    """An experiment that is measured on the way, too."""

    experiment: RecoveryConfig
    at: tuple[int, ...]
    """Epochs after which SAEs are measured; the last one is always."""
