"""`python -m tests.benchmarks.equal_r2 STORE SAES… [--k 14,15,16]`: SAE-A and its null models at equal R².

A null model's codes cannot align, so that at the same β it keeps an R² that SAE-A pays with. Here null models are
measured on the test split after several rounds of their pursuit, and each number of an SAE-A stands beside that of the
null of its seed at the same R², on a line between two numbers of rounds. Classes of atoms, and which agree, come from
train pairs with as many rounds.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import numpy as np
import torch

from isoenergy.metrics.agreement import agreeing_share, agreement
from isoenergy.metrics.energy import energy_shares
from isoenergy.metrics.geometry import probing_accuracy
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_paper
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import MODALITIES
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore, PairArrays

FITTED_PAIRS = 5000
MEASURES = ("r2", "bimodal_energy", "agreeing", "p_acc")


def with_rounds(sae: SparseAutoencoder, k: int) -> SparseAutoencoder:
    """Return the same dictionary with so many rounds of pursuit."""
    other = SparseAutoencoder(replace(sae.config, k=k))
    other.load_state_dict(sae.state_dict())
    return other.eval()


@torch.no_grad()
def measured(sae: SparseAutoencoder, train: PairArrays, test: PairArrays) -> dict[str, float]:
    known, there = (ConceptStatistics.zeros(sae.config.atoms) for _ in range(2))
    together, sums = PairAgreement.zeros(sae.config.atoms), []
    gram = sae.gram_of_frozen(2 * len(train))
    for pairs, statistics in ((train, known), (test, there)):
        both = zip((pairs.images, pairs.texts), MODALITIES, strict=True)
        rows = [sae.prepare(torch.from_numpy(x).float(), modality) for x, modality in both]
        codes = [sae.encode(x, gram) for x in rows]
        statistics.update(*codes)
        if statistics is known:
            together.update(*codes)
    for x, code in zip(rows, codes, strict=True):
        sums.append(ReconstructionSums.zeros(sae.config.dim))
        sums[-1].update(x, code.residual)
    classes, energies = known.classes(), there.energy[:, None]
    images, texts = (x.numpy() for x in rows)
    return {
        "r2": float(r2_paper(*sums)),
        "bimodal_energy": energy_shares(there, classes=classes).bimodal,
        "agreeing": float(agreeing_share(there.energy, classes.bimodal, agreement(together).agrees)),
        "p_acc": probing_accuracy(images, texts, sae.dictionary.detach().numpy(), known, energies=energies),
    }


def at_r2(line: Sequence[dict[str, float]], r2: float, name: str) -> float:
    """Return a number between the two on either side of an R²; NaN beyond them."""
    points = sorted((point["r2"], point[name]) for point in line)
    return float(np.interp(r2, *zip(*points, strict=True), left=np.nan, right=np.nan))


def main(place: str, *given: str) -> None:
    saes, rounds = (given[:-2], tuple(map(int, given[-1].split(",")))) if "--k" in given else (given, (14, 15, 16))
    store = EmbeddingStore.open(place)
    train, test = (store.to_arrays(split) for split in ("train", "test"))
    train = PairArrays(train.keys[:FITTED_PAIRS], train.images[:FITTED_PAIRS], train.texts[:FITTED_PAIRS])
    loaded = {name.rstrip("/").rsplit("/", 1)[-1]: SparseAutoencoder.load(name) for name in saes}
    aligned = {name: sae for name, sae in loaded.items() if not sae.config.null and sae.config.beta}
    found: dict[str, list[dict[str, float]]] = {}
    print(f"| SAE | k | {' | '.join(MEASURES)} |", flush=True)
    for name, sae in loaded.items():
        for k in rounds if name not in aligned else rounds[-1:]:
            found.setdefault(name, []).append(measured(with_rounds(sae, k), train, test))
            print(f"| {name} | {k} | {' | '.join(f'{found[name][-1][m]:.4f}' for m in MEASURES)} |", flush=True)
    print("\nthe SAE-A of each seed less its null at the same R²: median, least to most")
    for name in MEASURES[1:]:
        ahead = [
            found[own][-1][name] - at_r2(found[f"null-{own}"], found[own][-1]["r2"], name)
            for own in aligned
            if f"null-{own}" in found
        ]
        print(f"{name}: {median(ahead):+.4f}, {min(ahead):+.4f} to {max(ahead):+.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
