"""`python -m tests.benchmarks.demo_preset STORE`: how the demo's preset was chosen, on the validation split.

For bias atoms, β, k and revival, over three seeds: R², the share of the gap that removing unimodal atoms closes, and
the share of R@10 in the full gallery of validation pairs that is kept. Classes of atoms come from train pairs.
"""

import sys
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.interventions.removal import INTERVENTIONS, intervene, kept_atoms
from isoenergy.metrics.gap import l2m
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_paper
from isoenergy.metrics.retrieval import full_gallery_recall
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import MODALITIES, BiasAtoms
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore, PairArrays
from isoenergy.store.batches import PairBatches
from isoenergy.store.index import PairIndex
from isoenergy.training.trainer import Trainer, TrainingConfig

SEEDS = range(3)
CHOICES: list[tuple[BiasAtoms, bool]] = [("none", False), ("means", False), ("means", True)]
BETAS = (0.0, 1e-3, 2.5e-3)
HEADER = "bias atoms | learned | k | revival | seed | SAE | R² | gap closed | R@10 kept | atoms that never fire"
FITTED_PAIRS = 9000


def unit(pairs: PairArrays) -> tuple[Tensor, Tensor]:
    image, text = (normalize(torch.from_numpy(x).float(), dim=1) for x in (pairs.images, pairs.texts))
    return image, text


@torch.no_grad()
def encoded(sae: SparseAutoencoder, rows: tuple[Tensor, Tensor]) -> tuple[SparseCodes, SparseCodes]:
    gram = sae.gram_of_frozen(sum(map(len, rows)))
    image, text = (sae.encode(x, gram=gram) for x in rows)
    return image, text


def measures(sae: SparseAutoencoder, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]) -> tuple[float, ...]:
    """R², share of the gap closed, share of R@10 kept, atoms that never fire."""
    known = ConceptStatistics.zeros(sae.config.atoms)
    known.update(*encoded(sae, train))
    codes = encoded(sae, held)
    sums = []
    for x, code in zip(held, codes, strict=True):
        sums.append(ReconstructionSums.zeros(sae.config.dim))
        sums[-1].update(x, code.residual)
    gaps, recalls = [], []
    for name in INTERVENTIONS[:2]:
        image, text = (intervene(sae, code, kept_atoms(name, known.classes())) for code in codes)
        gaps.append(l2m(image.numpy(), text.numpy()))
        recalls.append(full_gallery_recall(image, text, (10,)).mean[10])
    return float(r2_paper(*sums)), 1 - gaps[1] / gaps[0], recalls[1] / recalls[0], int((known.energy == 0).sum())


def main(place: str) -> None:
    store = EmbeddingStore.open(place)
    index = PairIndex.build(store, "train")
    means = {name: torch.tensor(index.means[name]) for name in MODALITIES}
    train, held = (unit(store.to_arrays(split)) for split in ("train", "validation"))
    fitted = train[0][:FITTED_PAIRS], train[1][:FITTED_PAIRS]
    print(HEADER)
    for k, revival, (bias, learned), seed in product((8, 16), (0.0, 0.3), CHOICES, SEEDS):
        config = TrainingConfig(
            beta=BETAS,
            expansion=2,
            k=k,
            epochs=15,
            batch_pairs=256,
            learning_rate=1e-3,
            revival=revival,
            seed=seed,
            bias_atoms=bias,
            bias_learned=learned,
        )
        batches = PairBatches.of_index(index, config.batch_pairs, seed)
        trainer = Trainer(config, batches, store.manifest.dim, means=means)
        trainer.run(None)
        for name, sae in zip(trainer.group.names, trainer.group.saes, strict=True):
            assert isinstance(sae, SparseAutoencoder)
            r2, closed, kept, silent = measures(sae.eval(), fitted, held)
            settings = f"{bias} | {learned} | {k} | {revival} | {seed} | {name}"
            print(f"{settings} | {r2:.3f} | {closed:.1%} | {kept:.1%} | {silent:.0f}")


if __name__ == "__main__":
    main(sys.argv[1])
