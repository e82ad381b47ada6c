"""What `isoenergy report` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from workflows.arguments import parse_config


@dataclass(frozen=True)
class ReportConfig:
    """Draw an evaluation as one HTML page that needs no network, with its figures and tables beside it."""

    evaluation: str
    """The `evaluation.json` that `isoenergy evaluate` wrote, or its folder, a path or an fsspec URL."""
    output: str = ""
    """HTML file to write, a path or an fsspec URL. Default: report.html beside the evaluation."""
    images: Annotated[str, tyro.conf.arg(metavar="COLUMN|FOLDER")] = ""
    """Where the pictures of the pairs are, if the store was imported: a column of it with image files or their URLs, or
    a folder or zip of image files that are named by the store's column of paths, or by keys. Those alone that the page
    shows are fetched."""


def parse(arguments: Sequence[str] | None) -> ReportConfig:
    """Return what a command line asks for."""
    return parse_config(ReportConfig, arguments, "isoenergy report")
