"""What is asked, as a sum of texts, images and pairs whose coefficients may be set anew; and what answers it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.way_scores import LEAST_NORM, Point, WayScores, decoded_code

MIXED = 50
"""Nearest rows among which images and texts are counted: where there is no gap both are there as they are in all."""
_BLOCKS_A_VALUE = 64


@dataclass(frozen=True)
class Term:
    """One embedding of a query."""

    point: Point
    weight: float
    scale: float
    """The norm of the row that was encoded, where that counts; else 1. Coefficients are shown times it."""
    pair: int | None = None
    """If it is one of the gallery."""


@dataclass(frozen=True)
class Query:
    """A sum of embeddings, some of whose coefficients are set anew; the first term's modality is the query's."""

    terms: tuple[Term, ...]
    coefficients: Mapping[int, float]
    """By atom: what it shall be."""

    @property
    def code(self) -> Tensor:
        """`(atoms,)` coefficients as they are found, in the first term's scale."""
        found: Tensor = sum(term.weight * term.point.code for term in self.terms)  # type: ignore[assignment]
        return found * self.terms[0].scale

    @property
    def steered(self) -> Tensor:
        """`(atoms,)` coefficients as they are set."""
        code = self.code.clone()
        for atom, value in self.coefficients.items():
            code[atom] = value
        return code

    def points(self, dictionary: Tensor) -> list[tuple[Point, float]]:
        """Return the embeddings and their numbers; what is set anew moves the first of them."""
        change = (self.steered - self.code) / self.terms[0].scale
        first = self.terms[0].point
        moved = Point(first.unit + decoded_code(change, dictionary), first.code + change, first.side)
        return [(moved, 1.0), *((term.point, term.weight) for term in self.terms[1:])]


def encoded_term(coded: CodedPairs, row: Tensor, side: int, weight: float = 1.0) -> Term:
    """Return a raw `(dim,)` embedding of the first (0) or second modality as a term."""
    sae = coded.sae
    with torch.no_grad():
        codes = sae.encode(sae.prepare(row[None].float(), sae.config.modalities[side]))
    scale = float(row.norm()) if sae.config.input == "raw" else 1.0
    code = codes.to_dense(sae.config.atoms)[0] / scale
    return Term(Point(normalize(row.float(), dim=0), code, side), weight, scale)


def pair_term(scores: WayScores, pair: int, side: int, weight: float = 1.0) -> Term:
    """Return an image or a text of the gallery as a term."""
    return Term(scores.point(pair, side), weight, float(scores.scales(side)[pair]), pair)


def contributions(query: Query, coded: CodedPairs) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Return the atoms that make up a query, and how well they do.

    Those that were added come first, then the largest share.

    An atom's `share` is c · (d · x) / ‖x‖², x being the query before it is steered: those of all add up to the part of
    x that its reconstruction covers. Of the whole: `error`, the squared norm of what is left over that of x, and
    `cosine`, that of both, NaN of terms that cancel out; `scale`, the unit of coefficients: those of a row of unit norm
    times it.
    """
    dictionary, found, steered = coded.dictionary, query.code, query.steered
    scale = query.terms[0].scale
    rows: Tensor = sum(term.weight * _prepared(coded, term) for term in query.terms)  # type: ignore[assignment]
    square = float(rows @ rows)
    cancelled = square < LEAST_NORM**2
    square = max(square, LEAST_NORM**2)
    rebuilt = decoded_code(found / scale, dictionary)
    atoms = torch.nonzero((found != 0) | (steered != 0))[:, 0]
    share = found[atoms] / scale * (dictionary[atoms] @ rows) / square
    size = torch.where(found[atoms] == 0, torch.inf, share.abs())
    listed = [
        {
            "atom": (atom := int(atoms[place])),
            "label": coded.labels[atom],
            "class": coded.classes[atom],
            "found": float(found[atom]),
            "coefficient": float(steered[atom]),
            "share": float(share[place]),
        }
        for place in torch.argsort(-size, stable=True).tolist()
    ]
    left = rows - rebuilt
    whole = {
        "error": math.nan if cancelled else float(left @ left) / square,
        "cosine": math.nan if cancelled else float(torch.nn.functional.cosine_similarity(rows, rebuilt, dim=0)),
        "scale": scale,
    }
    return listed, whole


def _prepared(coded: CodedPairs, term: Term) -> Tensor:
    """The row that was encoded, in units of its norm."""
    sae, row = coded.sae, term.point.unit * term.scale
    return sae.prepare(row[None], sae.config.modalities[term.point.side])[0] / term.scale


def nearest(query: Query, scores: WayScores, ways: Sequence[str], count: int) -> dict[str, dict[str, Any]]:
    """Return for each way the nearest images and texts in one list, and how they are mixed.

    The query's own rows are left out. Of a query that is one row of the gallery, `partner` is how many rows of the
    other modality come before its own. A way that leaves nothing of the query has no neighbours.
    """
    points = query.points(scores.coded.dictionary)
    mapped = {way: scores.mapped(way, points) for way in ways}
    there = {way: row for way, row in mapped.items() if row.any()}
    found: dict[str, dict[str, Any]] = {way: {"neighbours": [], "mixed": None, "partner": None} for way in ways}
    own = [(term.point.side, term.pair) for term in query.terms if term.pair is not None]
    for way, cosines in scores.cosines(there).items():
        partner = None
        if len(query.terms) == 1 and own:
            side, pair = own[0]
            other = cosines[1 - side]
            partner = int((other > other[pair]).sum())
        for side, pair in own:
            cosines[side, pair] = -np.inf
        places = largest(cosines.ravel(), max(count, MIXED))
        sides, pairs = np.divmod(places, cosines.shape[1])
        kept = np.isfinite(cosines.ravel()[places])
        sides, pairs = sides[kept], pairs[kept]
        found[way] = {
            "neighbours": [
                {"pair": int(pair), "side": int(side), "cosine": float(cosines[side, pair])}
                for side, pair in zip(sides[:count], pairs[:count], strict=True)
            ],
            "mixed": [int((sides[:MIXED] == side).sum()) for side in (0, 1)],
            "partner": partner,
        }
    return found


def largest(values: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Return the places of the largest values, the largest first, and of equal ones the first first.

    As many blocks as are asked for have a value that the last of them has; only values of that size are sorted.
    """
    count = min(count, len(values))
    width = max(1, len(values) // (_BLOCKS_A_VALUE * count))
    highest = np.maximum.reduceat(values, np.arange(0, len(values), width))
    least = np.partition(highest, -count)[-count]
    some = np.flatnonzero(values >= least)
    return some[np.lexsort((some, -values[some]))][:count].astype(np.int64)
