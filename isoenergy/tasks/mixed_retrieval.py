"""Retrieval from a gallery of both modalities: where a gap decides what is found (GR-CLIP, arXiv 2507.19054).

A document is an image, a text, or both, of which it is the mean of the unit rows. With a gap a text is nearer to any
text than to the right image, and the first ten are of its own modality. A document of zeros is found by nothing, and a
query of zeros finds nothing.

In GR-CLIP's code a document of both is the mean of both rows less the mean of both means, at norm 1 after that; here
each of the two is moved and brought to norm 1 first.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from isoenergy.metrics.retrieval import BLOCK_ENTRIES, TIE, cosines, directions, nearer_and_as_near

RANK = 10
KINDS = ("image", "text", "both")
"""What a document holds, by its number."""
_IMAGE, _TEXT, _BOTH = range(3)
_TIED = 3 * TIE
"""How far below the tenth a document may be that is as near as one that is as near as the tenth, and rounding."""

Integers = npt.NDArray[np.int64]
Modality = Literal["image", "text"]


def draw_kinds(documents: int, seed: int) -> Integers:
    """Return `(documents,)` kinds: a random third each."""
    return np.random.default_rng(seed).permutation(np.arange(documents) % len(KINDS))


@dataclass(frozen=True)
class MixedGallery:
    """Which rows are documents, and what is right for which. Images `(n,)` and texts `(m,)` are numbered apart."""

    kinds: Integers
    """`(n,)` of `KINDS`, a document an image."""
    partner: Integers
    """`(n,)` the text that stands with the image, in the document or not."""
    image_label: Integers
    """`(n,)`: rows of equal labels are right for each other."""
    text_label: Integers
    """`(m,)`"""
    image_same: Integers
    """`(n,)`: equal for images whose rows are equal; take `isoenergy.metrics.retrieval.equal_rows` of those stored."""
    text_same: Integers
    """`(m,)`"""

    def rows(self, images: Tensor, texts: Tensor) -> Tensor:
        """Return the documents, `(n, dim)` unit rows, from `(n, dim)` images and `(m, dim)` texts."""
        image, text = directions(images), directions(texts)[torch.from_numpy(self.partner)]
        kinds = torch.from_numpy(self.kinds).unsqueeze(1)
        return directions(torch.where(kinds == _IMAGE, image, torch.where(kinds == _TEXT, text, image + text)))

    def right(self, modality: Modality, queries: Integers) -> npt.NDArray[np.bool_]:
        """Return `(queries, n)`: which documents are right for images, or texts, of these numbers."""
        return self.labelled(modality, queries) & ~self.left_out(modality, queries)

    def labelled(self, modality: Modality, queries: Integers) -> npt.NDArray[np.bool_]:
        """Return `(queries, n)`: which documents have the label of images, or texts, of these numbers."""
        own = self.image_label if modality == "image" else self.text_label
        labelled: npt.NDArray[np.bool_] = own[queries][:, None] == self.image_label
        return labelled

    def left_out(self, modality: Modality, queries: Integers) -> npt.NDArray[np.bool_]:
        """Return `(queries, n)`: a query's own document, and those that hold a row equal to it, are not in its gallery.

        Its own document is that of its image; of a text that stands with none, there is none.
        """
        out: npt.NDArray[np.bool_]
        if modality == "image":
            own = queries[:, None] == np.arange(len(self.kinds))
            same = self.image_same[queries][:, None] == self.image_same
            out = own | (same & (self.kinds != _TEXT))
        else:
            own = queries[:, None] == self.partner
            same = self.text_same[queries][:, None] == self.text_same[self.partner]
            out = own | (same & (self.kinds != _IMAGE))
        return out

    def asked(self, modality: Modality, queries: Integers, block: int = 1024) -> "Asked":
        """Return images, or texts, of these numbers, with what is right for each."""
        parts = _blocks(queries, block)
        right, left_out = (
            _stacked([sparse.csr_array(which(modality, part)) for part in parts], len(self.kinds))
            for which in (self.right, self.left_out)
        )
        return Asked(modality, queries, right, left_out)

    def answerable(self, modality: Modality, block: int = 1024) -> Integers:
        """Return the images, or texts, for which some document is right."""
        everything = np.arange(len(self.image_label if modality == "image" else self.text_label))
        some = [self.right(modality, part).any(1) for part in _blocks(everything, block)]
        queries: Integers = everything[np.concatenate([np.zeros(0, bool), *some])]
        return queries


@dataclass(frozen=True)
class Asked:
    """What is looked up in a gallery, and what is right for it: the same whatever is made of the embeddings."""

    modality: Modality
    queries: Integers
    """`(queries,)` numbers of images, or texts, for which `MixedGallery.answerable`."""
    right: sparse.csr_array
    """`(queries, n)` bool"""
    left_out: sparse.csr_array
    """`(queries, n)` bool"""


@dataclass(frozen=True)
class MixedResults:
    """What queries of one modality find, `(queries,)` each."""

    ndcg: npt.NDArray[np.float64]
    """NDCG@10 with gains of 0 and 1; documents as near as each other stand in random order, in expectation."""
    own_modality: npt.NDArray[np.float64]
    """Share of the first ten that are of the query's own modality alone; a third if the modality did not matter. NaN of
    a query that finds nothing."""


def mixed_retrieval(gallery: MixedGallery, images: Tensor, texts: Tensor, asked: Asked) -> MixedResults:
    """Look images, or texts, up in the gallery that they were asked of.

    images: `(n, dim)`; texts: `(m, dim)`. Exact; memory does not grow with queries · documents.
    """
    return among_documents(gallery, gallery.rows(images, texts), images if asked.modality == "image" else texts, asked)


def among_documents(gallery: MixedGallery, documents: Tensor, rows: Tensor, asked: Asked) -> MixedResults:
    """Return what `mixed_retrieval` does, of `gallery.rows` and of the rows, images or texts, that are asked."""
    asking = directions(rows)[torch.from_numpy(asked.queries)]
    own_kind = gallery.kinds == KINDS.index(asked.modality)
    ndcg, own = [np.zeros(0)], [np.zeros(0)]
    block = max(1, BLOCK_ENTRIES // len(documents))
    for start in range(0, len(asking), block):
        some = slice(start, start + block)
        similarity = cosines(asking[some], documents)
        similarity[_entries(asked.left_out[some])] = -torch.inf
        place = max(len(documents) - RANK, 0)
        last = torch.from_numpy(np.partition(similarity.numpy(), place, axis=1)[:, place, None])
        near, number = _first(similarity.numpy(), last.numpy())
        ndcg.append(_ndcg(similarity, near, asked.right[some], last))
        own.append(_share_of_first(near, own_kind[number], last.numpy()))
    return MixedResults(np.concatenate(ndcg), np.concatenate(own))


def _first(
    similarity: npt.NDArray[np.float32], last: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], Integers]:
    """`(queries, few)` cosines of the first ten and of what ties with one, at -∞ behind them, and their documents."""
    count = similarity.shape[1]
    query, document = np.divmod(np.flatnonzero(similarity >= last - _TIED), max(count, 1))
    found = similarity[query, document] > -np.inf
    query, document = query[found], document[found]
    counts = np.bincount(query, minlength=len(similarity))
    place = np.arange(len(query)) - (counts.cumsum() - counts)[query]
    near = np.full((len(similarity), counts.max(initial=0)), -np.inf, similarity.dtype)
    number = np.zeros(near.shape, np.int64)
    near[query, place], number[query, place] = similarity[query, document], document
    return near, number


def _ndcg(
    similarity: Tensor, near: npt.NDArray[np.float32], right: sparse.csr_array, last: Tensor
) -> npt.NDArray[np.float64]:
    """Only right documents as near as the tenth gain: the mean discount of the places that each may have."""
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, RANK + 2)))])
    gained = np.zeros(len(similarity))
    query, document = _entries(right)
    cosine = similarity[query, document]
    gains = (cosine >= last[query, 0] - TIE) & (cosine > -torch.inf)
    query, cosine = query[gains], cosine[gains]
    for some in torch.arange(len(query)).split(max(1, BLOCK_ENTRIES // max(1, near.shape[1]))):
        rows = torch.from_numpy(near)[query[some]]
        nearer, as_near = (part.numpy() for part in nearer_and_as_near(rows, cosine[some, None], TIE))
        before, after = (discounts[np.minimum(places, RANK)] for places in (nearer, nearer + as_near))
        np.add.at(gained, query[some].numpy(), (after - before) / as_near)
    best = discounts[np.minimum(np.diff(right.indptr), RANK)]
    gain: npt.NDArray[np.float64] = np.divide(gained, best, out=np.zeros_like(gained), where=best > 0)
    return gain


def _share_of_first(
    near: npt.NDArray[np.float32], chosen: npt.NDArray[np.bool_], last: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Share of the chosen documents among the first ten, those as near as the tenth by chance.

    near: as `_first` returns them; chosen: which of them count. Where fewer than ten are found, it is their share; NaN
    where none is.
    """
    found = np.minimum(np.count_nonzero(near > -np.inf, axis=1), RANK)
    nearer = near > last + TIE
    as_near = (near >= last - TIE) & ~nearer & (near > -np.inf)
    by_chance = (found - np.count_nonzero(nearer, axis=1)) * np.count_nonzero(as_near & chosen, axis=1)
    by_chance = by_chance / np.maximum(np.count_nonzero(as_near, axis=1), 1)
    with np.errstate(invalid="ignore"):
        share: npt.NDArray[np.float64] = (np.count_nonzero(nearer & chosen, axis=1) + by_chance) / found
    return share


def _entries(pattern: sparse.csr_array) -> tuple[Tensor, Tensor]:
    """Rows and columns of what a sparse matrix stores."""
    rows, columns = pattern.tocoo().coords
    return torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(columns.astype(np.int64))


def _stacked(parts: list[sparse.csr_array], columns: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.vstack(parts)) if parts else sparse.csr_array((0, columns), dtype=bool)


def _blocks(numbers: Integers, size: int) -> list[Integers]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
