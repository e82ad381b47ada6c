"""Retrieval over the full gallery: exact, in blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor

_BLOCK_ENTRIES = 16_000_000


def recall_at(queries: Tensor, gallery: Tensor, ranks: Sequence[int]) -> dict[int, float]:
    """Return, for each r in `ranks`, the share of queries whose own partner is among the r nearest by cosine.

    queries, gallery: `(n, dim)`; row i of one belongs to row i of the other. Gallery rows exactly as near as the
    partner (two pairs with one caption, say) are ordered at random, in expectation: a query of zeros scores chance.
    """
    if queries.shape != gallery.shape:
        raise ValueError(f"queries and gallery must pair up, got {tuple(queries.shape)} and {tuple(gallery.shape)}")
    n = len(queries)
    if n == 0:
        return dict.fromkeys(ranks, float("nan"))
    queries = torch.nn.functional.normalize(queries.float(), dim=1)
    gallery = torch.nn.functional.normalize(gallery.float(), dim=1)
    hits = dict.fromkeys(ranks, 0.0)
    block = max(1, _BLOCK_ENTRIES // n)
    for start in range(0, n, block):
        similarity = queries[start : start + block] @ gallery.T
        partner = similarity.diagonal(offset=start).unsqueeze(1)
        nearer = (similarity > partner).sum(dim=1)
        as_near = (similarity == partner).sum(dim=1)
        for rank in ranks:
            hits[rank] += float(((rank - nearer) / as_near).clamp(0, 1).double().sum())
    return {rank: total / n for rank, total in hits.items()}
