"""`python -m tests.benchmarks.equal_r2 STORE [PICTURE]`: SAE-A and its null model at equal R², on the test split.

A null model's codes cannot align, so that at the same β it keeps an R² that SAE-A pays with, and what is set against
it is then of another sparsity of errors. Here both are trained at several β, from three seeds, and each measure of
SAE-A stands beside the null's at the same R², between two β on a line. Classes of atoms come from train pairs.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import numpy as np
import torch
from matplotlib.figure import Figure

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.distributed import NodeGroup
from isoenergy.metrics.agreement import agreeing_share, agreement
from isoenergy.report.figures.shared import COLOURS, QUIET, plain
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import MODALITIES
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore
from isoenergy.store.index import PairIndex
from isoenergy.training.trainer import RawPairs, Trainer
from isoenergy.training.validation import validation_measures
from workflows.training.training_data import open_batches

SEEDS = 3
BETAS = {False: (0.0, 5e-4, 1e-3, 2e-3, 4e-3), True: (1e-3, 4e-3, 1.6e-2, 6.4e-2)}
"""Of SAE-A, and of its null model, which loses less R² at the same β."""
MEASURES = {
    "bimodal_energy": "bimodal share of the energy",
    "agreeing_energy": "share of that in atoms that agree",
    "p_acc": "p_acc",
    "delta_r1": "δ_r@1, full gallery",
}


@dataclass(frozen=True)
class Point:
    null: bool
    beta: float
    seed: int
    measures: dict[str, float]


@torch.no_grad()
def measured(sae: SparseAutoencoder, pairs: RawPairs, fitting: RawPairs) -> dict[str, float]:
    gram = sae.gram_of_frozen(2 * len(fitting[0]))
    known, together = ConceptStatistics.zeros(sae.config.atoms), PairAgreement.zeros(sae.config.atoms)
    there = ConceptStatistics.zeros(sae.config.atoms)
    for split, sums in ((fitting, (known, together)), (pairs, (there,))):
        codes = [sae.encode(sae.prepare(x, m), gram=gram) for x, m in zip(split, MODALITIES, strict=True)]
        for each in sums:
            each.update(*codes)
    bimodal, agrees = known.classes().bimodal, agreement(together).agrees
    share = float(agreeing_share(there.energy, bimodal, agrees))
    return {**vars(validation_measures(sae, pairs, fitting)), "agreeing_energy": share}


def trained(store: EmbeddingStore, pairs: RawPairs, fitting: RawPairs, null: bool) -> Iterator[Point]:
    index = PairIndex.build(store, "train")
    means = {name: torch.tensor(index.means[name]) for name in MODALITIES}
    config = replace(DEMO_TRAINING, beta=BETAS[null], null=null, seeds=SEEDS)
    batches = open_batches([index], config, "memory", torch.device("cpu"), NodeGroup(), 0, 1)
    trainer = Trainer(config, batches, store.manifest.dim, means=means)
    trainer.run(None)
    for number, sae in enumerate(trainer.group.saes):
        assert isinstance(sae, SparseAutoencoder)
        yield Point(null, sae.config.beta, number // len(BETAS[null]), measured(sae.eval(), pairs, fitting))


def at_r2(points: list[Point], r2: float, measure: str) -> float:
    """Return a measure between the two points on either side of an R²; NaN beyond them."""
    line = sorted((point.measures["r2"], point.measures[measure]) for point in points)
    return float(np.interp(r2, *zip(*line, strict=True), left=np.nan, right=np.nan))


def told(values: list[float], form: str = ".3f") -> str:
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def table(points: list[Point]) -> Iterator[str]:
    yield f"| | β | R² | {' | '.join(MEASURES.values())} |\n|---|---|---|{'---|' * len(MEASURES)}"
    for null, betas in BETAS.items():
        for beta in betas:
            there = [point.measures for point in points if (point.null, point.beta) == (null, beta)]
            cells = [told([each[name] for each in there]) for name in ("r2", *MEASURES)]
            yield f"| {'null' if null else 'true pairs'} | {beta:g} | {' | '.join(cells)} |"
    yield "\nTrue pairs less the null at the same R²:\n"
    for beta in BETAS[False]:
        cells = []
        for name in MEASURES:
            ahead = []
            for seed in range(SEEDS):
                (own,) = (p for p in points if (p.null, p.beta, p.seed) == (False, beta, seed))
                nulls = [p for p in points if p.seed == seed and (p.null or p.beta == 0)]
                ahead.append(own.measures[name] - at_r2(nulls, own.measures["r2"], name))
            cells.append("–" if np.isnan(ahead).any() else told(ahead, "+.3f"))
        yield f"| {beta:g} | {' | '.join(cells)} |"


def drawn(points: list[Point]) -> Figure:
    figure = Figure(figsize=(10.4, 6.2), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 2).ravel(), MEASURES.items(), strict=True):
        for null, (colour, face, label) in {
            False: (COLOURS["bimodal"], COLOURS["bimodal"], "true pairs"),
            True: (QUIET, "white", "null: shuffled pairs"),
        }.items():
            for seed in range(SEEDS):
                line = sorted(
                    (p.measures["r2"], p.measures[name])
                    for p in points
                    if p.seed == seed and (p.null == null or p.beta == 0)
                )
                own = label if seed == 0 else None
                axes.plot(*zip(*line, strict=True), "o-", color=colour, markerfacecolor=face, label=own, linewidth=1)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("R²")
        plain(axes)
    figure.axes[0].legend(frameon=False, fontsize=9)
    return figure


def main(place: str, picture: str = "") -> None:
    store = EmbeddingStore.open(place)
    held, known = (store.to_arrays(split) for split in ("test", "train"))
    pairs, fitting = ((torch.from_numpy(x.images).float(), torch.from_numpy(x.texts).float()) for x in (held, known))
    of = partial(trained, store, pairs, fitting)
    points = [*of(null=False), *of(null=True)]
    print("\n".join(table(points)))
    if picture:
        drawn(points).savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
