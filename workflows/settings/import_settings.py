"""What `isoenergy import` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from workflows.arguments import parse_config


@dataclass(frozen=True)
class ImportConfig:
    """Make an embedding store of vectors that are there already, a copy or a view. One that was cut short goes on: run
    it again."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="EMBEDDINGS")]
    """File, folder or fsspec URL: clip-retrieval's folders (img_emb/, text_emb/, metadata/), Parquet or a dataset saved
    to disk with columns of vectors, .npz, safetensors, or `.npy` files with commas between, such as
    images.npy,texts.npy. Each column, array or folder is a modality."""
    output: str = tyro.MISSING
    """Folder or fsspec URL of the store, seen by all nodes."""
    modalities: Annotated[str, tyro.conf.arg(metavar="NAME,NAME…")] = ""
    """Columns of vectors to take, in this order, with commas between; default: all whose vectors have one width, of 16
    or more."""
    key: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """Column that tells rows apart; none: a row's file and number do. Default: a column called key, id or the like,
    else clip-retrieval's image_path, if there is one."""
    captions: Annotated[str, tyro.conf.arg(metavar="TABLE")] = ""
    """CSV, TSV, JSONL or Parquet with captions for vectors that have none: by key, if both have a column of keys, else
    row by row."""
    view: bool = False
    """Leave the vectors where they are: the store has keys, captions, counts and digests, and reads vectors from
    EMBEDDINGS, which must stay as they are."""
    skip_bad_rows: bool = False
    """Leave out rows with NaN, infinity or zeros, without a vector, a key or, in a join, a fellow, with one of another
    width, or with a key that stands before, instead of refusing them; the store's rejected/ names them."""
    dry_run: bool = False
    """Print what is taken for what, and stop."""

    HOW_IT_IS_RUN: ClassVar = ("dry_run",)


def parse(arguments: Sequence[str] | None) -> ImportConfig:
    """Return what a command line asks for."""
    return parse_config(ImportConfig, arguments, "isoenergy import")
