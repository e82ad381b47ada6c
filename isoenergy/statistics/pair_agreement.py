"""What an atom's two coefficients have to do with each other in pairs, as mergeable sums of one pass over the codes."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.concept_statistics import merged_code_matrix
from isoenergy.statistics.sums import MergeableSums

Floats = npt.NDArray[np.float64]

POWERS = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (1, 3))
"""Of an image's coefficient and of its text's: with those of each alone, what the spread of a correlation needs."""


@dataclass
class PairAgreement(MergeableSums):
    """Sums over pairs of powers of z, the image's coefficient, and w, the text's; halves merge into the whole.

    Only atoms that fire cost anything: a product of z and w is 0 wherever one of them is.
    """

    pairs: int
    image: Floats
    """`(4, atoms)`: the sums of z, z², z³ and z⁴."""
    text: Floats
    """`(4, atoms)`: those of w."""
    both: Floats
    """`(6, atoms)`: the sums of z^a w^b, (a, b) as in `POWERS`."""
    image_fires: Floats
    """`(atoms,)` pairs whose image fires the atom."""
    text_fires: Floats
    """Pairs whose text does."""
    both_fire: Floats
    """Pairs of which both do."""
    of_one_image: int = 0
    """Ordered pairs of two pairs whose image is the same; 0 in sums of before these were counted."""

    @classmethod
    def zeros(cls, atoms: int) -> Self:
        """Return the sums of no pairs."""
        image, text, both = (np.zeros((rows, atoms)) for rows in (4, 4, len(POWERS)))
        return cls(0, image, text, both, np.zeros(atoms), np.zeros(atoms), np.zeros(atoms))

    def update(
        self,
        image_codes: SparseCodes,
        text_codes: SparseCodes,
        images: npt.NDArray[np.uint64] | None = None,
    ) -> None:
        """Add pairs: row i of both codes belong together.

        images: `(rows,)` labels, equal where the image is, in these rows; None: each occurs once.
        """
        if len(image_codes) != len(text_codes):
            raise ValueError(f"image_codes and text_codes must pair up, got {len(image_codes)} and {len(text_codes)}")
        atoms = len(self.both_fire)
        image, text = (_firing(codes, atoms) for codes in (image_codes, text_codes))
        self.pairs += len(image_codes)
        self.of_one_image += 0 if images is None else pairs_of_one_image(images)
        for total, codes in ((self.image, image), (self.text, text)):
            total += np.stack([_by_atom(codes.indices, codes.data**power, atoms) for power in (1, 2, 3, 4)])
        self.image_fires += np.bincount(image.indices, minlength=atoms)
        self.text_fires += np.bincount(text.indices, minlength=atoms)
        met, z, w = _meetings(image, text)
        self.both += np.stack([_by_atom(met, z**a * w**b, atoms) for a, b in POWERS])
        self.both_fire += np.bincount(met, minlength=atoms)

    @property
    def effective_pairs(self) -> float:
        """How many independent pairs these are worth: (Σc)² / Σc², c the number of an image's captions (Kish 1965).

        The number of images where all have as many captions; that of pairs where each occurs once.
        """
        return self.pairs**2 / (self.pairs + self.of_one_image) if self.of_one_image else self.pairs

    @property
    def atoms(self) -> int:
        """Size of the dictionary."""
        return len(self.both_fire)


def pairs_of_one_image(images: npt.NDArray[np.uint64]) -> int:
    """Return how many ordered pairs of two rows have one image; images: `(rows,)` labels, equal where the image is."""
    captions = np.unique(images, return_counts=True)[1]
    return int((captions * (captions - 1)).sum())


def _firing(codes: SparseCodes, atoms: int) -> sparse.csr_array:
    matrix = merged_code_matrix(codes, atoms)
    matrix.eliminate_zeros()
    return matrix


def _by_atom(places: npt.NDArray[np.integer], values: Floats, atoms: int) -> Floats:
    sums: Floats = np.bincount(places, values, atoms).astype(np.float64)
    return sums


def _meetings(image: sparse.csr_array, text: sparse.csr_array) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Return the atoms that fire in both rows of a pair, and both coefficients."""
    met, in_image, in_text = np.intersect1d(_entries(image), _entries(text), assume_unique=True, return_indices=True)
    return met % max(image.shape[1], 1), image.data[in_image], text.data[in_text]


def _entries(codes: sparse.csr_array) -> npt.NDArray[np.int64]:
    """The number of each entry in the whole matrix."""
    rows = np.repeat(np.arange(codes.shape[0], dtype=np.int64), np.diff(codes.indptr))
    numbers: npt.NDArray[np.int64] = rows * codes.shape[1] + codes.indices
    return numbers
