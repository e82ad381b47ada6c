"""The columns of a store that tasks take."""

from dataclasses import dataclass

BUNDLED = "bundled"
"""Triplets from the labels of the bundled pairs."""
LABEL_COLUMNS = ("concept", "base", "group", "source")
"""What `BUNDLED` needs."""


@dataclass(frozen=True)
class ColumnClasses:
    """A column of the store whose values are classes."""

    column: str
    values: tuple[str, ...] = ()
    """The values that count; none: all."""
