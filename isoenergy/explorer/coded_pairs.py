"""An autoencoder on a gallery: the codes of all pairs, made once, and what is known of each atom from them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from fsspec.implementations.local import LocalFileSystem
from scipy import sparse
from torch import Tensor
from tqdm import tqdm

from isoenergy.codes.sparse_codes import SparseCodes, concatenate
from isoenergy.errors import InputError
from isoenergy.evaluation.embeddings import row_labels
from isoenergy.explorer.atom_entries import AtomEntries
from isoenergy.explorer.atom_labels import NAMING, TOPS, labels_of_strongest
from isoenergy.explorer.gallery import SIDES, Gallery, written_once
from isoenergy.metrics.agreement import agreement
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.bootstrap import Labels
from isoenergy.statistics.concept_statistics import ConceptStatistics, ModalityStatistics
from isoenergy.statistics.pair_agreement import PairAgreement, pairs_of_one_image
from isoenergy.storage.files import write_atomically
from isoenergy.store import EmbeddingStore

_ATOMS_FILE, _STATISTICS_FILE = "atoms.parquet", "statistics.safetensors"
_BATCH_ROWS = 4096

Codes = npt.NDArray[np.generic]


@dataclass(frozen=True)
class CodedPairs:
    """The codes of a gallery's pairs, and the atoms."""

    name: str
    sae: SparseAutoencoder
    codes: tuple[SparseCodes, SparseCodes]
    """Of images and of texts; an atom that repeats in a row has its sum at the first place. Mapped from the disk."""
    entries: tuple[AtomEntries, AtomEntries]
    statistics: ConceptStatistics
    """Of the fitted pairs, without the atoms' cross moments."""
    atoms: pa.Table
    """A row an atom: label, class, energies, frequency, modality score, agreement."""

    @cached_property
    def dictionary(self) -> Tensor:
        """`(atoms, dim)` float32."""
        return self.sae.dictionary.detach()

    @cached_property
    def digest(self) -> str:
        """The autoencoder's, worked out once: it passes over all weights."""
        return self.sae.digest

    @cached_property
    def directions(self) -> Tensor:
        """`(atoms, dim)` the atoms at unit norm."""
        return torch.nn.functional.normalize(self.dictionary, dim=1)

    @cached_property
    def live(self) -> npt.NDArray[np.bool_]:
        """`(atoms,)`: those that some pair fires."""
        return np.array((self.entries[0].fires > 0) | (self.entries[1].fires > 0))

    @cached_property
    def labels(self) -> list[str]:
        """Of each atom."""
        labels: list[str] = self.atoms["label"].to_pylist()
        return labels

    @cached_property
    def classes(self) -> list[str]:
        """Of each atom: bimodal, image_only, text_only or dead."""
        classes: list[str] = self.atoms["class"].to_pylist()
        return classes

    @classmethod
    def of(
        cls, name: str, sae: SparseAutoencoder, gallery: Gallery, store: EmbeddingStore, folder: Path, step: str = ""
    ) -> Self:
        """Encode the gallery's pairs, once: `folder` keeps what came of it.

        step: stands before the name of the bar, which says how far that is.
        Raises InputError if the autoencoder does not go with the store.
        """
        if sae.config.dim != gallery.dim or len(sae.config.modalities) != 2:
            raise InputError(
                f"the autoencoder {name} takes {' and '.join(sae.config.modalities)} of width {sae.config.dim}, and "
                f"{store.uri} has two modalities of width {gallery.dim}; give the store that goes with it"
            )
        place = folder / f"codes-{sae.digest[:16]}-{gallery.key}"
        if not (place / _ATOMS_FILE).exists():
            written_once(place, lambda partial: _encode(f"{step}encode by {name}", sae, gallery, store, partial))
        parts = [[_mapped(place, side, part) for part in ("atoms", "values")] for side in SIDES]
        codes = [SparseCodes(indices, values, torch.empty(len(indices), 0)) for indices, values in parts]
        entries = [AtomEntries.load(place, side) for side in SIDES]
        atoms = _named(place / _ATOMS_FILE, entries, gallery, sae.config.modalities)
        statistics = ConceptStatistics.load(place / _STATISTICS_FILE)
        return cls(
            name,
            sae,
            (codes[0], codes[1]),
            (entries[0], entries[1]),
            statistics,
            atoms.combine_chunks(),
        )


def _named(file: Path, sides: list[AtomEntries], gallery: Gallery, modalities: Sequence[str]) -> pa.Table:
    """Return the atoms that a file keeps, which are named anew if that was done otherwise."""
    atoms = pq.read_table(file)
    if (atoms.schema.metadata or {}).get(b"naming") == NAMING.encode():
        return atoms
    labels = _labels(sides, gallery, modalities)
    place = atoms.schema.get_field_index("label")
    atoms = atoms.set_column(place, "label", pa.array(labels)).replace_schema_metadata({"naming": NAMING})
    sink = pa.BufferOutputStream()
    pq.write_table(atoms, sink)
    with suppress(OSError):  # where nothing can be written they are named at each start
        write_atomically(LocalFileSystem(), str(file), sink.getvalue().to_pybytes())
    return atoms


def _mapped(place: Path, side: str, part: str) -> Tensor:
    return torch.from_numpy(np.load(place / f"{side}-code-{part}.npy", mmap_mode="c"))


@torch.no_grad()
def _encode(title: str, sae: SparseAutoencoder, gallery: Gallery, store: EmbeddingStore, folder: Path) -> None:
    atoms = sae.config.atoms
    found: tuple[list[SparseCodes], list[SparseCodes]] = ([], [])
    sums = ModalityStatistics.zeros(atoms), ModalityStatistics.zeros(atoms)
    together = PairAgreement.zeros(atoms)
    images: list[Labels] = [np.zeros(0, np.uint64)]
    fitted = gallery.fitted
    with tqdm(total=len(gallery), desc=title, unit=" pairs") as bar:
        gram = sae.gram_of_frozen(2 * len(gallery))
        for block in gallery.blocks(store):
            for start in range(0, len(block.both[0]), _BATCH_ROWS):
                codes = []
                for modality, rows, kept in zip(sae.config.modalities, block.both, found, strict=True):
                    some = sae.encode(sae.prepare(rows[start : start + _BATCH_ROWS], modality), gram=gram)
                    merged = SparseCodes(some.indices.int(), some.merged_values().float(), torch.empty(len(some), 0))
                    kept.append(merged)
                    codes.append(merged)
                first = block.start + start
                known = torch.from_numpy(fitted[first : first + len(codes[0])])
                image, text = (SparseCodes(c.indices[known], c.values[known], c.residual[known]) for c in codes)
                for part, own in zip(sums, (image, text), strict=True):
                    part.update(own)
                together.update(image, text)
                images.append(row_labels(block.both[0][start : start + _BATCH_ROWS][known].numpy()))
                bar.update(len(known))
        bar.set_description(f"{title}, name its atoms")
    together.of_one_image = pairs_of_one_image(np.concatenate(images))
    statistics = ConceptStatistics(*sums, sparse.csr_array((atoms, atoms)))
    statistics.save(folder / _STATISTICS_FILE)
    sides = []
    for side, parts in zip(SIDES, found, strict=True):
        whole = concatenate(parts, sae.config.k)
        indices, values = whole.indices.numpy(), whole.values.numpy()
        np.save(folder / f"{side}-code-atoms.npy", indices)
        np.save(folder / f"{side}-code-values.npy", values)
        sides.append(AtomEntries.of(indices, values, atoms))
        sides[-1].save(folder, side)
    pq.write_table(_atoms_table(statistics, together, sides, gallery, sae.config.modalities), folder / _ATOMS_FILE)


def _atoms_table(
    statistics: ConceptStatistics,
    together: PairAgreement,
    sides: list[AtomEntries],
    gallery: Gallery,
    modalities: Sequence[str],
) -> pa.Table:
    agreed = agreement(together)
    return pa.table(
        {
            "atom": np.arange(statistics.atoms),
            "label": _labels(sides, gallery, modalities),
            "class": pa.array(statistics.classes().names.tolist(), pa.string()),
            "energy": statistics.energy,
            "image_energy": statistics.image.energy,
            "text_energy": statistics.text.energy,
            "frequency": statistics.frequency,
            "modality_score": pa.array(statistics.modality_score, from_pandas=True),
            "image_fires": sides[0].fires,
            "text_fires": sides[1].fires,
            "correlation": pa.array(agreed.correlation, from_pandas=True),
            "correlation_low": pa.array(agreed.correlation_low, from_pandas=True),
            "correlation_high": pa.array(agreed.correlation_high, from_pandas=True),
            "lift": pa.array(agreed.lift, from_pandas=True),
            "agrees": agreed.agrees,
        },
        metadata={"naming": NAMING},
    )


def _labels(sides: Sequence[AtomEntries], gallery: Gallery, modalities: Sequence[str]) -> list[str]:
    tops = [side.tops(TOPS)[:2] for side in sides]
    return labels_of_strongest(tops, [side.fires for side in sides], gallery.pairs["caption"], modalities)
