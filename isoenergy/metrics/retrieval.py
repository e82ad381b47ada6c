"""Retrieval across modalities: over the full gallery, exact and in blocks, and in the paper's small batches.

A row of zeros, which is what removing atoms may leave, has no direction: as a query it finds nothing, and in a gallery
it is found by nothing, so that what loses a row cannot gain by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from isoenergy.compiling.products import product
from isoenergy.metrics.protocol import PAPER_BATCH

TIE = 1e-6
"""Cosines nearer than this are one number in float32: such rows are ordered at random, in expectation."""
ZERO_NORM = 1e-6
"""A row of no larger norm is zero: what rounding leaves in float32 where rows of unit norm cancel."""
BLOCK_ENTRIES = 16_000_000
"""Of a similarity matrix that is worked on at a time."""

Recall = Mapping[int, float]
Labels = npt.NDArray[np.integer]


def recall_at(queries: Tensor, gallery: Tensor, ranks: Sequence[int]) -> dict[int, float]:
    """Return, for each r in `ranks`, the share of queries whose own partner is among the r nearest by cosine.

    queries, gallery: `(n, dim)`; row i of one belongs to row i of the other. Gallery rows exactly as near as the
    partner (two pairs with one caption, say) are ordered at random, in expectation; a pair with a row of zeros is a
    miss. Raises ValueError if shapes differ or a number is not finite.
    """
    _check_pairs(queries, gallery)
    n = len(queries)
    if n == 0:
        return dict.fromkeys(ranks, float("nan"))
    queries, gallery = _unit(queries, gallery)
    hits = dict.fromkeys(ranks, 0.0)
    block = max(1, BLOCK_ENTRIES // n)
    for start in range(0, n, block):
        similarity = cosines(queries[start : start + block], gallery)
        partner = similarity.diagonal(offset=start).unsqueeze(1)
        nearer, as_near = nearer_and_as_near(similarity, partner)
        for rank in ranks:
            hits[rank] += float(chance_of_hit(nearer, as_near, rank, there(partner)).sum())
    return {rank: total / n for rank, total in hits.items()}


def recall_in_batches(
    images: Tensor, texts: Tensor, ranks: Sequence[int], batch: int = PAPER_BATCH, seed: int = 0
) -> dict[int, float]:
    """Return recall as the paper prints it: inside random batches of `batch` pairs, not over the gallery (paper 1.9).

    images, texts: `(n, dim)`, row i pairs with row i; shuffled with `seed`, the remainder dropped, both directions
    averaged; in [0, 1], chance is r / batch, NaN with fewer than `batch` pairs. A duplicate in a batch counts against
    (ties as in `recall_at`). The paper's code is not seeded.
    """
    _check_pairs(images, texts)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    hits = hits_in_batches(images[order], texts[order], ranks, batch)
    return {rank: float(each.mean()) for rank, each in hits.items()}


def hits_in_batches(images: Tensor, texts: Tensor, ranks: Sequence[int], batch: int = PAPER_BATCH) -> dict[int, Tensor]:
    """Return, for each r in `ranks`, `(used pairs, 2)` chances of a hit, image to text and back, in batches as ordered.

    As `recall_in_batches`, which is their mean, but pair by pair and with no shuffling.
    """
    used = len(images) // batch * batch
    images, texts = _unit(images[:used], texts[:used])
    found: dict[int, list[Tensor]] = {rank: [] for rank in ranks}
    for rows in torch.arange(used).view(-1, batch).split(max(1, BLOCK_ENTRIES // batch**2)):
        similarity = cosines(images[rows], texts[rows])
        partner = similarity.diagonal(dim1=1, dim2=2).unsqueeze(2)
        both = [nearer_and_as_near(direction, partner) for direction in (similarity, similarity.mT)]
        for rank in ranks:
            chances = [chance_of_hit(*each, rank, there(partner)).flatten() for each in both]
            found[rank].append(torch.stack(chances, dim=1))
    return {rank: torch.cat(parts) if parts else torch.zeros(0, 2).double() for rank, parts in found.items()}


def recall_of_any_partner(
    queries: Tensor, gallery: Tensor, partners: sparse.csr_array, ranks: Sequence[int]
) -> dict[int, float]:
    """Return, for each r in `ranks`, the share of queries with any of their partners among the r nearest by cosine.

    See `hits_of_any_partner`, whose mean it is.
    """
    hits = hits_of_any_partner(queries, gallery, partners, ranks)
    return {rank: float(each.mean()) if len(each) else float("nan") for rank, each in hits.items()}


def hits_of_any_partner(
    queries: Tensor, gallery: Tensor, partners: sparse.csr_array, ranks: Sequence[int], tie: float = 0.0
) -> dict[int, Tensor]:
    """Return, for each r in `ranks`, `(n,)` chances that any of a query's partners is among the r nearest by cosine.

    queries: `(n, dim)`; gallery: `(m, dim)`; partners: `(n, m)` sparse, an entry where a gallery row is right for a
    query. Rows as near as the nearest partner, to within `tie`, are ordered at random, in expectation; a query without
    partners is a miss. Exact; memory does not grow with n · m.
    """
    if partners.shape != (len(queries), len(gallery)):
        raise ValueError(f"partners must be {(len(queries), len(gallery))}, queries × gallery, got {partners.shape}")
    _check_finite(queries, gallery)
    queries, gallery = _unit(queries, gallery)
    hits: dict[int, list[Tensor]] = {rank: [torch.zeros(0).double()] for rank in ranks}
    block = max(1, BLOCK_ENTRIES // max(len(gallery), 1))
    for start in range(0, len(queries), block):
        similarity = cosines(queries[start : start + block], gallery)
        own = partners[start : start + block].tocoo()
        rows, columns = (torch.from_numpy(index).long() for index in own.coords)
        right = similarity[rows, columns]
        nearest = similarity.new_full((len(similarity),), -torch.inf).scatter_reduce(0, rows, right, "amax")
        nearer, as_near = nearer_and_as_near(similarity, nearest.unsqueeze(1), tie)
        as_right = (right >= nearest[rows] - tie) & (right > -torch.inf)
        right_as_near = torch.zeros_like(nearer).index_add(0, rows, as_right.long())
        for rank in ranks:
            hits[rank].append(chance_of_hit(nearer, as_near, rank, right_as_near))
    return {rank: torch.cat(parts) for rank, parts in hits.items()}


@dataclass(frozen=True)
class FullGalleryRecall:
    """Recall over the full gallery in both directions, every different image and text counted once."""

    images: int
    texts: int
    image_to_text: Recall
    text_to_image: Recall

    @property
    def mean(self) -> dict[int, float]:
        """Mean of both directions by rank."""
        return {rank: (share + self.text_to_image[rank]) / 2 for rank, share in self.image_to_text.items()}


def full_gallery_recall(
    images: Tensor,
    texts: Tensor,
    ranks: Sequence[int],
    image_labels: Labels | None = None,
    text_labels: Labels | None = None,
) -> FullGalleryRecall:
    """Return recall over all images and texts; several captions an image and duplicates are no errors.

    images, texts: `(n, dim)`, row i pairs with row i. image_labels, text_labels: `(n,)`, equal where two pairs have
    the same image or the same text; without them all differ. Take them from keys, captions or `equal_rows` of the
    embeddings as they were before an intervention, which may make different rows equal. Every label is one query and
    one gallery row, its first; a hit is any text paired with the image, any image paired with the text.
    """
    _check_pairs(images, texts)
    n = len(images)
    first_image, image = _distinct(image_labels, n)
    first_text, text = _distinct(text_labels, n)
    shape = (len(first_image), len(first_text))
    partners = sparse.csr_array((np.ones(n), (image, text)), shape)
    images, texts = images[torch.from_numpy(first_image)], texts[torch.from_numpy(first_text)]
    return FullGalleryRecall(
        *shape,
        image_to_text=recall_of_any_partner(images, texts, partners, ranks),
        text_to_image=recall_of_any_partner(texts, images, partners.T.tocsr(), ranks),
    )


def equal_rows(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return `(n,)` labels, equal where rows of `(n, dim)` are equal in every number."""
    labels: npt.NDArray[np.intp] = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    return labels


@dataclass(frozen=True)
class RecallChange:
    """What an intervention does to recall, mean of both directions; in [-1, 1], negative if retrieval is lost."""

    in_batches: float
    """In the paper's batches of 256 pairs: its δ_r."""
    full_gallery: float
    """Over the full gallery."""


def recall_change(
    before: tuple[Tensor, Tensor],
    after: tuple[Tensor, Tensor],
    rank: int = 1,
    seed: int = 0,
    image_labels: Labels | None = None,
    text_labels: Labels | None = None,
) -> RecallChange:
    """Return δ_r@rank = R@rank(after) - R@rank(before), on the same batches and on the full gallery (paper 1.9).

    before, after: `(n, dim)` images and texts; the paper compares the bimodal-only with the full reconstruction.
    Labels as for `full_gallery_recall`.
    """
    batches, full = [], []
    for images, texts in (before, after):
        batches.append(recall_in_batches(images, texts, (rank,), seed=seed)[rank])
        full.append(full_gallery_recall(images, texts, (rank,), image_labels, text_labels).mean[rank])
    return RecallChange(batches[1] - batches[0], full[1] - full[0])


def directions(rows: Tensor) -> Tensor:
    """Return `(…, dim)` rows at norm 1, in their precision; those of norm `ZERO_NORM` or less are exactly zero."""
    norms = rows.norm(dim=-1, keepdim=True)
    unit, known = rows / norms.clamp(min=ZERO_NORM), norms > ZERO_NORM
    return unit if known.all() else torch.where(known, unit, 0)


def not_zero(rows: Tensor) -> Tensor:
    """Return `(…,)` bool, whether `(…, dim)` rows have an entry other than zero; mostly the first decides for all."""
    first = rows[..., 0] != 0
    return first if first.all() else rows.any(-1)


def cosines(queries: Tensor, gallery: Tensor) -> Tensor:
    """Return `(…, n, m)` cosines of what `directions` returned; -∞ where the query, or the gallery's row, is zero.

    queries: `(…, n, dim)`; gallery: `(…, m, dim)`.
    """
    similarity = product(queries, gallery) if queries.ndim == 2 else queries @ gallery.mT
    return hide_zeros(similarity, not_zero(queries), not_zero(gallery))


def hide_zeros(similarity: Tensor, queries: Tensor, gallery: Tensor) -> Tensor:
    """Set `(…, n, m)` similarities to -∞, in place, where a row is zero.

    queries: `(…, n)` bool, gallery: `(…, m)` bool: whether a row is another than zero.
    """
    for known, dim in ((queries, -1), (gallery, -2)):
        if not known.all():
            similarity.masked_fill_(~known.unsqueeze(dim), -torch.inf)
    return similarity


def there(partner: Tensor) -> Tensor:
    """Return how many right rows a query has, 1 or 0, as `chance_of_hit` takes it: 0 where its partner is at -∞.

    partner: `(…, 1)` similarities.
    """
    return (partner.squeeze(-1) > -torch.inf).long()


def nearer_and_as_near(similarity: Tensor, partner: Tensor, tie: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return how many of each row's entries exceed its partner's, and how many equal it.

    similarity: `(…, n)`; partner: `(…, 1)`. tie: entries that differ by no more are equal, such as `TIE`.
    """
    entries, threshold = similarity.cpu().numpy(), partner.cpu().numpy()  # torch counts booleans many times slower
    nearer = np.count_nonzero(entries > threshold + tie, axis=-1)
    as_near = np.count_nonzero(entries >= threshold - tie, axis=-1) - nearer
    return torch.from_numpy(np.asarray(nearer)), torch.from_numpy(np.asarray(as_near))


def chance_of_hit(nearer: Tensor, as_near: Tensor, rank: int, right: Tensor | None = None) -> Tensor:
    """Return each query's chance, float64, that one of its `right` (1 if not given) rows is among the `rank` nearest.

    nearer: how many rows precede the `as_near` tied ones, among which are the right ones. None of them comes among
    the first s of t in random order with chance Π over j < right of (t - s - j) / (t - j).
    """
    places = (rank - nearer).clamp(min=0).minimum(as_near).double()
    if right is None:
        return places / as_near
    missed = torch.ones_like(places)
    for j in range(int(right.max()) if len(right) else 0):
        factor = (as_near - places - j).clamp(min=0) / (as_near - j).clamp(min=1)
        missed *= torch.where(right > j, factor, 1.0)
    return 1 - missed


def _distinct(labels: Labels | None, n: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The first row of each label, and each row's label as a number from 0."""
    if labels is None:
        return np.arange(n), np.arange(n)
    if len(labels) != n:
        raise ValueError(f"labels must be one a pair, got {len(labels)} for {n} pairs")
    _, first, label = np.unique(labels, return_index=True, return_inverse=True)
    return first, label.reshape(-1)


def _unit(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both at norm 1, in the finer of their two precisions and in float32 at least."""
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return directions(a.to(dtype)), directions(b.to(dtype))


def _check_pairs(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"queries and gallery must pair up, got {tuple(a.shape)} and {tuple(b.shape)}")
    _check_finite(a, b)


def _check_finite(*arrays: Tensor) -> None:
    if not all(bool(torch.isfinite(array).all()) for array in arrays):
        raise ValueError("embeddings must be finite: a row with NaN has no nearest neighbours")
