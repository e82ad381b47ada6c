"""`python -m tests.benchmarks.equal_r2 STORE OUTPUT [SEEDS]`: what true pairs add, at equal R².

A null model's codes cannot align, so that at the same β it keeps an R² that SAE-A pays with. Here the demo's SAE is
trained at several β on true and on shuffled pairs, with as many seeds, and each is measured on the validation split
after fewer rounds of its pursuit too: a curve over R². What an SAE has beyond the null of its β and seed is read off at
the R² of its own k, linear between two numbers of the null's rounds. Classes of atoms, and which agree, come from train
pairs with as many rounds. Writes OUTPUT.json and OUTPUT.png.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.distributed import NodeGroup
from isoenergy.metrics.agreement import agreeing_share, agreement
from isoenergy.metrics.energy import energy_shares
from isoenergy.metrics.geometry import probing_accuracy
from isoenergy.metrics.reconstruction import ReconstructionSums, r2_paper
from isoenergy.report.figures.shared import as_bytes, plain
from isoenergy.report.synthetic.over_seeds import Interval, interval_text, mean_of_few
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import MODALITIES
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore
from isoenergy.store.index import PairIndex
from isoenergy.training.trainer import Trainer
from tests.benchmarks.demo_preset import encoded, unit
from tests.benchmarks.results import add_measures
from workflows.training.training_data import open_batches

BETAS = (0.0, 5e-4, 1e-3, 2e-3)
FEWER_ROUNDS = 4
FITTED_PAIRS = 5000
MEASURES = {"bimodal_energy": "bimodal energy", "agreeing": "agreeing share of it", "p_acc": "p_acc"}
Point = dict[str, Any]
Rows = tuple[torch.Tensor, torch.Tensor]


def trained(store: EmbeddingStore, index: PairIndex, seeds: int, null: bool) -> list[SparseAutoencoder]:
    """Train the SAEs of all β and seeds in one pass; a null of β = 0 is the SAE itself, and left out."""
    config = replace(DEMO_TRAINING, beta=BETAS, seeds=seeds, null=null, checkpoint_every=10**6, log_every=10**6)
    batches = open_batches([index], config, "memory", torch.device("cpu"), NodeGroup(), 0, 1)
    means = {name: torch.tensor(index.means[name]) for name in MODALITIES}
    trainer = Trainer(config, batches, store.manifest.dim, means=means)
    trainer.run(None)
    return [sae.eval() for sae in trainer.group.saes if isinstance(sae, SparseAutoencoder)]


@torch.no_grad()
def measured(sae: SparseAutoencoder, train: Rows, held: Rows) -> dict[str, float]:
    known, there = (ConceptStatistics.zeros(sae.config.atoms) for _ in range(2))
    together, sums = PairAgreement.zeros(sae.config.atoms), []
    fitted, codes = encoded(sae, train), encoded(sae, held)
    known.update(*fitted)
    together.update(*fitted)
    there.update(*codes)
    for rows, code in zip(held, codes, strict=True):
        sums.append(ReconstructionSums.zeros(sae.config.dim))
        sums[-1].update(rows, code.residual)
    classes, atoms = known.classes(), sae.dictionary.detach().numpy()
    images, texts = (rows.numpy() for rows in held)
    return {
        "r2": float(r2_paper(*sums)),
        "bimodal_energy": energy_shares(there, classes=classes).bimodal,
        "agreeing": float(agreeing_share(there.energy, classes.bimodal, agreement(together).agrees)),
        "p_acc": probing_accuracy(images, texts, atoms, known, energies=there.energy[:, None]),
    }


def after_rounds(sae: SparseAutoencoder, train: Rows, held: Rows) -> list[Point]:
    """Return a point for each number of rounds up to the SAE's own."""
    points = []
    for k in range(sae.config.k - FEWER_ROUNDS, sae.config.k + 1):
        same = SparseAutoencoder(replace(sae.config, k=k))
        same.load_state_dict(sae.state_dict())
        points.append({"null": sae.config.null, "beta": sae.config.beta, "k": k, **measured(same.eval(), train, held)})
    return points


def beyond_null(own: Sequence[Point], null: Sequence[Point]) -> dict[str, float]:
    """Return each measure of an SAE less that of its null at the SAE's R²; NaN where the null's rounds pass it by."""
    at = max(own, key=lambda point: point["k"])
    passed = [point["r2"] for point in null]
    return {
        name: at[name] - float(np.interp(at["r2"], passed, [point[name] for point in null], np.nan, np.nan))
        for name in MEASURES
    }


def differences(courses: dict[tuple[bool, float, int], list[Point]], seeds: int) -> dict[float, dict[str, Interval]]:
    """Return by β what true pairs add at equal R², with Student's interval over seeds."""
    found = {}
    for beta in BETAS[1:]:
        each = [beyond_null(courses[False, beta, seed], courses[True, beta, seed]) for seed in range(seeds)]
        found[beta] = {name: mean_of_few([one[name] for one in each]) for name in MEASURES}
    return found


def drawn(courses: dict[tuple[bool, float, int], list[Point]]) -> Figure:
    """Draw each measure over R²: a line a training, from fewest rounds to all; dashed: on shuffled pairs."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    shades = dict(zip(BETAS, ("#777777", "#2a9d8f", "#7b2cbf", "#d1495b"), strict=True))
    for axes, (name, title) in zip(figure.subplots(1, len(MEASURES)), MEASURES.items(), strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("R²", fontsize=8)
        plain(axes, letters=8)
        for (null, beta, seed), points in courses.items():
            label = f"β = {beta:g}{', shuffled pairs' if null else ''}" if seed == 0 else None
            _line(axes, points, name, shades[beta], "--" if null else "-", label)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _line(axes: Axes, points: Sequence[Point], name: str, colour: str, style: str, label: str | None) -> None:
    xs, ys = ([point[key] for point in points] for key in ("r2", name))
    axes.plot(xs, ys, style, color=colour, linewidth=1.1, label=label)
    axes.plot(xs[-1:], ys[-1:], "o", color=colour, markersize=3.5)


def main(uri: str, output: str, seeds: str = "3") -> None:
    store, count = EmbeddingStore.open(uri), int(seeds)
    index = PairIndex.build(store, "train")
    train, held = (unit(store.to_arrays(split)) for split in ("train", "validation"))
    train = train[0][:FITTED_PAIRS], train[1][:FITTED_PAIRS]
    courses: dict[tuple[bool, float, int], list[Point]] = {}
    for null in (False, True):
        for number, sae in enumerate(trained(store, index, count, null)):
            beta = sae.config.beta
            courses[null, beta, number // (len(BETAS) - null)] = after_rounds(sae, train, held)
    found = differences(courses, count)
    print(f"| β | R², SAE; null | {' | '.join(MEASURES.values())} |\n|{'---|' * (2 + len(MEASURES))}")
    for beta, each in found.items():
        r2 = [mean(courses[null, beta, seed][-1]["r2"] for seed in range(count)) for null in (False, True)]
        told = " | ".join(interval_text(interval) for interval in each.values())
        print(f"| {beta:g} | {r2[0]:.3f}; {r2[1]:.3f} | {told} |")
    points = [{"seed": seed, **point} for (_, _, seed), course in courses.items() for point in course]
    settings = {"seeds": count, "fitted_pairs": FITTED_PAIRS, "validation_pairs": len(held[0])}
    add_measures(Path(f"{output}.json"), "equal_r2", {**settings, "beyond_null": found, "points": points})
    Path(f"{output}.png").write_bytes(as_bytes(drawn(courses), "png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
