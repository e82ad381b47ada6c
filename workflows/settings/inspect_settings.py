"""What `isoenergy inspect` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from workflows.arguments import parse_config


@dataclass(frozen=True)
class InspectConfig:
    """Show what an embedding store holds: how it was made, its pairs, norms, the modality gap, and some samples."""

    store: Annotated[str, tyro.conf.Positional]
    """Folder or fsspec URL of the store."""
    verify: bool = False
    """Read every file and compare it with its commit record; exit code 2 if one is not what was committed."""
    repair: bool = False
    """With --verify: take spoilt units out of the store, so that the same `isoenergy embed` embeds them again."""
    samples: int = 5
    """Pairs to show."""


def parse(arguments: Sequence[str] | None) -> InspectConfig:
    """Return what a command line asks for."""
    return parse_config(InspectConfig, arguments, "isoenergy inspect")
