"""`python -m tests.benchmarks.bundled_over_time STORE OUTPUT [SEEDS]`: is alignment sooner on the bundled pairs?

The demo's training with bias atoms and without, β = 0 and β = 0.001 on the same batches from the same start, measured
on the validation split after some epochs: R², the share of the gap that removing unimodal atoms closes, R@10 of what is
left, and the share of the bimodal energy in atoms that agree. As β = 0 rebuilds more after as many steps, both are
compared at equal R² too. Classes of atoms, and which agree, come from train pairs. Writes OUTPUT.json and OUTPUT.png.
"""

import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.interventions.removal import INTERVENTIONS, intervene, kept_atoms
from isoenergy.metrics.agreement import agreeing_share, agreement
from isoenergy.metrics.gap import l2m
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_paper
from isoenergy.metrics.retrieval import full_gallery_recall
from isoenergy.report.figures.metric_curves_figure import metric_curves
from isoenergy.report.figures.shared import as_bytes
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import MODALITIES
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore
from isoenergy.store.batches import PairBatches
from isoenergy.store.index import PairIndex
from isoenergy.training.trainer import Metrics, SaveCheckpoint, Trainer
from tests.benchmarks.demo_preset import encoded, unit
from tests.benchmarks.results import add_measures

EPOCHS = (1, 2, 3, 5, 7, 9, 12, 15)
FITTED_PAIRS = 5000
MEASURES = {"r2": "R²", "closed": "gap closed", "recall": "R@10, unimodal atoms removed", "agreeing": "agreeing share"}
EQUAL_R2 = (0.8, 0.85, 0.9, 0.92)

Rows = tuple[Tensor, Tensor]


@torch.no_grad()
def measured(sae: SparseAutoencoder, train: Rows, held: Rows) -> dict[str, float]:
    statistics, together = ConceptStatistics.zeros(sae.config.atoms), PairAgreement.zeros(sae.config.atoms)
    known = encoded(sae, train)
    statistics.update(*known)
    together.update(*known)
    classes, codes, sums = statistics.classes(), encoded(sae, held), []
    for rows, code in zip(held, codes, strict=True):
        sums.append(ReconstructionSums.zeros(sae.config.dim))
        sums[-1].update(rows, code.residual)
    gaps, recalls = [], []
    for name in INTERVENTIONS[:2]:
        image, text = (intervene(sae, code, kept_atoms(name, classes)) for code in codes)
        gaps.append(l2m(image.numpy(), text.numpy()))
        recalls.append(full_gallery_recall(image, text, (10,)).mean[10])
    return {
        "r2": float(r2_paper(*sums)),
        "closed": 1 - gaps[1] / gaps[0],
        "recall": float(recalls[1]),
        "recall_rebuilt": float(recalls[0]),
        "agreeing": float(agreeing_share(statistics.energy, classes.bimodal, agreement(together).agrees)),
        "bimodal_energy": statistics.energy_share(classes.bimodal),
    }


def course(index: PairIndex, dim: int, means: dict[str, Tensor], bias: str, seed: int, rows: tuple[Rows, Rows]) -> Any:
    """Train once; return a point by SAE and epoch."""
    config = replace(DEMO_TRAINING, bias_atoms=bias, seed=seed, checkpoint_every=10**6)
    batches = PairBatches.of_index(index, config.batch_pairs, seed)
    trainer = Trainer(replace(config, log_every=batches.steps), batches, dim, means=means)
    points = []

    def report(step: int, _metrics: Metrics, _save: SaveCheckpoint | None) -> None:
        if step // batches.steps not in EPOCHS:
            return
        for sae in trainer.group.saes:
            assert isinstance(sae, SparseAutoencoder)
            point = {
                "bias_atoms": bias,
                "seed": seed,
                "beta": sae.config.beta,
                "step": step,
                **measured(sae.eval(), *rows),
            }
            sae.train()
            points.append(point)
            print(
                {name: round(value, 3) if isinstance(value, float) else value for name, value in point.items()},
                flush=True,
            )

    trainer.run(report)
    return points


def at_equal_r2(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each measure where a training passes an R², linear between two points; the mean over the seeds that pass it."""
    rows = []
    for bias, beta in dict.fromkeys((p["bias_atoms"], p["beta"]) for p in points):
        own = [p for p in points if (p["bias_atoms"], p["beta"]) == (bias, beta)]
        for r2 in EQUAL_R2:
            found = []
            for seed in dict.fromkeys(p["seed"] for p in own):
                course = sorted((p for p in own if p["seed"] == seed), key=lambda p: p["step"])
                passed = [p["r2"] for p in course]
                if passed[0] <= r2 <= passed[-1]:
                    names = ("step", "closed", "recall", "agreeing", "bimodal_energy")
                    found.append({name: float(np.interp(r2, passed, [p[name] for p in course])) for name in names})
            over = {name: [round(f[name], 4) for f in found] for name in (found[0] if found else ())}
            rows.append({"bias_atoms": bias, "beta": beta, "r2": r2, "seeds": len(found), **over})
    return rows


def main(place: str, output: str, seeds: str = "3") -> None:
    store = EmbeddingStore.open(place)
    index = PairIndex.build(store, "train")
    means = {name: torch.tensor(index.means[name]) for name in MODALITIES}
    train, held = (unit(store.to_arrays(split)) for split in ("train", "validation"))
    rows = (train[0][:FITTED_PAIRS], train[1][:FITTED_PAIRS]), held
    points = []
    for seed in range(int(seeds)):
        for bias in ("means", "none"):
            points += course(index, store.manifest.dim, means, bias, seed, rows)
    settings = {"epochs": EPOCHS, "fitted_pairs": FITTED_PAIRS, "validation_pairs": len(held[0])}
    measures = {**settings, "at_equal_r2": at_equal_r2(points), "points": points}
    add_measures(Path(f"{output}.json"), "bundled_over_time", measures)
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {title: {} for title in MEASURES.values()}
    for name, title in MEASURES.items():
        for bias, beta in dict.fromkeys((p["bias_atoms"], p["beta"]) for p in points):
            own = [p for p in points if (p["bias_atoms"], p["beta"]) == (bias, beta)]
            steps = sorted({p["step"] for p in own})
            label = f"{'bias atoms' if bias == 'means' else 'none'}, β = {beta:g}"
            curves[title][label] = [(step, mean(p[name] for p in own if p["step"] == step)) for step in steps]
    Path(f"{output}.png").write_bytes(as_bytes(metric_curves(curves), "png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
