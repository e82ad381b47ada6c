"""From stored rows to the columns that are asked for: codes, parts of the reconstruction, closings of the gap."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.applying.written_choices import (
    CODES,
    ORIGINAL,
    RECONSTRUCTED,
    is_linear,
    needs_classes,
    needs_encoding,
    needs_unit_rows,
)
from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.errors import InputError
from isoenergy.evaluation.embedding_variants import AtomWeights, EmbeddingVariant, atom_variants
from isoenergy.evaluation.ways import WAYS
from isoenergy.interventions.gap_closing import Affine, GapClosing
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.joint import Autoencoder
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_moments import PairMoments
from isoenergy.store.manifest import StoredDtype

BATCH_ROWS = 4096
"""Rows of a modality that are encoded at a time."""
Rows = npt.NDArray[np.floating]
Grams = Mapping[str, Tensor | None]
"""By modality; None: that of a pursuit which needs none."""
_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class AppliedRows:
    """What became of some rows."""

    columns: dict[str, pa.Array]
    """By name, in order; one entry a row that is no fault."""
    faults: dict[int, str]
    """Why a row, by its number, has no columns."""


@dataclass(frozen=True)
class SortedCodes:
    """Codes as they are written: each atom once a row, the largest coefficient first."""

    atoms: Tensor
    """`(rows, k)` int32."""
    coefficients: Tensor
    """`(rows, k)` float32; behind a row's own come zeros."""

    @classmethod
    def of(cls, codes: SparseCodes) -> Self:
        """Merge what repeats in a row, and sort each by the coefficients' sizes."""
        from isoenergy.codes.within_rows import largest_first  # numba, which who starts workers does not need

        return cls(*largest_first(codes.indices.cpu(), codes.values.float().cpu()))

    def rows(self, chosen: Tensor) -> "SortedCodes":
        """Return some of the rows."""
        return SortedCodes(self.atoms[chosen], self.coefficients[chosen])


@dataclass(frozen=True)
class Application:
    """An autoencoder, and what is written of each row. It may be sent to other processes."""

    sae: Autoencoder
    writes: tuple[str, ...]
    dtype: StoredDtype
    """Of vectors and coefficients."""
    normalised: bool
    """Whether vectors are scaled to unit norm; coefficients are not."""
    choices: Mapping[str, EmbeddingVariant] = field(default_factory=dict)
    """Those of `writes` that an SAE makes of a row by a choice of atoms, less `reconstructed`."""
    weights: Mapping[str, AtomWeights] = field(default_factory=dict)
    """Of the choices' bases."""
    closings: Mapping[str, GapClosing] = field(default_factory=dict)
    """Those of `writes` that are maps of rows of unit norm."""

    @classmethod
    def fitted(
        cls,
        sae: Autoencoder,
        writes: tuple[str, ...],
        dtype: StoredDtype,
        normalised: bool,
        statistics: ConceptStatistics | None = None,
        moments: PairMoments | None = None,
        seed: int = 0,
    ) -> Self:
        """Return the application with what it needs to know of the data.

        statistics: they decide the atoms' classes; moments: of rows of unit norm, from which linear ways are fitted.
        Each may be None if nothing in `writes` needs it. seed: of what is drawn at random.
        Raises InputError for what this autoencoder cannot write.
        """
        choices: dict[str, EmbeddingVariant] = {}
        weights: dict[str, AtomWeights] = {}
        if chosen := [write for write in writes if needs_classes(write)]:
            assert statistics is not None
            assert isinstance(sae, SparseAutoencoder)
            found = atom_variants(statistics, sae, seed)
            there = {variant.name: variant for variant in found.variants}
            if lacking := [write for write in chosen if write not in there]:
                raise InputError(
                    f"{lacking[0]} subtracts from unit rows, and this SAE takes raw ones; leave it out of --write"
                )
            choices = {write: there[write] for write in chosen}
            weights = {variant.base: found.atoms[variant.base] for variant in choices.values()}
        closings = {}
        for write in writes:
            way = WAYS.get(write)
            if way is not None and way.linear is not None:
                assert moments is not None
                closings[write] = way.linear(moments, seed)
        return cls(sae, writes, dtype, normalised, choices, weights, closings)

    @property
    def vectors(self) -> tuple[str, ...]:
        """Those of `writes` that are vectors."""
        return tuple(write for write in self.writes if write != CODES)

    def grams(self, rows: int) -> dict[str, Tensor | None]:
        """Return the Gram matrices for `rows` rows of a modality, one for each dictionary."""
        if not needs_encoding(self.writes):
            return dict.fromkeys(self.sae.config.modalities)
        if isinstance(self.sae, SparseAutoencoder):
            return dict.fromkeys(self.sae.config.modalities, self.sae.gram_of_frozen(rows))
        return {name: self.sae.part(name).gram_of_frozen(rows) for name in self.sae.config.modalities}

    @torch.no_grad()
    def __call__(self, vectors: Mapping[str, Rows], grams: Grams) -> AppliedRows:
        """Return the columns of some rows, as many of each modality.

        vectors: `(rows, width)` by modality, as stored. A row that is zero or not finite in any modality, or whose
        numbers are beyond `dtype`, is a fault.
        """
        rows = len(next(iter(vectors.values())))
        faults: dict[int, str] = {}
        parts: dict[str, list[Tensor | SortedCodes]] = {}
        for start in range(0, max(rows, 1), BATCH_ROWS):
            batch = {name: read_only(x[start : start + BATCH_ROWS]) for name, x in vectors.items()}
            for name, part in self._batch(batch, grams, start, faults).items():
                parts.setdefault(name, []).append(part)
        columns: dict[str, pa.Array] = {}
        for name, made in parts.items():
            columns |= _arrays(name, made, _DTYPES[self.dtype])
        return AppliedRows(columns, dict(sorted(faults.items())))

    def _batch(
        self, batch: Mapping[str, Tensor], grams: Grams, start: int, faults: dict[int, str]
    ) -> dict[str, Tensor | SortedCodes]:
        device = next(self.sae.parameters()).device
        given = {name: x.to(device).float() for name, x in batch.items()}
        numbers = torch.arange(start, start + len(next(iter(given.values()))))
        for name, x in given.items():
            norms = x.norm(dim=1).cpu()
            _note(faults, numbers, ~norms.isfinite(), f"{name} is not finite")
            _note(faults, numbers, norms == 0, f"{name} is zero")
        if faults:
            good = torch.tensor([int(number) not in faults for number in numbers], dtype=torch.bool)
            numbers, given = numbers[good], {name: x[good.to(device)] for name, x in given.items()}
        made: dict[str, Tensor | SortedCodes] = {}
        for name, x in given.items():
            made |= {f"{name}_{write}": part for write, part in self._modality(name, x, grams[name]).items()}
        if self.dtype == "float16":
            largest = torch.finfo(torch.float16).max
            beyond = torch.zeros(len(numbers), dtype=torch.bool)
            for name, part in made.items():
                size = part if isinstance(part, Tensor) else part.coefficients
                over = size.abs().amax(dim=1) > largest
                _note(faults, numbers, over, f"{name} is beyond float16")
                beyond |= over
            if beyond.any():
                made = {name: p[~beyond] if isinstance(p, Tensor) else p.rows(~beyond) for name, p in made.items()}
        return made

    def _modality(self, modality: str, x: Tensor, gram: Tensor | None) -> dict[str, Tensor | SortedCodes]:
        made: dict[str, Tensor | SortedCodes] = {}
        part = self.sae.part(modality)
        of_images = modality == self.sae.config.modalities[0]
        if needs_encoding(self.writes):
            prepared = part.prepare(x, modality)
            codes = part.encode(prepared, gram=gram)
        if needs_unit_rows(self.writes):
            unit = normalize(x, dim=1)
        for write in self.writes:
            if write == CODES:
                made[write] = SortedCodes.of(codes)
                continue
            if write == ORIGINAL:
                rows = unit
            elif is_linear(write):
                rows = _side(self.closings[write], of_images)(unit)
            elif write == RECONSTRUCTED:
                rows = part.decode(codes)
            else:
                rows = self._chosen(self.choices[write], part, prepared, codes, of_images)
            made[write] = self._vectors(rows)
        return made

    def _chosen(
        self, choice: EmbeddingVariant, part: SparseAutoencoder, prepared: Tensor, codes: SparseCodes, of_images: bool
    ) -> Tensor:
        weights = self.weights[choice.base]
        factors = weights.image if of_images else weights.text
        rows = part.decode(codes.scaled(factors.to(prepared.device)))
        return _side(choice.closing, of_images)(prepared - rows if weights.subtracted else rows)

    def _vectors(self, rows: Tensor) -> Tensor:
        return (normalize(rows, dim=1) if self.normalised else rows).cpu()


def read_only(array: Rows) -> Tensor:
    """Return an array as a tensor that nobody writes to; torch warns where nobody can."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.from_numpy(array)


def _side(closing: GapClosing, of_images: bool) -> Affine:
    return closing.image if of_images else closing.text


def _note(faults: dict[int, str], numbers: Tensor, bad: Tensor, what: str) -> None:
    for number in numbers[bad].tolist():
        faults.setdefault(number, what)


def _arrays(name: str, parts: list[Tensor | SortedCodes], dtype: torch.dtype) -> dict[str, pa.Array]:
    """Return the column, or the two of codes, that the batches of a unit make."""
    vectors = [part.to(dtype) for part in parts if isinstance(part, Tensor)]
    if vectors:
        rows = torch.cat(vectors)
        return {name: pa.FixedSizeListArray.from_arrays(pa.array(rows.numpy().ravel()), rows.shape[1])}
    codes = [part for part in parts if isinstance(part, SortedCodes)]
    there = [part.coefficients.numpy() != 0 for part in codes]
    lengths = np.concatenate([each.sum(axis=1) for each in there])
    offsets = pa.array(np.concatenate([[0], lengths.cumsum()]).astype(np.int32))
    atoms = np.concatenate([part.atoms.numpy()[each] for part, each in zip(codes, there, strict=True)])
    numbers = np.concatenate([part.coefficients.numpy()[each] for part, each in zip(codes, there, strict=True)])
    coefficients = torch.from_numpy(numbers).to(dtype).numpy()
    modality = name.removesuffix(f"_{CODES}")
    return {
        f"{modality}_{what}": pa.ListArray.from_arrays(offsets, pa.array(flat))
        for what, flat in (("atoms", atoms), ("coefficients", coefficients))
    }
