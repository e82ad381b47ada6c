"""Train a small LLaVA to caption the bundled pairs: `python -m isoenergy.bundled.making.train_vlm FOLDER`.

It is for trying layers of a generative model where none can be downloaded, and knows what a few minutes have taught
it. Every other batch is captions without their images, as a language model has read texts alone before it sees.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import torch
import tyro
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from tqdm import tqdm
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from isoenergy.bundled import BUNDLED_PAIRS

IMAGE_SIZE, PATCH, WIDTH, BLOCKS, WORDS, CAPTION_TOKENS = 48, 8, 96, 4, 2000, 24
PAD, START, END, IMAGE = "<pad>", "<s>", "</s>", "<image>"
IGNORED = -100
_REPORT_EVERY = 100
_IMAGES_AT_ONCE = 128


@dataclass(frozen=True)
class VlmTrainingConfig:
    """How the small model is trained."""

    output: Annotated[Path, tyro.conf.Positional]
    """Folder to write."""
    pairs: int | None = None
    """How many of the train split's pairs; default: all."""
    steps: int = 800
    """Batches; every other one has no images."""
    batch_size: int = 64
    """Pairs a batch."""
    learning_rate: float = 2e-3
    """Peak of AdamW's, after a tenth of the steps and before a decay to zero."""
    seed: int = 0
    """Of the weights and the order."""


def run(config: VlmTrainingConfig) -> float:
    """Train on the train split; write the model with its processor; return the last mean loss, in nats a token."""
    torch.manual_seed(config.seed)
    rows = pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet")), columns=["split", "image", "caption"]).to_pylist()
    rows = [row for row in rows if row["split"] == "train"][: config.pairs]
    processor = _processor([row["caption"] for row in rows])
    starts = tqdm(range(0, len(rows), _IMAGES_AT_ONCE), "images", leave=False)
    pixels = torch.cat([_pixels(processor, rows[start : start + _IMAGES_AT_ONCE]) for start in starts])
    ids = _sequences(processor, [row["caption"] for row in rows])
    model = LlavaForConditionalGeneration(_config(processor)).train()
    loss = _train(model, pixels, ids, config)
    config.output.mkdir(parents=True, exist_ok=True)
    model.eval().save_pretrained(config.output)
    processor.save_pretrained(config.output)
    return loss


def _processor(captions: list[str]) -> LlavaProcessor:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, START, END, IMAGE]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        padding_side="right",
        extra_special_tokens={"image_token": IMAGE},
    )
    images = CLIPImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, do_center_crop=False)
    strategy = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return LlavaProcessor(images, fast, patch_size=PATCH, **strategy)


def _pixels(processor: LlavaProcessor, rows: list[dict[str, Any]]) -> Tensor:
    images = [Image.open(io.BytesIO(row["image"])).convert("RGB") for row in rows]
    pixels: Tensor = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    return pixels.half()


def _config(processor: LlavaProcessor) -> LlavaConfig:
    shape: dict[str, Any] = {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4}
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**shape, num_hidden_layers=2, image_size=IMAGE_SIZE, patch_size=PATCH),
        text_config=LlamaConfig(
            **shape, num_hidden_layers=BLOCKS, vocab_size=WORDS, max_position_embeddings=256, pad_token_id=0
        ),
        image_token_index=processor.image_token_id,
        vision_feature_layer=-1,
    )


def _sequences(processor: LlavaProcessor, captions: list[str]) -> Tensor:
    """Return `(captions, tokens)`: start, caption, end, padding."""
    texts = [caption + END for caption in captions]
    length = {"padding": "max_length", "truncation": True, "max_length": CAPTION_TOKENS}
    ids: Tensor = processor.tokenizer(texts, **length, return_tensors="pt")["input_ids"]
    return ids


def _train(model: LlavaForConditionalGeneration, pixels: Tensor, ids: Tensor, config: VlmTrainingConfig) -> float:
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, config.steps, pct_start=0.1)
    places = torch.full((config.batch_size, (IMAGE_SIZE // PATCH) ** 2), model.config.image_token_id)
    order, losses = np.random.default_rng(config.seed), []
    bar = tqdm(range(config.steps), "train")
    for step in bar:
        chosen = torch.from_numpy(order.integers(len(ids), size=config.batch_size))
        given = {"input_ids": ids[chosen]}
        if step % 2:
            start, caption = ids[chosen].split([1, CAPTION_TOKENS - 1], dim=1)
            given = {"input_ids": torch.cat([start, places, caption], dim=1), "pixel_values": pixels[chosen].float()}
        unread = (given["input_ids"] == model.config.image_token_id) | (given["input_ids"] == 0)
        loss = model(**given, labels=given["input_ids"].masked_fill(unread, IGNORED)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % _REPORT_EVERY == 0:
            bar.set_postfix_str(f"loss {np.mean(losses[-_REPORT_EVERY:]):.3f}")
    return float(np.mean(losses[-_REPORT_EVERY:]))


if __name__ == "__main__":
    print(f"{run(tyro.cli(VlmTrainingConfig)):.3f} nats a token")
