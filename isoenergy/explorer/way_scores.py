"""How near a query is to all rows of a gallery, in each of the ways to close the gap, without writing any row anew.

A way maps a unit row u of code z to u M + o + (z ∘ w) D P. Its inner product with a query q is u · (M q) + o · q +
z · (w ∘ D P q): a product with the rows as they are and one with their codes, k numbers a row. Only the norms of the
mapped rows are computed beforehand, for the cosine.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.evaluation.embedding_variants import atom_variants
from isoenergy.evaluation.ways import WAYS
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.gallery import Gallery
from isoenergy.explorer.short_rows import ShortRows
from isoenergy.interventions.gap_closing import Affine

ORIGINAL = "original"
_ROWS_AT_ONCE = 4096
LEAST_NORM = 1e-6
"""Of less, nothing is left of what was asked."""


@dataclass(frozen=True)
class RowMap:
    """What a way makes of a row of one modality: see above."""

    rows: Affine | None = None
    """M and o; None: the row itself does not count."""
    weights: Tensor | None = None
    """`(atoms,)` w; None: the code does not count."""
    after: Tensor | None = None
    """`(dim, dim)` P; None: the identity."""

    def __call__(self, units: Tensor, decoded: Tensor) -> Tensor:
        """Map `(n, dim)` unit rows; `decoded` is `(z ∘ w) D`."""
        mapped = torch.zeros_like(units) if self.rows is None else self.rows(units)
        if self.weights is not None:
            mapped = mapped + (decoded if self.after is None else decoded @ self.after)
        return mapped

    def of_rows(self, query: Tensor) -> tuple[Tensor | None, float]:
        """Return M q, None if that is 0, and o · q."""
        if self.rows is None:
            return None, 0.0
        row = query if self.rows.matrix is None else self.rows.matrix.to(query) @ query
        return row, 0.0 if self.rows.offset is None else float(self.rows.offset.to(query) @ query)

    def of_atoms(self, query: Tensor) -> Tensor | None:
        """Return P q; None if the code does not count."""
        if self.weights is None:
            return None
        return query if self.after is None else self.after @ query


@dataclass(frozen=True)
class Point:
    """One embedding: a row of unit norm, and its code divided by the norm that it was made of."""

    unit: Tensor
    """`(dim,)`"""
    code: Tensor
    """`(atoms,)`, dense."""
    side: int
    """0: of the first modality, 1: of the second."""


@dataclass
class WayScores:
    """The ways that there are for an autoencoder on a gallery."""

    gallery: Gallery
    coded: CodedPairs
    folder: Path
    """Keeps norms."""
    seed: int = 0
    maps: Mapping[str, tuple[RowMap, RowMap]] = field(init=False)
    """By way, of images and of texts."""
    _norms: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        found = atom_variants(self.coded.statistics, self.coded.sae, self.seed)
        sae = self.coded.sae
        maps = {ORIGINAL: (RowMap(Affine()), RowMap(Affine()))}
        for variant in found.variants:
            weights = found.atoms[variant.base]
            sides = []
            for modality, own, closing in zip(
                sae.config.modalities,
                (weights.image, weights.text),
                (variant.closing.image, variant.closing.text),
                strict=True,
            ):
                rows = None
                if weights.subtracted:
                    rows = Affine(offset=-sae.restore(torch.zeros(1, sae.config.dim), modality)[0])
                sides.append(RowMap(rows, -own if weights.subtracted else own, closing.matrix))
            maps[variant.name] = (sides[0], sides[1])
        for name, way in WAYS.items():
            if way.linear is not None:
                linear = way.linear(self.gallery.moments, self.seed)
                maps[name] = (RowMap(linear.image), RowMap(linear.text))
        self.maps = {name: maps[name] for name in WAYS if name in maps}

    def mapped(self, way: str, points: Sequence[tuple[Point, float]]) -> Tensor:
        """Return `(dim,)`: the sum of what a way makes of some embeddings, each times its number; of unit norm.

        It is 0 if nothing is left.
        """
        total = torch.zeros(self.gallery.dim)
        for point, factor in points:
            side = self.maps[way][point.side]
            decoded = torch.zeros_like(point.unit)
            if side.weights is not None:
                decoded = decoded_code(side.weights * point.code, self.coded.dictionary)
            total = total + factor * side(point.unit[None], decoded[None])[0]
        return normalize(total, dim=0) if total.norm() > LEAST_NORM else torch.zeros_like(total)

    @torch.no_grad()
    def cosines(self, queries: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.float32]]:
        """Return `(2, pairs)` cosines of all images and all texts with each way's query, which is of unit norm."""
        found = {way: np.zeros((2, len(self.gallery)), np.float32) for way in queries}
        norms = {way: self.norms(way) for way in queries}
        for side, (rows, codes) in enumerate(zip(self.gallery.rows, self.coded.codes, strict=True)):
            parts = {way: self.maps[way][side].of_rows(query) for way, query in queries.items()}
            by_row = {way: row for way, (row, _) in parts.items() if row is not None}
            sums = {way: torch.full((len(self.gallery),), offset) for way, (_, offset) in parts.items()}
            for way, products in _row_products(rows, by_row).items():
                sums[way] += products
            scales = torch.from_numpy(self.scales(side))
            for way, products in _code_products(codes, self._of_atoms(queries, side)).items():
                sums[way] += products / scales
            for way, total in sums.items():
                found[way][side] = (total / norms[way][side]).numpy()
        return found

    def _of_atoms(self, queries: Mapping[str, Tensor], side: int) -> dict[str, Tensor]:
        """Return w ∘ D P q of each way in which codes count; the dictionary is passed over once for all."""
        along = {way: self.maps[way][side].of_atoms(query) for way, query in queries.items()}
        there = {way: direction for way, direction in along.items() if direction is not None}
        if not there:
            return {}
        products = (self.coded.dictionary @ torch.stack(list(there.values()), dim=1)).T
        found = {}
        for way, product in zip(there, products, strict=True):
            weights = self.maps[way][side].weights
            assert weights is not None
            found[way] = weights * product
        return found

    def norms(self, way: str) -> tuple[Tensor, Tensor]:
        """Return the norms of all images and all texts in a way; computed the first time, and kept."""
        with self._lock:
            if way not in self._norms:
                sides = tuple(self._side_norms(way, side) for side in (0, 1))
                self._norms[way] = (sides[0], sides[1])
            return self._norms[way]

    @torch.no_grad()
    def _side_norms(self, way: str, side: int) -> Tensor:
        map_, rows, codes = self.maps[way][side], self.gallery.rows[side], self.coded.codes[side]
        if way == ORIGINAL:
            return torch.ones(len(rows))
        file = self.folder / f"norms-{self.coded.digest[:16]}-{self.gallery.key}-{way}-{side}.npy"
        if file.exists() and len(kept := np.load(file)) == len(rows):
            return torch.from_numpy(kept)
        norms = torch.empty(len(rows))
        scales = torch.from_numpy(self.scales(side))
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = slice(start, start + _ROWS_AT_ONCE)
            units = rows.floats(some)
            decoded = units
            if map_.weights is not None:
                part = codes.rows(some)
                values = part.values * map_.weights[part.indices.long()] / scales[some, None]
                decoded = embedding_bag(part.indices, self.coded.dictionary, per_sample_weights=values, mode="sum")
            norms[some] = map_(units, decoded).norm(dim=1)
        norms = norms.clamp(min=LEAST_NORM)
        np.save(file, norms.numpy())
        return norms

    def scales(self, side: int) -> npt.NDArray[np.float32]:
        """Return `(pairs,)`: what the rows were larger by, of which the codes are, than the unit rows."""
        raw = self.coded.sae.config.input == "raw"
        scales: npt.NDArray[np.float32] = self.gallery.norms[side] if raw else np.ones(len(self.gallery), np.float32)
        return scales

    def point(self, pair: int, side: int) -> Point:
        """Return an image or a text of the gallery."""
        unit = self.gallery.rows[side].floats(pair)
        codes = self.coded.codes[side].rows(slice(pair, pair + 1))
        code = codes.to_dense(len(self.coded.dictionary))[0] / float(self.scales(side)[pair])
        return Point(normalize(unit, dim=0), code, side)


def decoded_code(code: Tensor, dictionary: Tensor) -> Tensor:
    """Return `(dim,)` what a dense `(atoms,)` code of few atoms makes of them."""
    atoms = torch.nonzero(code)[:, 0]
    return code[atoms] @ dictionary[atoms]


def _row_products(rows: ShortRows, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each query's `(rows,)` inner products with all rows."""
    if not queries:
        return {}
    return dict(zip(queries, rows.products(torch.stack(list(queries.values()))), strict=True))


def _code_products(codes: SparseCodes, queries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return for each `(atoms,)` query the `(rows,)` sums of its entries at the codes' atoms, by their coefficients."""
    if not queries:
        return {}
    columns = torch.stack(list(queries.values()), dim=1)
    sums = embedding_bag(codes.indices, columns, per_sample_weights=codes.values, mode="sum")
    return dict(zip(queries, sums.T, strict=True))
