"""What can be written of each row, by name: codes, and the ways to close the gap that an evaluation compares."""

from collections.abc import Sequence

from isoenergy.errors import InputError
from isoenergy.evaluation.ways import WAYS

CODES = "codes"
"""`MODALITY_atoms` and `MODALITY_coefficients`: lists, the largest coefficient first."""
ORIGINAL, RECONSTRUCTED = "original", "reconstructed"
WRITES = (CODES, *WAYS)


def parse_writes(text: str) -> tuple[str, ...]:
    """Return the names in a list with commas; raises InputError for none, an unknown one, or one given twice."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in WRITES]
    if unknown or not names or len(set(names)) < len(names):
        which = f", and {unknown[0]!r} is none of them" if unknown else ""
        raise InputError(
            f"write must be different names with commas between, of {', '.join(WRITES)}; got {text!r}{which}"
        )
    return names


def is_linear(write: str) -> bool:
    """Return whether this is a map of the embeddings themselves, fitted to the moments of pairs."""
    return write in WAYS and WAYS[write].linear is not None


def needs_classes(write: str) -> bool:
    """Return whether this is a choice of atoms, by their energies."""
    return write not in (CODES, ORIGINAL, RECONSTRUCTED) and not is_linear(write)


def needs_encoding(writes: Sequence[str]) -> bool:
    """Return whether rows are encoded for any of these."""
    return any(name in (CODES, RECONSTRUCTED) or needs_classes(name) for name in writes)


def needs_unit_rows(writes: Sequence[str]) -> bool:
    """Return whether any of these is made of the embeddings of unit norm themselves."""
    return any(name == ORIGINAL or is_linear(name) for name in writes)
