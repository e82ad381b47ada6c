"""The pairs that are looked among: unit rows of two bytes a number, mapped from the disk, and captions."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from isoenergy.errors import InputError
from isoenergy.evaluation.measured_rows import READ_ROWS, tensor
from isoenergy.explorer.short_rows import ShortRows
from isoenergy.statistics.pair_moments import PairMoments
from isoenergy.store import EmbeddingStore
from isoenergy.store.arrays import embedding_rows

MOST_PAIRS = 2_000_000
"""So many are searched exactly; of more a sample is drawn."""
SIDES = ("image", "text")
"""The files of a gallery's first and second modality, whatever they are called."""
_PAIRS_FILE, _ABOUT_FILE, _MOMENTS_FILE = "pairs.arrow", "gallery.json", "moments.safetensors"
_COLUMNS = ("key", "row", "split", "caption")
_FEWEST_FITTED = 2


@dataclass(frozen=True)
class StoredRows:
    """Some rows of a store that follow each other in the gallery."""

    start: int
    """The first one's place in the gallery."""
    both: tuple[Tensor, Tensor]
    """`(n, dim)` float32 images and texts, as stored."""


@dataclass(frozen=True)
class Gallery:
    """Pairs of a store, in its order."""

    pairs: pa.Table
    """`key`, `row`, `split`, `caption`, and `file`, the number of the row's file among `files`."""
    files: tuple[str, ...]
    """Where the pairs came from."""
    rows: tuple[ShortRows, ShortRows]
    """`(pairs, dim)` images and texts of unit norm, mapped from the disk."""
    norms: npt.NDArray[np.float32]
    """`(2, pairs)` their norms before that."""
    moments: PairMoments
    """Of the fitted pairs' unit rows."""
    total: int
    """Pairs of the store; more than those here if they are a sample."""
    key: str
    """Names the pairs: what is kept of others goes by another name."""
    chosen: npt.NDArray[np.int64]
    """`(pairs,)` their places in the store, ascending."""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def dim(self) -> int:
        """Width of a row."""
        return self.rows[0].dim

    @cached_property
    def fitted(self) -> npt.NDArray[np.bool_]:
        """`(pairs,)`: those that classes, agreement and means are of, the train split; all, if that has too few."""
        train: npt.NDArray[np.bool_] = np.array(pc.equal(self.pairs["split"], "train"))
        return train if train.sum() >= _FEWEST_FITTED else np.ones(len(train), bool)

    @property
    def fitted_split(self) -> str:
        """Which pairs those are, for people."""
        return "the train split" if not self.fitted.all() else "all pairs"

    def caption(self, pair: int) -> str:
        """Return a pair's caption."""
        return str(self.pairs["caption"][pair].as_py())

    @classmethod
    def of(cls, store: EmbeddingStore, folder: Path, most: int = MOST_PAIRS, seed: int = 0, step: str = "") -> Self:
        """Return the pairs of a store, copied to `folder` once; of more than `most`, a sample that the seed draws.

        step: stands before the name of the bar, which says how far that is.
        Raises InputError for a store of other than two modalities of one width, one that is not whole, or no pairs.
        """
        store.require_complete()
        store.shards.require_pairs_of_one_width()
        if not (total := len(store)):
            raise InputError(f"{store.uri} has no pairs to look at; embed some")
        chosen = np.arange(total)
        if total > most:
            chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
        sampled = f"-{most}-{seed}" if total > most else ""
        key = f"{store.fingerprint[:16]}{sampled}"
        kept = folder / f"gallery-{key}"
        if not (kept / _ABOUT_FILE).exists():
            written_once(kept, lambda partial: _copy(store, chosen, partial, step))
        return cls._read(kept, key, total, chosen)

    @classmethod
    def _read(cls, folder: Path, key: str, total: int, chosen: npt.NDArray[np.int64]) -> Self:
        about = json.loads((folder / _ABOUT_FILE).read_text())
        with pa.memory_map(str(folder / _PAIRS_FILE)) as stream:
            pairs = pa.ipc.open_file(stream).read_all()
        rows = [ShortRows.load(folder, side) for side in SIDES]
        return cls(
            pairs,
            tuple(about["files"]),
            (rows[0], rows[1]),
            np.load(folder / "norms.npy"),
            PairMoments.load(folder / _MOMENTS_FILE),
            total,
            key,
            chosen,
        )

    def blocks(self, store: EmbeddingStore) -> Iterator[StoredRows]:
        """Yield the pairs' embeddings as the store has them."""
        for start, _, both in _blocks(store, self.chosen):
            yield StoredRows(start, both)


def written_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder beside `folder`, which then takes its name: what is there is whole."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        write(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:
        raise InputError(f"{folder.parent} cannot be written ({error}); make room or give another --output") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _blocks(
    store: EmbeddingStore, chosen: npt.NDArray[np.int64]
) -> Iterator[tuple[int, pa.Table, tuple[Tensor, Tensor]]]:
    """Yield the place of the first of some chosen rows, their columns, and their embeddings."""
    image, text = store.manifest.modalities
    columns = [*_COLUMNS, image, text]
    first = done = 0
    for record in store.commits:
        own = chosen[done : np.searchsorted(chosen, first + record.pairs_in("all"))] - first
        first += record.pairs_in("all")
        if not len(own):
            continue
        table = store.read_unit(record.unit, columns)
        table = table.append_column("file", pa.array([record.file] * len(table)).dictionary_encode())
        vectors = [embedding_rows(table[name], width) for name, width in store.manifest.modalities.items()]
        for start in range(0, len(own), READ_ROWS):
            some = own[start : start + READ_ROWS]
            yield (
                done + start,
                table.drop_columns([image, text]).take(some),
                (
                    tensor(vectors[0][some]),
                    tensor(vectors[1][some]),
                ),
            )
        done += len(own)


def _copy(store: EmbeddingStore, chosen: npt.NDArray[np.int64], folder: Path, step: str) -> None:
    dim = store.manifest.dim
    shape = len(chosen), dim
    maps = [np.lib.format.open_memmap(folder / f"{side}-numbers.npy", "w+", np.int16, shape) for side in SIDES]
    factors = np.zeros((2, len(chosen)), np.float32)
    norms = np.zeros((2, len(chosen)), np.float32)
    train, others = PairMoments.zeros(dim), PairMoments.zeros(dim)
    numbers = {file: number for number, file in enumerate(dict.fromkeys(record.file for record in store.commits))}
    parts = []
    with tqdm(total=len(chosen), desc=f"{step}read the store", unit=" pairs") as bar:
        for start, columns, both in _blocks(store, chosen):
            rows = slice(start, start + len(columns))
            unit = [normalize(side, dim=1) for side in both]
            for side in (0, 1):
                short = ShortRows.of(unit[side])
                maps[side][rows], factors[side, rows] = short.numbers, short.factors
                norms[side, rows] = both[side].norm(dim=1).numpy()
            of_train = np.asarray(columns["split"]) == "train"
            train.update(unit[0][of_train], unit[1][of_train])
            others.update(unit[0][~of_train], unit[1][~of_train])
            places = pa.array([numbers[file] for file in columns["file"].to_pylist()], pa.int32())
            parts.append(columns.set_column(columns.schema.get_field_index("file"), "file", places))
            bar.update(len(columns))
    for side in (0, 1):
        maps[side].flush()
        np.save(folder / f"{SIDES[side]}-factors.npy", factors[side])
    np.save(folder / "norms.npy", norms)
    (train if train.pairs >= _FEWEST_FITTED else train.merge(others)).save(folder / _MOMENTS_FILE)
    table = pa.concat_tables(parts).combine_chunks()
    with pa.OSFile(str(folder / _PAIRS_FILE), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    (folder / _ABOUT_FILE).write_text(json.dumps({"files": list(numbers), "pairs": len(chosen)}))
