"""Retrieval from all images and texts together: whether rows of one's own modality come first."""

import torch
from torch import Tensor

from isoenergy.metrics.retrieval import TIE, cosines, directions

RANK = 10
_BLOCK = 1024


def own_modality_share(images: Tensor, texts: Tensor, rank: int = RANK) -> float:
    """Return the share of a row's nearest `rank` rows that are of its own modality; in [0, 1], ½ if it does not matter.

    images, texts: `(n, dim)`, row i of one with row i of the other. The gallery of a row are all others of both
    modalities but its partner, which is to be near; nearest by cosine, ties by chance; rows of zeros find nothing and
    are not found. NaN if nothing is found.
    """
    rows = directions(torch.cat([images, texts]))
    own = torch.arange(len(rows)) < len(images)
    shares = []
    for block in torch.arange(len(rows)).split(_BLOCK):
        similarity = cosines(rows[block], rows)
        for left_out in (block, (block + len(images)) % len(rows)):
            similarity[torch.arange(len(block)), left_out] = -torch.inf
        last = similarity.topk(min(rank, len(rows)), dim=1).values[:, -1:]
        found = similarity > -torch.inf
        nearer, tied = similarity > last + TIE, (similarity >= last - TIE) & found
        tied &= ~nearer
        same = own[block][:, None] == own
        places = (found.sum(1).clamp(max=rank) - nearer.sum(1)).double()
        hits = (nearer & same).sum(1) + places * (tied & same).sum(1) / tied.sum(1).clamp(min=1)
        shares.append(hits / found.sum(1).clamp(max=rank))
    return float(torch.cat(shares).nanmean())
