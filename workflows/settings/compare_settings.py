"""What `isoenergy compare` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from isoenergy.errors import InputError
from workflows.arguments import parse_config


@dataclass(frozen=True)
class CompareConfig:
    """Show runs in MLflow side by side: the parameters in which they differ, their last metrics, their status."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Ids or names of runs; 'NAME/*' stands for all runs below the run NAME, such as the candidates of a search."""
    metrics: tuple[str, ...] = ()
    """Metrics to show; `*` stands for any text. Default: 12 at most, those that most runs have and whose best is known
    first."""
    output: str = ""
    """Folder or fsspec URL for the table as CSV and the metrics by step as a figure. Default: the table is printed."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("there are no runs to compare; give their ids or names, or 'NAME/*'")


def parse(arguments: Sequence[str] | None) -> CompareConfig:
    """Return what a command line asks for."""
    return parse_config(CompareConfig, arguments, "isoenergy compare")
