"""`python -m tests.benchmarks.unseen_style STORE [--picture FILE]`: what carries over to a style never trained on.

STORE: that of the bundled pairs. For each style the demo's SAE-A is trained on train pairs of all others, where
classes, gains and means are fitted too, and measured on those pairs of the style that are not of the train split: what
was fitted elsewhere, and the same fitted anew on the style's own train pairs. The bundled encoder has seen every style.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.evaluation.embedding_variants import VariantSet, original_variants, rebuilding, sae_variants
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_rows import Rows, unit_rows
from isoenergy.evaluation.ways import ORIGINAL, RECONSTRUCTED, WAYS, beginning
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.retrieval import full_gallery_recall
from isoenergy.report.figures.shared import SHADES, plain
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.settings.modalities import MODALITIES
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_moments import PairMoments
from isoenergy.store import EmbeddingStore, PairBatches
from isoenergy.training.trainer import Trainer

STYLES = ("game-icons", "openclipart", "fluent-emoji")
SHOWN = ("bimodal", "less_unimodal", "equalised", "less_unequal", "centred", "without_own_mean", "standardised")
HEADER = "style | pairs | of | way | gap closed, fitted elsewhere | fitted here | R@10 before | elsewhere | here"

Pairs = tuple[Rows, Rows]


def pairs_by_style(store: EmbeddingStore) -> dict[tuple[str, bool], Pairs]:
    """Images and texts by style and whether they are of the train split."""
    columns: list[np.ndarray] = []
    images, texts = [], []
    for record in store.commits:
        arrays = store.read_unit_arrays(record.unit, "all")
        images.append(arrays.images)
        texts.append(arrays.texts)
        table = store.read_unit(record.unit, ["source", "split"], "all")
        columns.append(np.array([table["source"].to_pylist(), table["split"].to_pylist()]))
    sources, splits = np.concatenate(columns, axis=1)
    both = np.concatenate(images), np.concatenate(texts)
    return {
        (source, train): (both[0][chosen], both[1][chosen])
        for source in np.unique(sources)
        for train in (True, False)
        if (chosen := (sources == source) & ((splits == "train") == train)).any()
    }


def joined(parts: list[Pairs]) -> Pairs:
    return np.concatenate([image for image, _ in parts]), np.concatenate([text for _, text in parts])


def trained(pairs: Pairs) -> SparseAutoencoder:
    config = replace(DEMO_TRAINING, beta=DEMO_TRAINING.betas[-1:])
    batches = PairBatches.of_arrays(*pairs, config.batch_pairs, seed=0)
    means = {name: unit_rows(rows).mean(0) for name, rows in zip(MODALITIES, pairs, strict=True)}
    trainer = Trainer(config, batches, pairs[0].shape[1], means=means)
    trainer.run(None)
    sae = trainer.group.saes[0]
    assert isinstance(sae, SparseAutoencoder)
    return sae.eval()


@torch.no_grad()
def variants_of(sae: SparseAutoencoder | None, fitted_on: Pairs) -> VariantSet:
    unit = [unit_rows(rows) for rows in fitted_on]
    moments = PairMoments.zeros(unit[0].shape[1])
    if sae is None:
        moments.update(*unit)
        return original_variants(Fitted(moments, None), 0)
    statistics = ConceptStatistics.zeros(sae.config.atoms)
    gram = sae.gram_of_frozen(2 * len(unit[0]))
    image, text = (sae.encode(rows, gram=gram) for rows in unit)
    statistics.update(image, text)
    moments.update(sae.decode(image), sae.decode(text))
    return sae_variants(Fitted(moments, statistics), sae, 0)


@torch.no_grad()
def measured(sae: SparseAutoencoder | None, fitted_on: Pairs, held: Pairs) -> dict[str, tuple[float, float]]:
    """The difference in means and R@10 of each way that is shown, and of the embeddings, or the reconstruction."""
    variants = variants_of(sae, fitted_on)
    unit = unit_rows(held[0]), unit_rows(held[1])

    def as_they_are(_base: str) -> tuple[Tensor, Tensor]:
        return unit

    rows: Callable[[str], tuple[Tensor, Tensor]] = as_they_are
    if sae is not None:
        codes = sae.encode(unit[0]), sae.encode(unit[1])
        rows = rebuilding(sae, codes, variants, held)
    wanted = replace(
        variants, variants=tuple(v for v in variants.variants if v.name in (ORIGINAL, RECONSTRUCTED, *SHOWN))
    )
    return {
        variant.name: (
            float(difference_in_means(image.mean(0).numpy(), text.mean(0).numpy())),
            full_gallery_recall(image, text, (10,)).mean[10],
        )
        for variant, image, text in wanted.each(rows)
    }


@dataclass(frozen=True)
class Found:
    """What one way does on one style: fitted elsewhere, and fitted on the style's own pairs."""

    style: str
    pairs: int
    of: str
    way: str
    closed: tuple[float, float]
    before: float
    """R@10 of what it begins with."""
    recall: tuple[float, float]

    def __str__(self) -> str:
        """Return it as a line of the table."""
        shares = " | ".join(f"{closed:.0%}" for closed in self.closed)
        recalls = " | ".join(f"{recall:.3f}" for recall in (self.before, *self.recall))
        return f"{self.style} | {self.pairs:,} | {self.of} | {self.way} | {shares} | {recalls}"


def found_on(style: str, by_style: dict[tuple[str, bool], Pairs]) -> list[Found]:
    others = joined([pairs for (source, train), pairs in by_style.items() if train and source != style])
    own, held = by_style[style, True], by_style[style, False]
    rows = []
    untouched: dict[str, tuple[float, float]] = {}
    for of, sae in (("embeddings", None), ("SAE-A", trained(others))):
        elsewhere, here = (measured(sae, fitted_on, held) for fitted_on in (others, own))
        untouched |= {name: elsewhere[name] for name in (ORIGINAL, RECONSTRUCTED) if name in elsewhere}
        for name in (name for name in SHOWN if name in elsewhere):
            gap, before = untouched[beginning(name, sae is not None)]
            closed = 1 - elsewhere[name][0] / gap, 1 - here[name][0] / gap
            recall = elsewhere[name][1], here[name][1]
            rows.append(Found(style, len(held[0]), of, WAYS[name].title, closed, before, recall))
    return rows


MEASURES: dict[str, Callable[[Found], tuple[float, ...]]] = {
    "share of the gap closed": lambda found: found.closed,
    "R@10, of what it was before": lambda found: tuple(recall / found.before for recall in found.recall),
}


def picture(rows: list[Found]) -> Figure:
    """Return a panel a measure and style, a line a way: a dot is fitted elsewhere, a ring on the style's own pairs."""
    styles = list(dict.fromkeys(row.style for row in rows))
    figure = Figure(figsize=(3 * len(styles) + 1.5, 6), layout="constrained")
    panels = figure.subplots(len(MEASURES), len(styles), sharey=True, sharex="row", squeeze=False)
    for line, (measure, values) in zip(panels, MEASURES.items(), strict=True):
        for axes, style in zip(line, styles, strict=True):
            shown = [found for found in rows if found.style == style]
            for place, found in enumerate(shown):
                elsewhere, here = values(found)
                colour = SHADES[found.of == "embeddings"]
                axes.plot([elsewhere, here], [place, place], color=colour, linewidth=1)
                axes.plot(elsewhere, place, "o", color=colour)
                axes.plot(here, place, "o", color=colour, markerfacecolor="white")
            axes.set_yticks(range(len(shown)), [f"{found.of}: {found.way}" for found in shown])
            axes.set_title(f"{style} ({shown[0].pairs:,} pairs)", fontsize=10)
            axes.set_xlabel(measure, fontsize=9)
            plain(axes)
    panels[0, 0].invert_yaxis()
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store")
    parser.add_argument("--picture", help="an SVG or PNG file to draw the table to")
    arguments = parser.parse_args()
    by_style = pairs_by_style(EmbeddingStore.open(arguments.store))
    print(HEADER)
    rows = []
    for style in STYLES:
        for found in found_on(style, by_style):
            print(found, flush=True)
            rows.append(found)
    if arguments.picture:
        picture(rows).savefig(arguments.picture, dpi=160)


if __name__ == "__main__":
    main()
