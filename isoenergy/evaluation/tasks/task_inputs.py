"""What tasks are made from: pairs of the store with their columns, and what its encoder makes of texts and images."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from isoenergy.encoders import DualEncoder, Preprocessor, load_encoder, load_preprocessor
from isoenergy.encoders.dual_encoder import Pixels, Precision
from isoenergy.encoders.whole_images import gathered
from isoenergy.errors import InputError
from isoenergy.evaluation.measured_rows import NOT_IDENTITY, Inputs, Result, Rows, StoreReference, UnitRows
from isoenergy.extraction.preprocessing import preprocessed
from isoenergy.pairs.image_files import Image, ImageFolder
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store import EmbeddingStore, Manifest

_ARRAYS_FILE = "embeddings.safetensors"
_COLUMNS_FILE = "columns.parquet"
_REJECTED_FILE = "rejected.json"
_AT_ONCE = 256
_NAMED = 5


@dataclass(frozen=True)
class StoreEncoder:
    """The encoder that made a store."""

    store: str = field(metadata=NOT_IDENTITY)
    manifest: Manifest = field(metadata=NOT_IDENTITY)
    """The store's."""
    digest: str
    precision: Precision

    def load(self) -> DualEncoder:
        """Load it, onto a GPU if there is one; raises InputError if it is not the one that the store was made with."""
        manifest = self.manifest
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder = load_encoder(manifest.encoder, device, self.precision)
        differs = encoder.digest != self.digest or encoder.preprocessor.describe() != manifest.preprocessing
        if differs or encoder.dim != manifest.dim:
            raise InputError(
                f"{self.store} was made by {manifest.encoder!r} with weights {self.digest[:12]}, which it now has as "
                f"{encoder.digest[:12]}, or with another preprocessing; tasks need the store's own "
                f"encoder: put it back, or embed the pairs again"
            )
        return encoder


@dataclass(frozen=True)
class TaskPairsConfig:
    """Pairs to take: those of these units, or the first so many, and some of their columns."""

    store: StoreReference
    units: tuple[UnitRows, ...]
    most_pairs: int
    columns: tuple[str, ...]


@dataclass(frozen=True)
class TaskPairs:
    """Pairs of the store in memory."""

    images: Rows
    """`(n, dim)` as stored."""
    texts: Rows
    columns: pa.Table
    """`key` and those that were asked for."""

    @classmethod
    def load(cls, folder: Path) -> "TaskPairs":
        """Read what `gather_pairs` wrote."""
        rows = load_file(folder / _ARRAYS_FILE)
        return cls(rows["image"], rows["text"], pq.read_table(folder / _COLUMNS_FILE))

    def values(self, column: str) -> list[str | None]:
        """Return a column's values as text; None where there is none, or nothing but white space."""
        texts = (None if value is None else str(value) for value in self.columns[column].to_pylist())
        return [text if text is not None and text.strip() else None for text in texts]


def require_columns(store: EmbeddingStore, columns: Iterable[str]) -> None:
    """Raise InputError, listing those that there are, if the store lacks one of the columns, or it holds lists."""
    unit = next(record.unit for record in store.commits if record.embedded)
    there = {f.name: f.type for f in store.read_unit(unit).schema if f.name not in ("image", "text", "split", "row")}
    for column in columns:
        if column not in there:
            raise InputError(f"{store.uri} has no column {column!r} for a task; it has {', '.join(there)}")
        if pa.types.is_nested(there[column]):
            raise InputError(f"{store.uri}: column {column!r} holds {there[column]}; a task needs a text or a number")


def gather_pairs(config: TaskPairsConfig, inputs: Inputs, output: Path) -> Result:
    """Take pairs of the store with their columns."""
    del inputs
    shards = config.store.shards
    wanted = list(dict.fromkeys(("key", *config.columns)))
    tables, images, texts, left = [], [], [], config.most_pairs
    for unit in config.units:
        arrays = shards.pairs(unit.shard, config.store.split)
        images.append(arrays.images[:left])
        texts.append(arrays.texts[:left])
        tables.append(shards.table(unit.shard, wanted, config.store.split).slice(0, left))
        left -= len(images[-1])
    save_file({"image": np.concatenate(images), "text": np.concatenate(texts)}, output / _ARRAYS_FILE)
    pq.write_table(pa.concat_tables(tables, promote_options="permissive"), output / _COLUMNS_FILE)
    return {"pairs": config.most_pairs - left, "split": config.store.split}


def encode_texts(encoder: DualEncoder, texts: Sequence[str]) -> Rows:
    """Return `(n, dim)` raw float32 embeddings; raises InputError if one is not finite."""
    parts = [encoder.encode_texts(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
    rows = torch.cat(parts).numpy() if parts else np.zeros((0, encoder.dim), np.float32)
    if not np.isfinite(rows).all():
        number = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(f"{encoder.name} makes numbers that are not finite of {texts[number][:80]!r}; leave it out")
    return rows


@dataclass(frozen=True)
class ImagesConfig:
    """Image files to embed: a part of a list."""

    encoder: StoreEncoder
    folder: str = field(metadata=NOT_IDENTITY)
    """Folder or zip that the files are relative to."""
    files: tuple[str, ...]
    first: int
    """Place of the first in the whole list."""
    digest: str
    """Of the list."""
    reading: ImageReading
    """How the store's images were read, and these are."""


def embed_images(config: ImagesConfig, inputs: Inputs, output: Path) -> Result:
    """Embed image files; those that cannot be are counted by reason, and some named."""
    del inputs
    encoder = config.encoder.load()
    preprocessor = load_preprocessor(encoder.name)  # what the store's pixels were made by: an encoder's own may be fast
    batches = [config.files[start : start + _AT_ONCE] for start in range(0, len(config.files), _AT_ONCE)]
    rows: list[Tensor] = [torch.zeros(0, encoder.dim)]
    places: list[int] = []
    rejected: list[tuple[str, str]] = []
    for number, images in enumerate(ImageFolder.at(config.folder).fetch(batches)):
        pixels: list[Pixels] = []
        for place, image in enumerate(images, number * _AT_ONCE):
            try:
                pixels.append(_pixels(preprocessor, image, config.reading))
                places.append(config.first + place)
            except Rejected as why:
                rejected.append((config.files[place], str(why.reason)))
        if pixels:
            rows.append(encoder.encode_pixels(gathered(pixels, encoder.preprocessor.shape)))
    embedded = torch.cat(rows).numpy()
    finite = np.isfinite(embedded).all(axis=1)
    found = np.array(places, np.int64)
    rejected += [(config.files[place - config.first], str(Reason.NON_FINITE_EMBEDDING)) for place in found[~finite]]
    save_file({"rows": embedded[finite], "places": found[finite]}, output / _ARRAYS_FILE)
    (output / _REJECTED_FILE).write_text(json.dumps(rejected))
    return {"images": int(finite.sum()), "rejected": len(rejected)}


@dataclass(frozen=True)
class EmbeddedImages:
    """Image files of a list, embedded."""

    rows: Rows
    """`(n, dim)` raw."""
    places: Rows
    """`(n,)` their places in the list."""
    rejected: list[tuple[str, str]]
    """The other files, each with the reason."""

    @classmethod
    def load(cls, folders: Sequence[Path]) -> "EmbeddedImages":
        """Read what `embed_images` wrote, part by part. Raises InputError if there is no image in any."""
        parts = [load_file(folder / _ARRAYS_FILE) for folder in folders]
        rejected = [tuple(each) for folder in folders for each in json.loads((folder / _REJECTED_FILE).read_text())]
        rows, places = (np.concatenate([part[name] for part in parts]) for name in ("rows", "places"))
        found = cls(rows, places, rejected)
        if not len(rows):
            raise InputError(f"none of {len(rejected)} images could be embedded: {found.told['named']}")
        return found

    @property
    def told(self) -> dict[str, object]:
        """How many there are, why others are not, and the names of some."""
        return {
            "images": len(self.rows),
            "rejected": dict(Counter(reason for _, reason in self.rejected)),
            "named": ", ".join(f"{name} ({reason})" for name, reason in self.rejected[:_NAMED]),
        }


def _pixels(preprocessor: Preprocessor, image: Image, reading: ImageReading) -> Pixels:
    if isinstance(image, Rejected):
        raise image
    (pixels,) = preprocessed(image, [preprocessor], reading)
    return pixels
