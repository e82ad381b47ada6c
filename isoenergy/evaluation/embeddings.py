"""The embeddings alone: their means, the pairs that are drawn, the queries and what is right for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy import sparse

from isoenergy.evaluation.draw import Draw
from isoenergy.evaluation.measured_rows import (
    NOT_IDENTITY,
    Inputs,
    PartConfig,
    Result,
    Rows,
    StoreReference,
    unit_rows,
)
from isoenergy.metrics.retrieval import chance_of_hit
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.bootstrap import REPLICATES, Labels, image_weights, no_intervals
from isoenergy.statistics.weighted_sums import MeanSums

DIRECTIONS = ("image_to_text", "text_to_image")
_MEANS_FILE = "means.safetensors"
_DRAWN_FILE = "drawn.safetensors"
_LABELS_FILE = "labels.safetensors"
_PLAN_FILE = "queries.safetensors"
_HASH_SEED = 20260206
_MOST_PARTNERS = 256
"""A caption that stands beside more different images than that says nothing of any, and is not looked for."""


@dataclass(frozen=True)
class EmbeddingsPartConfig:
    """A part of the store, and which pairs are drawn from the whole."""

    part: PartConfig
    draw: Draw
    pairs: int
    """Of the split, all parts together."""


@dataclass(frozen=True)
class PairsConfig:
    """What `merge_embeddings` merges."""

    store: StoreReference
    draw: Draw
    pairs: int
    parts: tuple[PartConfig, ...] = field(metadata=NOT_IDENTITY)
    """All of them, as the inputs have them."""


def sum_embeddings(config: EmbeddingsPartConfig, inputs: Inputs, output: Path) -> Result:
    """Sum the unit rows of some units, keep those that are drawn, and label rows so that equal ones can be found."""
    del inputs
    drawn = np.sort(config.draw.rows(config.pairs))
    means = MeanSums.zeros(config.part.store.dim)
    kept: list[list[Rows]] = [[], []]
    labels: list[list[Labels]] = [[], []]
    for first, *rows in config.part.read():
        chosen = drawn[slice(*np.searchsorted(drawn, (first, first + len(rows[0]))))] - first
        for modality in (0, 1):
            kept[modality].append(rows[modality][chosen])
            labels[modality].append(row_labels(rows[modality]))
        weights = image_weights(labels[0][-1], REPLICATES, config.part.seed)
        means.update(unit_rows(rows[0]), unit_rows(rows[1]), weights)
    means.save(output / _MEANS_FILE)
    save_file({m: np.concatenate(part) for m, part in zip(MODALITIES, kept, strict=True)}, output / _DRAWN_FILE)
    save_file({m: np.concatenate(part) for m, part in zip(MODALITIES, labels, strict=True)}, output / _LABELS_FILE)
    return {"pairs": int(sum(map(len, labels[0])))}


def merge_embeddings(config: PairsConfig, inputs: Inputs, output: Path) -> Result:
    """Merge the parts: means, the drawn pairs in the order of their draw, the queries and their partners.

    Holds 16 bytes a pair for as long as it looks for equal rows, and the drawn pairs. `no_intervals`: why there are
    none, if images are too few.
    """
    folders = list(inputs.values())
    means = MeanSums.load(folders[0] / _MEANS_FILE)
    for folder in folders[1:]:
        means = means.merge(MeanSums.load(folder / _MEANS_FILE))
    labels = [_joined(folders, _LABELS_FILE, modality) for modality in MODALITIES]
    in_gallery = [_first_of_each(part) for part in labels]
    images = int(in_gallery[0].sum())
    means.if_enough(images).save(output / _MEANS_FILE)
    order = config.draw.rows(config.pairs)
    place = np.argsort(np.argsort(order))
    drawn = {modality: _joined(folders, _DRAWN_FILE, modality)[place] for modality in MODALITIES}
    queries = order[: config.draw.queries]
    directions, extra = _directions(labels, queries, order)
    held = {
        modality: np.concatenate([rows, _rows_at(config.parts, extra, modality, rows)])
        for modality, rows in drawn.items()
    }
    save_file({name: np.ascontiguousarray(rows) for name, rows in held.items()}, output / _DRAWN_FILE)
    save_file(
        {f"in_gallery.{modality}": first for modality, first in zip(MODALITIES, in_gallery, strict=True)}
        | {f"{name}.{key}": value for name, part in directions.items() for key, value in part.items()},
        output / _PLAN_FILE,
    )
    gallery = {m: int(first.sum()) for m, first in zip(MODALITIES, in_gallery, strict=True)}
    asked = [
        _chance_r10(np.diff(directions[name]["starts"]), rows)
        for name, rows in zip(DIRECTIONS, reversed(gallery.values()), strict=True)
        if len(directions[name]["queries"])
    ]
    return {
        "pairs": config.pairs,
        "sample": int(min(config.draw.sample, config.pairs)),
        "in_batches": int(min(config.draw.in_batches, config.pairs)),
        "queries": {name: len(part["queries"]) for name, part in directions.items()},
        "gallery": gallery,
        "no_intervals": no_intervals(images),
        "chance_r10": float(np.mean(asked)) if asked else 0.0,
    }


@dataclass(frozen=True)
class Direction:
    """Queries of one modality and what is right for them; positions are among the held pairs."""

    queries: npt.NDArray[np.int64]
    """`(n,)` held pairs whose image, or text, is looked for; the first ones of the draw, equal rows once."""
    partners: sparse.csr_array
    """`(n, held)` bool: the pairs of which the other modality's row is right."""


@dataclass(frozen=True)
class HeldPairs:
    """The pairs that are drawn, in the order of the draw, and then further partners of the queries."""

    images: Rows
    """`(held, dim)` as stored."""
    texts: Rows
    drawn: int
    directions: dict[str, Direction]

    @classmethod
    def load(cls, folder: Path, drawn: int) -> Self:
        """Read what `merge_embeddings` wrote; `drawn`: how many were drawn."""
        rows, plan = load_file(folder / _DRAWN_FILE), load_file(folder / _PLAN_FILE)
        directions = {}
        for name in DIRECTIONS:
            starts, columns = plan[f"{name}.starts"], plan[f"{name}.partners"]
            shape = len(starts) - 1, len(rows["image"])
            partners = sparse.csr_array((np.ones(len(columns), bool), columns, starts), shape)
            directions[name] = Direction(plan[f"{name}.queries"], partners)
        return cls(rows["image"], rows["text"], drawn, directions)


def load_means(folder: Path) -> MeanSums:
    """Return the means that `merge_embeddings` wrote."""
    return MeanSums.load(folder / _MEANS_FILE)


def gallery_rows(folder: Path, modality: str, first: int, rows: int) -> npt.NDArray[np.bool_]:
    """Return `(rows,)`, from pair `first` on: whether a pair's row is in the gallery: the first of those equal."""
    with safe_open(folder / _PLAN_FILE, framework="numpy") as plan:
        in_gallery: npt.NDArray[np.bool_] = plan.get_slice(f"in_gallery.{modality}")[first : first + rows]
        return in_gallery


def row_labels(rows: Rows) -> Labels:
    """Return `(n,)` labels of `(n, dim)` rows, equal where rows are equal in every number.

    A sum of the row's words times fixed random odd numbers, modulo 2^64: different rows meet with a chance of some
    pairs² / 2^64.
    """
    plain = np.ascontiguousarray(rows + rows.dtype.type(0))  # one zero, not two
    words = plain.view(np.uint16).reshape(len(plain), plain.shape[1] * plain.itemsize // 2)
    factors = np.random.default_rng(_HASH_SEED).integers(2**63, size=words.shape[1], dtype=np.uint64) * 2 + 1
    labels: Labels = np.einsum("ij,j->i", words, factors, dtype=np.uint64, casting="unsafe")
    return labels ^ (labels >> np.uint64(32))


def _joined(folders: list[Path], name: str, modality: str) -> npt.NDArray[Any]:
    return np.concatenate([load_file(folder / name)[modality] for folder in folders])


def _first_of_each(labels: Labels) -> npt.NDArray[np.bool_]:
    first = np.zeros(len(labels), bool)
    first[np.unique(labels, return_index=True)[1]] = True
    return first


def _chance_r10(right: npt.NDArray[np.int64], gallery: int) -> float:
    """R@10 of a gallery in random order; right: `(n,)` how many of its rows are right for each query."""
    ties = torch.full((len(right),), gallery)
    return float(chance_of_hit(torch.zeros_like(ties), ties, 10, torch.from_numpy(right)).mean())


def _directions(
    labels: list[Labels], queries: npt.NDArray[np.int64], order: npt.NDArray[np.int64]
) -> tuple[dict[str, dict[str, npt.NDArray[np.int64]]], npt.NDArray[np.int64]]:
    """Return each direction's queries, `starts` and `partners`, and the pairs to be held beside the drawn ones.

    What is right for an image is every text that stands in a pair with an image equal to it, each different text once.
    Queries with more than 256 right answers are left out.
    """
    found = {}
    for name, (own, other) in zip(DIRECTIONS, (labels, labels[::-1]), strict=True):
        distinct = queries[np.sort(np.unique(own[queries], return_index=True)[1])]
        wanted = own[distinct]
        by_label = np.argsort(wanted)
        asked = np.flatnonzero(np.isin(own, wanted))
        query = by_label[np.searchsorted(wanted[by_label], own[asked])]
        _, once = np.unique(np.stack([query.astype(np.uint64), other[asked]]), axis=1, return_index=True)
        query, asked = query[once], asked[once]
        sought = np.bincount(query, minlength=len(distinct)) <= _MOST_PARTNERS
        number = np.cumsum(sought) - 1
        found[name] = (distinct[sought], number[query[sought[query]]], asked[sought[query]])
    partners = np.unique(np.concatenate([asked for _, _, asked in found.values()]))
    extra = partners[~np.isin(partners, order)]
    held = np.concatenate([order, extra])
    sorter = np.argsort(held)

    def position(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return sorter[np.searchsorted(held, pairs, sorter=sorter)]

    directions = {}
    for name, (distinct, query, asked) in found.items():
        by_query = np.argsort(query, kind="stable")
        starts = np.searchsorted(query[by_query], np.arange(len(distinct) + 1))
        directions[name] = {
            "queries": position(distinct),
            "starts": starts.astype(np.int64),
            "partners": position(asked[by_query]),
        }
    return directions, extra


def _rows_at(parts: Sequence[PartConfig], pairs: npt.NDArray[np.int64], modality: str, like: Rows) -> Rows:
    """Return rows of given pairs, whose numbers are in order; only their units are read. like: rows of their kind."""
    found = [like[:0]]
    for part in parts:
        shards = part.store.shards
        for first, unit in part.numbered():
            chosen = pairs[slice(*np.searchsorted(pairs, (first, first + unit.pairs)))] - first
            if len(chosen):
                arrays = shards.pairs(unit.shard, part.store.split)
                found.append((arrays.images if modality == "image" else arrays.texts)[chosen])
    return np.concatenate(found)
