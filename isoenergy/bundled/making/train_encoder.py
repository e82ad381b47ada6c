"""Train the bundled dual encoder from scratch: `python -m isoenergy.bundled.making.train_encoder PAIRS_FOLDER`.

The outcome is a folder that plain open_clip loads: `open_clip.create_model_and_transforms("local-dir:FOLDER")`.
On small virtual machines set MALLOC_TRIM_THRESHOLD_=100000000000 and MALLOC_MMAP_MAX_=0 in the environment: page faults
from fresh allocations can otherwise take half of the time.
"""

import io
import json
import math
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from open_clip.model import CLIP
from open_clip.tokenizer import get_clean_fn
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from isoenergy.bundled import BUNDLED_ENCODER
from isoenergy.errors import InputError
from isoenergy.pairs.splits import Split, split_of

WEIGHTS_FILE = "open_clip_model.safetensors"
TRAINING_RECORD = "training.json"

IMAGE_SIZE = 64
CONTEXT_LENGTH = 20
EMBED_DIM = 256
PAD, START, END = "<pad>", "<start>", "<end>"
PAD_ID, START_ID, END_ID = 0, 1, 2
PIXEL_MEAN = (0.8186, 0.7917, 0.7676)
PIXEL_STD = (0.2993, 0.3014, 0.3284)
WHITE = 255

IMAGES_AT_ONE_SCALE = 64
SMALLEST_SCALE, LARGEST_SCALE = 0.8, 1.15
COLOUR_JITTER = 0.1
BARE_CONCEPT_SHARE = 0.1
MOST_TAGS = 3
FEWEST_USES_OF_A_TEMPLATE = 50
FIRST_SAMPLE = 1024
CONE_RATE = 0.1
ADAM_BETAS = (0.9, 0.98)
MOST_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """How the bundled dual encoder is trained."""

    pairs: tyro.conf.Positional[Path]
    """Folder of Parquet shards with key, image, caption, concept, source and, of those that have them, tags."""
    output: Path = BUNDLED_ENCODER
    """Folder to write; what it held is replaced."""
    epochs: int = 16
    """Passes over the train split."""
    batch_size: int = 512
    """Pairs a step, each of them a negative for every other."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW, after a linear warm-up and before a cosine decay to zero."""
    warmup_steps: int = 100
    """Steps of the warm-up."""
    weight_decay: float = 0.1
    """Weight decay of matrices and convolutions; biases, norms and embeddings have none."""
    first_logit_scale: float = 17.0
    """Factor on the cosines in the first step; it grows linearly and is not learned."""
    last_logit_scale: float = 24.0
    """Factor on the cosines in the last step."""
    cone_energy: float | None = 0.2
    """Share of an embedding's energy that a constant direction of its modality is given, and keeps in training. None:
    there is no such direction but what training itself makes, a natural gap."""
    vocabulary: int = 6000
    """Size of the byte-pair vocabulary, which is fitted to the train captions."""
    threads: int = 2
    """CPU threads."""
    seed: int = 0
    """Seed of the weights, the order and the augmentation."""
    validate_every: int = 2
    """Epochs between two measurements on the validation split, each with a checkpoint."""
    compile: bool = True
    """Compile both towers (a minute, then a quarter faster; needs a C++ compiler)."""


@dataclass(frozen=True)
class Pairs:
    """Pairs in memory: `images` `(pairs, height, width, 3)` uint8, and the rows' other columns."""

    images: Tensor
    rows: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.rows)


def read_pairs(folder: Path, split: Split) -> Pairs:
    """Read the pairs of one split from a folder of Parquet shards.

    Raises InputError if the folder holds no shards.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder} holds no *.parquet files; give the folder that holds the pairs' shards")
    rows = [row for file in files for row in pq.read_table(file).to_pylist() if split_of(row["key"]) == split]
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(decode_image, (row.pop("image") for row in rows))))
    return Pairs(torch.from_numpy(images), rows)


def decode_image(image: bytes) -> np.ndarray:
    """Return an encoded picture as a `(height, width, 3)` uint8 array."""
    with Image.open(io.BytesIO(image)) as picture:
        return np.asarray(picture.convert("RGB"))


def fit_tokenizer(captions: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Fit a lower-cased byte-level BPE; every text is framed by a start and an end token, also when cut short."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, START_ID), (END, END_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> Tensor:
    """Return `(captions, context)` token ids, exactly as open_clip's tokenizer of the saved folder does."""
    clean = get_clean_fn("whitespace")
    tokens: Tensor = tokenizer(
        [clean(caption) for caption in captions],
        max_length=CONTEXT_LENGTH,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return tokens


class CaptionSampler:
    """Rewrites captions: another template of the same source round the concept, other tags of the same row."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        """Take captions apart: text before the concept, concept, text up to the first comma, tags."""
        self.tails: list[list[str]] = []
        self.concepts: list[str] = [row["concept"] for row in rows]
        self.sources = [row["source"] for row in rows]
        uses: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        for row in rows:
            before, _, after = row["caption"].partition(row["concept"])
            suffix, *tail = after.split(", ")
            uses[row["source"]][before, suffix] += 1
            self.tails.append(sorted({*row.get("tags", ()), *tail}))
        self.templates = {
            source: [template for template, count in counts.items() if count >= FEWEST_USES_OF_A_TEMPLATE]
            for source, counts in uses.items()
        }

    def sample(self, generator: random.Random) -> list[str]:
        """Return one fresh caption a row."""
        return [self._caption(row, generator) for row in range(len(self.concepts))]

    def _caption(self, row: int, generator: random.Random) -> str:
        concept = self.concepts[row]
        if generator.random() < BARE_CONCEPT_SHARE:
            return concept
        before, after = generator.choice(self.templates[self.sources[row]])
        tags = min(generator.randint(0, MOST_TAGS), len(self.tails[row]))
        return ", ".join([before + concept + after, *generator.sample(self.tails[row], tags)])


def to_input(images: Tensor, tint: Tensor | None = None) -> Tensor:
    """Scale `(batch, 3, height, width)` uint8 pixels as the saved preprocessing does.

    tint: factors on the pixels, broadcast to their shape.
    """
    pixels = images.to(torch.float32, memory_format=torch.channels_last)
    if tint is not None:
        pixels = pixels.mul_(tint).clamp_(0, WHITE)
    mean, std = (WHITE * torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return pixels.sub_(mean).div_(std)


def resize(images: Tensor, size: int) -> Tensor:
    """Resize `(batch, height, width, 3)` uint8 pictures to `(batch, 3, size, size)` uint8, antialiased."""
    return functional.interpolate(images.permute(0, 3, 1, 2), (size, size), mode="bicubic", antialias=True)


def place(image: Tensor, generator: random.Random) -> Tensor:
    """Put a `(3, size, size)` picture at a random place of a white canvas, or cut a random window out of it."""
    slack = IMAGE_SIZE - image.shape[1]
    down, right = generator.randint(0, abs(slack)), generator.randint(0, abs(slack))
    if slack < 0:
        return image[:, down : down + IMAGE_SIZE, right : right + IMAGE_SIZE]
    return functional.pad(image, (right, slack - right, down, slack - down), value=WHITE)


def augment(images: Tensor, generator: random.Random) -> Tensor:
    """Scale, shift and tint `(batch, height, width, 3)` uint8 pictures a little, never mirror them; return the input.

    Captions name left, right, colours and skin tones, so the changes stay small.
    """
    placed = []
    for chunk in images.split(IMAGES_AT_ONE_SCALE):
        scale = generator.uniform(SMALLEST_SCALE, LARGEST_SCALE)
        placed += [place(image, generator) for image in resize(chunk, round(IMAGE_SIZE * scale))]
    tint = [generator.uniform(1 - COLOUR_JITTER, 1 + COLOUR_JITTER) for _ in range(3 * len(placed))]
    return to_input(torch.stack(placed), torch.tensor(tint).view(-1, 3, 1, 1))


def model_config(vocabulary: int) -> dict[str, Any]:
    """Return the architecture in open_clip's terms."""
    return {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 24, "head_width": 48},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "tokenizer.json of this folder",
            "tokenizer_kwargs": {"clean": "whitespace"},
            "width": 128,
            "heads": 4,
            "layers": 4,
            "pad_id": PAD_ID,
            "eos_id": END_ID,
            "pool_type": "eos",
            "proj_bias": True,
        },
    }


def preprocess_config() -> dict[str, Any]:
    """Return how open_clip turns a picture into the input."""
    return {
        "size": IMAGE_SIZE,
        "mode": "RGB",
        "mean": list(PIXEL_MEAN),
        "std": list(PIXEL_STD),
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }


def cone_biases(model: CLIP) -> tuple[nn.Parameter, nn.Parameter]:
    """Return the biases of the image and the text tower's last layer, each `(dim,)`."""
    return model.visual.attnpool.c_proj.bias, model.text_projection.bias


@torch.no_grad()
def hold_cone(bias: nn.Parameter, direction: Tensor, outputs: Tensor, energy: float, rate: float) -> None:
    """Move a tower's last bias so that the constant part of its outputs is `direction` with a share `energy`.

    The contrastive loss is nearly indifferent to a constant of each modality, the cone of Liang et al. 2022 ("Mind the
    Gap"); left alone, this small model would let the rest of the output outgrow it.

    bias: `(dim,)`. direction: `(dim,)`, of unit norm. outputs: `(batch, dim)`, raw. energy: share of the mean squared
    norm. rate: part of the way that is moved at once.
    """
    mean = outputs.mean(0)
    spread = (outputs - mean).square().sum(1).mean()
    bias.add_(direction * (spread * energy / (1 - energy)).sqrt() - mean, alpha=rate)


def parameter_groups(model: CLIP, weight_decay: float, biases_held: bool) -> list[dict[str, Any]]:
    """Split the parameters into decayed and not decayed ones; the cone biases stay as they are where they are held."""
    frozen = {id(model.logit_scale), *(map(id, cone_biases(model)) if biases_held else ())}
    trained = [(name, parameter) for name, parameter in model.named_parameters() if id(parameter) not in frozen]
    decayed = [parameter for name, parameter in trained if parameter.ndim > 1 and "embedding" not in name]
    others = [parameter for name, parameter in trained if parameter.ndim <= 1 or "embedding" in name]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Return linear warm-up, then cosine decay to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def contrastive_loss(image: Tensor, text: Tensor, scale: float) -> Tensor:
    """Return the symmetric cross-entropy of `(batch, dim)` unit rows."""
    logits = scale * image @ text.T
    labels = torch.arange(len(logits))
    return (functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)) / 2


@torch.no_grad()
def embed(model: CLIP, pairs: Pairs, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit image and text embeddings, each `(pairs, dim)`, without augmentation."""
    model.eval()
    images = [
        model.encode_image(to_input(resize(chunk, IMAGE_SIZE)), normalize=True) for chunk in pairs.images.split(256)
    ]
    texts = [model.encode_text(chunk, normalize=True) for chunk in tokens.split(256)]
    model.train()
    return torch.cat(images), torch.cat(texts)


def validation_measures(image: Tensor, text: Tensor) -> dict[str, float]:
    """Return R@10 in both directions over all rows, the modality gap, and each modality's constant share of energy."""
    cosine = image @ text.T
    matches = cosine.diagonal()
    image_mean, text_mean = image.mean(0), text.mean(0)
    return {
        "image→text R@10": ((cosine > matches[:, None]).sum(1) < 10).float().mean().item(),
        "text→image R@10": ((cosine > matches[None, :]).sum(0) < 10).float().mean().item(),
        "gap": (image_mean - text_mean).norm().item(),
        "image mean energy": image_mean.square().sum().item(),
        "text mean energy": text_mean.square().sum().item(),
    }


def save_encoder(
    model: CLIP,
    tokenizer: PreTrainedTokenizerFast,
    config: dict[str, Any],
    record: dict[str, Any],
    output: Path,
) -> None:
    """Write the folder that open_clip loads, in half precision, and put it in place of `output` when it is whole."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".encoder-") as temporary:
        folder = Path(temporary, "encoder")
        tokenizer.save_pretrained(folder)
        weights = {
            name: value.half().contiguous() if value.is_floating_point() else value.clone()
            for name, value in model.state_dict().items()
        }
        save_file(weights, folder / WEIGHTS_FILE)
        whole = {"model_cfg": config, "preprocess_cfg": preprocess_config()}
        (folder / "open_clip_config.json").write_text(json.dumps(whole, indent=2) + "\n")
        (folder / TRAINING_RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        if output.exists():
            shutil.rmtree(output)
        folder.rename(output)


def settings_record(config: EncoderTrainingConfig) -> dict[str, Any]:
    """Return the settings that decide the weights; where files lie is not one of them."""
    return {name: value for name, value in asdict(config).items() if not isinstance(value, Path)}


def logit_scale(config: EncoderTrainingConfig, progress: float) -> float:
    """Return the factor on the cosines after the share `progress` of all steps."""
    return config.first_logit_scale + (config.last_logit_scale - config.first_logit_scale) * progress


@torch.no_grad()
def open_cones(model: CLIP, directions: Tensor, energy: float, images: Tensor, tokens: Tensor) -> None:
    """Give both towers their cones, measured on a sample: pixels `(sample, height, width, 3)` and their tokens."""
    outputs = model.encode_image(to_input(resize(images, IMAGE_SIZE))), model.encode_text(tokens)
    for bias, direction, rows in zip(cone_biases(model), directions, outputs, strict=True):
        hold_cone(bias, direction, rows, energy, rate=1.0)


def train(config: EncoderTrainingConfig) -> None:
    """Train on the train split, measure on the validation split, write the encoder every few epochs and at the end."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    generator = random.Random(config.seed)
    started = time.monotonic()

    training, validation = read_pairs(config.pairs, "train"), read_pairs(config.pairs, "validation")
    assert all(split_of(row["key"]) == "train" for row in training.rows)
    captions = CaptionSampler(training.rows)
    tokenizer = fit_tokenizer([row["caption"] for row in training.rows], config.vocabulary)
    validation_tokens = tokenize(tokenizer, [row["caption"] for row in validation.rows])

    architecture = model_config(len(tokenizer))
    model = CLIP(**architecture).to(memory_format=torch.channels_last)
    directions = functional.normalize(torch.randn(2, EMBED_DIM), dim=1)
    sample = [row["caption"] for row in training.rows[:FIRST_SAMPLE]]
    if config.cone_energy is not None:
        open_cones(model, directions, config.cone_energy, training.images[: len(sample)], tokenize(tokenizer, sample))
    groups = parameter_groups(model, config.weight_decay, biases_held=config.cone_energy is not None)
    trained = [parameter for group in groups for parameter in group["params"]]
    optimizer = torch.optim.AdamW(groups, config.learning_rate, betas=ADAM_BETAS, fused=True)
    towers: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] = (model.encode_image, model.encode_text)
    if config.compile:
        towers = torch.compile(model.encode_image), torch.compile(model.encode_text)

    def step_on(batch: Tensor, tokens: Tensor, step: int) -> float:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * learning_rate_factor(step, steps, config.warmup_steps)
        outputs = towers[0](augment(training.images[batch], generator)), towers[1](tokens[batch])
        image, text = (functional.normalize(rows, dim=1) for rows in outputs)
        loss = contrastive_loss(image, text, logit_scale(config, step / steps))
        loss.backward()
        nn.utils.clip_grad_norm_(trained, MOST_GRADIENT_NORM)
        optimizer.step()
        optimizer.zero_grad()
        if config.cone_energy is not None:
            for bias, direction, rows in zip(cone_biases(model), directions, outputs, strict=True):
                hold_cone(bias, direction, rows, config.cone_energy, CONE_RATE)
        return loss.item()

    steps_an_epoch = len(training) // config.batch_size
    steps = steps_an_epoch * config.epochs
    history: list[dict[str, float]] = []
    print(f"{len(training):,} train pairs, {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    for epoch in range(1, config.epochs + 1):
        clock = time.monotonic()
        tokens = tokenize(tokenizer, captions.sample(generator))
        order = torch.randperm(len(training))[: steps_an_epoch * config.batch_size]
        first_step = steps_an_epoch * (epoch - 1)
        losses = [step_on(batch, tokens, first_step + i) for i, batch in enumerate(order.split(config.batch_size))]
        speed = len(order) / (time.monotonic() - clock)
        line = f"epoch {epoch}/{config.epochs}  loss {np.mean(losses):.3f}  {speed:.0f} pairs/s"
        if epoch % config.validate_every == 0 or epoch == config.epochs:
            measures = validation_measures(*embed(model, validation, validation_tokens))
            minutes = (time.monotonic() - started) / 60
            history.append({"epoch": epoch, "minutes": minutes, "loss": float(np.mean(losses)), **measures})
            record = {"settings": settings_record(config), "train_pairs": len(training), "history": history}
            model.logit_scale.data.fill_(math.log(logit_scale(config, (first_step + steps_an_epoch) / steps)))
            save_encoder(model, tokenizer, architecture, record, config.output)
            line += "  " + "  ".join(f"{name} {value:.3f}" for name, value in measures.items())
        print(line, flush=True)


if __name__ == "__main__":
    train(tyro.cli(EncoderTrainingConfig, description=__doc__))
