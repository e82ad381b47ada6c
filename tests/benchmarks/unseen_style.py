"""`python -m tests.benchmarks.unseen_style STORE [STYLE …]`: what carries over to a drawing style never trained on.

STORE: that of the bundled pairs. For each style the demo's SAE-A is trained on train pairs of all others, where
classes, gains and means are fitted too, and measured on those pairs of the style that are not of the train split: what
was fitted elsewhere, and the same fitted anew on the style's own train pairs. The bundled encoder has seen every style.
"""

import sys
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.evaluation.embedding_variants import VariantSet, original_variants, rebuilding, sae_variants
from isoenergy.evaluation.fit import Fitted
from isoenergy.evaluation.measured_rows import Rows, unit_rows
from isoenergy.evaluation.ways import WAYS
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.retrieval import full_gallery_recall
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
    image, text = (sae.encode(rows, gram) for rows in unit)
    statistics.update(image, text)
    moments.update(sae.decode(image), sae.decode(text))
    return sae_variants(Fitted(moments, statistics), sae, 0)


@torch.no_grad()
def measured(sae: SparseAutoencoder | None, fitted_on: Pairs, held: Pairs) -> dict[str, tuple[float, float]]:
    """The difference in means and R@10 of each way that is shown, and of what it begins with."""
    variants = variants_of(sae, fitted_on)
    unit = unit_rows(held[0]), unit_rows(held[1])

    def as_they_are(_base: str) -> tuple[Tensor, Tensor]:
        return unit

    rows = as_they_are
    if sae is not None:
        codes = sae.encode(unit[0]), sae.encode(unit[1])
        rows = rebuilding(sae, codes, variants, held)
    wanted = replace(variants, variants=tuple(v for v in variants.variants if v.name in (variants.reference, *SHOWN)))
    return {
        variant.name: (
            float(difference_in_means(image.mean(0).numpy(), text.mean(0).numpy())),
            full_gallery_recall(image, text, (10,)).mean[10],
        )
        for variant, image, text in wanted.each(rows)
    }


def main(place: str, styles: tuple[str, ...]) -> None:
    by_style = pairs_by_style(EmbeddingStore.open(place))
    print(HEADER)
    for style in styles or STYLES:
        others = joined([pairs for (source, train), pairs in by_style.items() if train and source != style])
        own, held = by_style[style, True], by_style[style, False]
        sae = trained(others)
        for of in (None, sae):
            elsewhere, here = (measured(of, fitted_on, held) for fitted_on in (others, own))
            gap, before = elsewhere["original" if of is None else "reconstructed"]
            for name in (name for name in SHOWN if name in elsewhere):
                closed = [1 - found[name][0] / gap for found in (elsewhere, here)]
                recall = [found[name][1] for found in (elsewhere, here)]
                what = "embeddings" if of is None else "SAE-A"
                print(
                    f"{style} | {len(held[0]):,} | {what} | {WAYS[name].title} | {closed[0]:.0%} | {closed[1]:.0%} | "
                    f"{before:.3f} | {recall[0]:.3f} | {recall[1]:.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1], tuple(sys.argv[2:]))
