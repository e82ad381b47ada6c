"""`python -m tests.benchmarks.unit_row_gap STORE SAE…`: the share of the gap that each way closes, by the rows' norm.

No way brings rows to unit norm afterwards, which no cosine sees; a difference in means does. Classes, gains and means
are fitted on the store's train split; measured are its test pairs, as they come and at unit norm.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.evaluation.embedding_variants import rebuilding
from isoenergy.evaluation.measured_rows import unit_rows
from isoenergy.evaluation.ways import ORIGINAL, RECONSTRUCTED, WAYS, beginning
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.store import EmbeddingStore
from tests.benchmarks.unseen_style import SHOWN, Pairs, variants_of

NORMS: dict[str, Callable[[Tensor], Tensor]] = {"as they come": lambda rows: rows, "unit rows": normalize}


def gaps(images: Tensor, texts: Tensor) -> list[float]:
    """The difference in means, of rows as they come and of unit norm."""
    means = [[norm(rows).mean(0).numpy() for rows in (images, texts)] for norm in NORMS.values()]
    return [float(difference_in_means(*both)) for both in means]


@torch.no_grad()
def shares_closed(sae: SparseAutoencoder, train: Pairs, test: Pairs) -> dict[str, list[float]]:
    """The shares of the gap that each way closes, of what it begins with, by `NORMS`."""
    variants = variants_of(sae, train)
    unit = unit_rows(test[0]), unit_rows(test[1])
    rows = rebuilding(sae, (sae.encode(unit[0]), sae.encode(unit[1])), variants, test)
    found = {ORIGINAL: gaps(*unit)}
    found |= {v.name: gaps(*both) for v, *both in variants.only((RECONSTRUCTED, *SHOWN)).each(rows)}
    return {
        name: [
            1 - after / before for after, before in zip(found[name], found[beginning(name, of_sae=True)], strict=True)
        ]
        for name in SHOWN
        if name in found
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("saes", nargs="+")
    arguments = parser.parse_args()
    train, test = (EmbeddingStore.open(arguments.store).to_arrays(split) for split in ("train", "test"))
    print("sae | way |", " | ".join(NORMS))
    for uri in arguments.saes:
        shares = shares_closed(SparseAutoencoder.load(uri), (train.images, train.texts), (test.images, test.texts))
        for name, values in shares.items():
            print(
                uri.rpartition("/")[2], WAYS[name].title, *(f"{value:.3f}" for value in values), sep=" | ", flush=True
            )


if __name__ == "__main__":
    main()
