"""What `isoenergy explore` is asked for."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from isoenergy.errors import InputError
from workflows.arguments import parse_config


@dataclass(frozen=True)
class ExploreConfig:
    """Serve a page that shows SAEs on a store: ask it by a text or an image, steer atoms, look at each, compare."""

    saes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="SAE [SAE …]")]
    """SAEs that `isoenergy train` made: folders, a folder of them, fsspec URLs or hf:ORG/NAME. --saes
    may stand before them, as for `isoenergy evaluate`."""
    store: Annotated[str, tyro.conf.arg(metavar="STORE")]
    """Embedding store to look among, or vectors, as `isoenergy import` takes them: a store of
    them, a view if it can be, is made in the output."""
    output: str = "runs/explorer"
    """Local folder that keeps notes.json and, in cache/, the store's vectors and codes for the next start."""
    encoder: str = ""
    """Encoder of texts and images that are asked; default: the one that made the store, if it says."""
    images: Annotated[str, tyro.conf.arg(metavar="COLUMN|FOLDER")] = ""
    """Column of the store with image files or their URLs, which are downloaded when somebody looks at them; or a folder
    or zip of image files, named by the store's column of paths, or by keys; default: the source that the store was
    embedded from."""
    modalities: str = ""
    """Columns of vectors to take, in this order, with commas between; default: all whose vectors have
    one width, of 16 or more."""
    most_pairs: int = 2_000_000
    """Search so many pairs exactly; of more a sample is drawn, and the page says so."""
    seed: int = 0
    """Draws the sample of a store of more than --most-pairs."""
    port: int = 8600
    """Port of the page; 0: a free one."""
    host: str = "127.0.0.1"
    """Address to listen on. 127.0.0.1 is this machine alone; 0.0.0.0 is all who reach it, over unencrypted HTTP."""
    hosts: str = ""
    """Names under which browsers reach the page, with commas between. Default: of the loopback its own, else any."""
    token: str = ""
    """Word that the page's address must have; default: one drawn at each start. none: none is asked for, and notes are
    read alone."""
    read_only: bool = False
    """Let nobody write notes."""

    def __post_init__(self) -> None:
        if not self.saes:
            raise InputError("give at least one SAE: isoenergy explore SAE [SAE …] --store STORE")
        if not 0 <= self.port <= 65535:
            raise InputError(f"port must be from 0 to 65535, got {self.port}")
        if self.most_pairs < 1:
            raise InputError(f"most_pairs must be at least 1, got {self.most_pairs}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if "://" in self.output:
            raise InputError(f"output must be a local folder, got {self.output}")


def parse(arguments: Sequence[str] | None) -> ExploreConfig:
    """Return what a command line asks for."""
    words = sys.argv[1:] if arguments is None else arguments
    bare = [word.removeprefix("--saes=") for word in words if word != "--saes"]
    return parse_config(ExploreConfig, bare, "isoenergy explore")
