"""What every method is given alike."""

from dataclasses import dataclass

from isoenergy.errors import InputError

MOST_NEAREST = 10
"""Rows among which a partner is looked for: of no more pairs it is always there."""


@dataclass(frozen=True)
class Budget:
    """Size and length of every training."""

    atoms: int
    """Columns of the codes: concepts. A method with a dictionary a modality has as many directions in each."""
    k: int
    """Atoms in a row, where a method lets it be set."""
    epochs: int
    """Passes over the train pairs: with their number, the rows that are seen."""
    batch_pairs: int
    """Pairs in a step; of a method that sees one modality at a time, as many rows of it."""
    learning_rate: float
    """Highest rate of the OneCycle schedule."""

    def __post_init__(self) -> None:
        for name in ("atoms", "k", "epochs", "batch_pairs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate must be above 0 and finite, got {self.learning_rate}")
        if self.k > self.atoms:
            raise InputError(f"k must be at most the number of atoms, {self.atoms}, got {self.k}")
