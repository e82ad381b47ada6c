"""Measure the bundled dual encoder on held-out pairs and write its model card.

    python -m isoenergy.bundled.making.evaluate_encoder

Every measure of the card comes from this program or from the record that `train_encoder` left beside the weights.
"""

import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.bundled import BUNDLED_ENCODER, BUNDLED_PAIRS
from isoenergy.bundled.making.train_encoder import CONTEXT_LENGTH, EMBED_DIM, IMAGE_SIZE, TRAINING_RECORD, WEIGHTS_FILE
from isoenergy.bundled.preset import DEMO_TRAINING
from isoenergy.encoders import DualEncoder, load_encoder
from isoenergy.interventions.removal import intervene, kept_atoms
from isoenergy.metrics.geometry import difference_in_means
from isoenergy.metrics.retrieval import recall_at
from isoenergy.pairs.splits import Split
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.thresholds import ALWAYS_ON_FREQUENCY
from isoenergy.store.arrays import PairArrays
from isoenergy.store.batches import PairBatches
from isoenergy.training.trainer import Trainer, TrainingConfig

MODEL_CARD = "MODEL_CARD.md"
RANKS = (1, 5, 10)
IMAGES_AT_ONCE = 256

LEAST_RECALL = 0.50
LEAST_GAP = 0.25
LEAST_BIMODAL_SHARE = 0.90
MOST_UNIMODAL_SHARE = 0.10
MOST_ALWAYS_ON_ENERGY = 0.05
MOST_GAP_LEFT = 0.50


@dataclass(frozen=True)
class EvaluationConfig:
    """What is measured, and where the card goes."""

    encoder: Path = BUNDLED_ENCODER
    """Folder of the encoder in open_clip's format; the card is written into it."""
    pairs: Path = BUNDLED_PAIRS
    """Folder of the pairs that `cut_pairs` wrote."""
    threads: int = 2
    """CPU threads."""


@dataclass(frozen=True)
class EmbeddedSplit:
    """One split, embedded: row i of each array belongs to one pair."""

    arrays: PairArrays
    sources: list[str]

    def unit_rows(self) -> tuple[Tensor, Tensor]:
        """Return images and texts, `(pairs, dim)` float32 rows of unit norm."""
        images, texts = (torch.from_numpy(rows).float() for rows in (self.arrays.images, self.arrays.texts))
        return normalize(images, dim=1), normalize(texts, dim=1)


@dataclass(frozen=True)
class EncoderMeasures:
    """The encoder on held-out pairs."""

    pairs: int
    image_to_text: dict[int, float]
    text_to_image: dict[int, float]
    by_source: dict[str, tuple[int, float]]
    """Pairs and image-to-text R@10 over the full gallery, by source of the image."""
    gap: float
    image_constant_energy: float
    """Squared norm of the mean unit image embedding."""
    text_constant_energy: float


@dataclass(frozen=True)
class SaeMeasures:
    """One SAE on held-out pairs."""

    beta: float
    mean_squared_error: float
    recall: dict[str, float]
    """Image-to-text R@10 of the reconstructed, bimodal and unimodal embeddings."""
    gap: dict[str, float]
    """Difference in means of the same."""
    energy: dict[str, float]
    """Share of the energy in bimodal, image-only, text-only and always-on atoms."""
    atoms: dict[str, int]
    """Number of bimodal, image-only, text-only and dead atoms."""

    @property
    def bimodal_share(self) -> float:
        """Bimodal-only R@10 as a share of the reconstruction's."""
        return self.recall["bimodal"] / self.recall["reconstructed"]

    @property
    def unimodal_share(self) -> float:
        """Unimodal-only R@10 as a share of the reconstruction's."""
        return self.recall["unimodal"] / self.recall["reconstructed"]

    @property
    def gap_left(self) -> float:
        """Gap without unimodal atoms as a share of the reconstruction's."""
        return self.gap["bimodal"] / self.gap["reconstructed"]


@dataclass(frozen=True)
class Measured:
    """All that the model card tells."""

    record: dict[str, Any]
    """What `train_encoder` wrote down: settings, train pairs, history."""
    encoder: EncoderMeasures
    saes: list[SaeMeasures]
    parameters: int
    weights_bytes: int
    sae_pairs: int
    """Pairs that the SAEs were trained on."""
    sae_seconds: float
    """Time in which they were trained."""


def embed_split(encoder: DualEncoder, pairs: Path, split: Split) -> EmbeddedSplit:
    """Embed the pairs of one split, in float16 as the store holds them."""
    table = pq.read_table(sorted(pairs.glob("*.parquet")), filters=[("split", "=", split)])
    images, texts = [], []
    for batch in table.to_batches(IMAGES_AT_ONCE):
        pictures = [Image.open(io.BytesIO(image)) for image in batch["image"].to_pylist()]
        images.append(encoder.encode_images(pictures).numpy().astype(np.float16))
        texts.append(encoder.encode_texts(batch["caption"].to_pylist()).numpy().astype(np.float16))
    keys = np.array(table["key"].to_pylist(), dtype=object)
    arrays = PairArrays(keys, np.concatenate(images), np.concatenate(texts))
    return EmbeddedSplit(arrays, table["source"].to_pylist())


def encoder_measures(test: EmbeddedSplit) -> EncoderMeasures:
    """Measure retrieval over the full gallery, and the gap."""
    images, texts = test.unit_rows()
    cosine = images @ texts.T
    ranks = (cosine > cosine.diagonal()[:, None]).sum(1)
    by_source = {}
    for source in sorted(set(test.sources)):
        mine = torch.tensor([other == source for other in test.sources])
        by_source[source] = int(mine.sum()), float((ranks[mine] < max(RANKS)).float().mean())
    return EncoderMeasures(
        pairs=len(images),
        image_to_text=recall_at(images, texts, RANKS),
        text_to_image=recall_at(texts, images, RANKS),
        by_source=by_source,
        gap=float(difference_in_means(images.mean(0).numpy(), texts.mean(0).numpy())),
        image_constant_energy=float(images.mean(0).square().sum()),
        text_constant_energy=float(texts.mean(0).square().sum()),
    )


@torch.no_grad()
def sae_measures(sae: SparseAutoencoder, test: EmbeddedSplit) -> SaeMeasures:
    """Measure what bimodal and unimodal atoms carry."""
    images, texts = test.unit_rows()
    image_codes, text_codes = sae.encode(images), sae.encode(texts)
    statistics = ConceptStatistics.zeros(sae.config.atoms)
    statistics.update(image_codes, text_codes)
    classes = statistics.classes()
    recall, gap = {}, {}
    for intervention in ("reconstructed", "bimodal", "unimodal"):
        keep = kept_atoms(intervention, classes)
        changed = intervene(sae, image_codes, keep), intervene(sae, text_codes, keep)
        recall[intervention] = recall_at(changed[0], changed[1], (10,))[10]
        gap[intervention] = float(difference_in_means(*(rows.mean(0).numpy() for rows in changed)))
    masks = {
        "bimodal": classes.bimodal,
        "image-only": classes.image_only,
        "text-only": classes.text_only,
        "always-on": statistics.frequency > ALWAYS_ON_FREQUENCY,
    }
    residuals = torch.cat([image_codes.residual, text_codes.residual])
    return SaeMeasures(
        beta=sae.config.beta,
        mean_squared_error=float(residuals.square().sum(1).mean()),
        recall=recall,
        gap=gap,
        energy={name: statistics.energy_share(mask) for name, mask in masks.items()},
        atoms={name: int(mask.sum()) for name, mask in masks.items()} | {"dead": int(classes.dead.sum())},
    )


def train_saes(config: TrainingConfig, train: EmbeddedSplit) -> list[SparseAutoencoder]:
    """Train the demo's SAEs in this process."""
    batches = PairBatches.of_arrays(train.arrays.images, train.arrays.texts, config.batch_pairs, config.seed)
    both = {"image": train.arrays.images, "text": train.arrays.texts}
    means = {name: normalize(torch.from_numpy(rows).float(), dim=1).mean(0) for name, rows in both.items()}
    trainer = Trainer(config, batches, train.arrays.images.shape[1], means=means)
    trainer.run(lambda *_: None)
    return [sae for sae in trainer.group.saes if isinstance(sae, SparseAutoencoder)]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def targets(encoder: EncoderMeasures, saes: list[SaeMeasures]) -> str:
    """Return the table of what was wanted, what was measured, and whether it is met."""
    checks = [
        ("image→text R@10", "≥", LEAST_RECALL, encoder.image_to_text[10]),
        ("modality gap", "≥", LEAST_GAP, encoder.gap),
    ]
    for sae in saes:
        name = f"β = {sae.beta:g}:"
        checks += [
            (f"{name} bimodal-only R@10 / reconstructed", "≥", LEAST_BIMODAL_SHARE, sae.bimodal_share),
            (f"{name} unimodal-only R@10 / reconstructed", "<", MOST_UNIMODAL_SHARE, sae.unimodal_share),
            (f"{name} energy in always-on atoms", "<", MOST_ALWAYS_ON_ENERGY, sae.energy["always-on"]),
            (f"{name} gap left without unimodal atoms", "<", MOST_GAP_LEFT, sae.gap_left),
        ]
    rows = []
    for what, sign, limit, value in checks:
        met = value >= limit if sign == "≥" else value < limit
        rows.append((what, f"{sign} {limit:.2f}", f"{value:.3f}", "met" if met else "**missed**"))
    return table(("", "wanted", "measured", ""), rows)


def retrieval(encoder: EncoderMeasures) -> str:
    """Return the tables of recall, in both directions and by source."""
    both = (("image→text", encoder.image_to_text), ("text→image", encoder.text_to_image))
    by_direction = table(
        ("", *(f"R@{rank}" for rank in RANKS)),
        ((name, *(f"{recall[rank]:.3f}" for rank in RANKS)) for name, recall in both),
    )
    by_source = table(
        ("source of the image", "pairs", "image→text R@10, full gallery"),
        ((source, f"{count:,}", f"{recall:.3f}") for source, (count, recall) in encoder.by_source.items()),
    )
    return f"{by_direction}\n\n{by_source}"


def phenomenon(saes: list[SaeMeasures]) -> str:
    """Return the table of both SAEs side by side."""
    parts = ("reconstructed", "bimodal", "unimodal")
    classes = ("bimodal", "image-only", "text-only")
    rows = [("mean squared error", *(f"{sae.mean_squared_error:.3f}" for sae in saes))]
    rows += [(f"image→text R@10, {part}", *(f"{sae.recall[part]:.3f}" for sae in saes)) for part in parts]
    rows += [(f"gap, {part}", *(f"{sae.gap[part]:.3f}" for sae in saes)) for part in parts]
    rows += [
        (f"energy share, {part} atoms", *(f"{sae.energy[part]:.3f}" for sae in saes))
        for part in (*classes, "always-on")
    ]
    rows += [(f"number of {part} atoms", *(str(sae.atoms[part]) for sae in saes)) for part in (*classes, "dead")]
    return table(("", *(f"β = {sae.beta:g}" for sae in saes)), rows)


def settings(record: dict[str, Any]) -> str:
    """Return the table of the training's settings."""
    return table(("setting", "value"), ((name, str(value)) for name, value in record["settings"].items()))


def history(record: dict[str, Any]) -> str:
    """Return the table of what was measured on the validation split during training."""
    entries = record["history"]
    return table(list(entries[0]), ([f"{value:.4g}" for value in entry.values()] for entry in entries))


def shape_of(measured: Measured) -> list[tuple[str, str]]:
    """Return the rows of the table of sizes."""
    return [
        ("parameters", f"{measured.parameters / 1e6:.2f} M"),
        ("weights", f"{measured.weights_bytes / 1e6:.1f} MB, half precision"),
        ("image", f"{IMAGE_SIZE} × {IMAGE_SIZE} px"),
        ("text", f"{CONTEXT_LENGTH} tokens"),
        ("embedding", f"{EMBED_DIM} numbers"),
    ]


def model_card(measured: Measured) -> str:
    """Return the model card."""
    encoder, record, demo = measured.encoder, measured.record, DEMO_TRAINING
    return f"""# Bundled dual encoder

A small CLIP in open_clip's own architecture (modified ResNet, text transformer), trained from scratch on emoji, icons
and clip art. It is there to show isoenergy at work on real pictures without a download; it knows no photographs.
This card is written by `python -m isoenergy.bundled.making.evaluate_encoder`.

```python
model, _, preprocess = open_clip.create_model_and_transforms("local-dir:isoenergy/bundled/encoder")
tokenizer = open_clip.get_tokenizer("local-dir:isoenergy/bundled/encoder")
```

{table(("", ""), shape_of(measured))}

Every measure is of the weights as loaded from that file. The vocabulary is byte-pair, lower-cased, fitted to the train
captions.

## Targets

On the {encoder.pairs:,} pairs of the bundled test split, none of them seen in training; full gallery, cosine.

{targets(encoder, measured.saes)}

## Data

The {record["train_pairs"]:,} train pairs of the folder that the bundled pairs are cut from; `../pairs/CREDITS.md` has
the sources and licences. Splits go by the hash of the key (`isoenergy.pairs.splits`); test and validation keys were
left out, of the tokenizer's fit as well. The same emoji in another style is another key: most emoji
concepts of the test split were seen in another style; most of game-icons, fxemoji and flat-color-icons were not.

## Retrieval

{retrieval(encoder)}

## Modality gap

The norm of the difference of the mean unit embeddings is {encoder.gap:.3f}. The means hold
{encoder.image_constant_energy:.3f} (images) and {encoder.text_constant_energy:.3f} (texts) of the embeddings' energy.

**The gap was put in.** Each tower's last bias is set so that a random constant direction, one for each modality, holds
{record["settings"]["cone_energy"]:.0%} of its output's energy, at initialisation and throughout training; the gradient
does not touch it. This is the cone effect of Liang et al. 2022 ("Mind the Gap") by hand: the contrastive loss is nearly
indifferent to a constant. Left alone, this small model, at the low logit scale at which both
modalities share their concepts, lets the gap shrink to little; at a high logit scale it makes a large gap, but separate
image and text atoms for each concept.

## The phenomenon

SAEs with the demo's preset: {demo.expansion * EMBED_DIM} atoms, k = {demo.k}, {demo.epochs} epochs in batches of
{demo.batch_pairs} pairs, learning rate {demo.learning_rate:g}, {demo.alignment} alignment; trained on the
{measured.sae_pairs:,} bundled train pairs (all SAEs together in {measured.sae_seconds:.0f} s), measured on the test
split. Classes of atoms: modality score within 0.05 of 0 or 1 is unimodal; always-on: fires in more than
{ALWAYS_ON_FREQUENCY:.0%} of all inputs.

{phenomenon(measured.saes)}

## Training

AdamW with linear warm-up and cosine decay; symmetric cross-entropy with a fixed, linearly growing logit scale; pictures
scaled, shifted and tinted a little, never mirrored; captions put into another template of the same source, with other
tags of the same row. The commands:

```
MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_MMAP_MAX_=0 python -m isoenergy.bundled.making.train_encoder PAIRS_FOLDER
python -m isoenergy.bundled.making.evaluate_encoder
```

{settings(record)}

On the validation split, while it trained:

{history(record)}
"""


def main(config: EvaluationConfig) -> None:
    """Embed, measure, write the card, and print its targets."""
    torch.set_num_threads(config.threads)
    encoder = load_encoder(f"open_clip:{config.encoder}")
    print("embedding the bundled pairs", flush=True)
    train = embed_split(encoder, config.pairs, "train")
    test = embed_split(encoder, config.pairs, "test")
    print(f"training SAEs with beta = {DEMO_TRAINING.betas}", flush=True)
    started = time.monotonic()
    saes = train_saes(DEMO_TRAINING, train)
    seconds = time.monotonic() - started
    weights = config.encoder / WEIGHTS_FILE
    measured = Measured(
        record=json.loads((config.encoder / TRAINING_RECORD).read_text()),
        encoder=encoder_measures(test),
        saes=[sae_measures(sae, test) for sae in saes],
        parameters=sum(value.numel() for value in load_file(weights).values()),
        weights_bytes=weights.stat().st_size,
        sae_pairs=len(train.arrays),
        sae_seconds=seconds,
    )
    temporary = config.encoder / f".{MODEL_CARD}"
    temporary.write_text(model_card(measured))
    temporary.replace(config.encoder / MODEL_CARD)
    print(targets(measured.encoder, measured.saes))


if __name__ == "__main__":
    main(tyro.cli(EvaluationConfig, description=__doc__))
