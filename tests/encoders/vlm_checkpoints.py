"""Small generative vision-language models: random weights, processors and tokenizers, in the formats of real ones."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    GemmaConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
)

from tests.encoders.checkpoints import captions

WIDTH, LAYERS, IMAGE, PATCH = 64, 3, 56, 14
KINDS = ("llava", "qwen2-vl", "qwen2.5-vl", "paligemma")
_WORDS = 600
_PADDING = {"llava": "left", "qwen2-vl": "left", "qwen2.5-vl": "right", "paligemma": "right"}
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)
_TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_vlm(kind: str, folder: Path) -> None:
    """Write the model, its processor and its tokenizer; kind: one of `KINDS`."""
    torch.manual_seed(0)
    _MAKERS[kind](folder)


def _tokenizer(kind: str, special: list[str], bos: str | None, image: str) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=_WORDS, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(captions(300), trainer)
    if bos:
        template = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, special.index(bos))])
        tokenizer.post_processor = template
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token="</s>",
        pad_token="<pad>",
        padding_side=_PADDING[kind],
        extra_special_tokens={"image_token": image},
        model_max_length=2048,
    )


def _save(model: PreTrainedModel, folder: Path) -> None:
    """Write weights whose gains and biases are not those that a missing tensor would have."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape) if parameter.ndim == 1 else 2 * parameter)
    model.save_pretrained(folder)


def _save_llava(folder: Path) -> None:
    tokenizer = _tokenizer("llava", ["<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>"], "<s>", "<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_TOWER, image_size=IMAGE, patch_size=PATCH),
        text_config=LlamaConfig(**_TEXT, vocab_size=len(tokenizer) + 8, pad_token_id=0),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(LlavaForConditionalGeneration(config), folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": IMAGE}, crop_size=IMAGE),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT.replace("IMAGE", "<image>"),
    ).save_pretrained(folder)


def _save_qwen(kind: str, folder: Path) -> None:
    image, video = "<|image_pad|>", "<|video_pad|>"
    edges = ["<|vision_start|>", "<|vision_end|>"]
    special = ["<pad>", "</s>", *edges, image, video, "<|im_start|>", "<|im_end|>"]
    tokenizer = _tokenizer(kind, special, None, image)
    ids = dict(
        zip(
            ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id"),
            tokenizer.convert_tokens_to_ids([*edges, image, video]),
            strict=True,
        )
    )
    text = {
        **_TEXT,
        "vocab_size": len(tokenizer),
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
    }
    if kind == "qwen2-vl":
        vision = {"depth": 2, "embed_dim": 32, "num_heads": 2, "hidden_size": WIDTH, "patch_size": PATCH}
        model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **ids))
    else:
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": WIDTH}
        vision |= {"patch_size": PATCH, "fullatt_block_indexes": [1]}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))
    _save(model, folder)
    processor = Qwen2VLProcessor if kind == "qwen2-vl" else Qwen2_5_VLProcessor
    sizes = {"shortest_edge": 28 * 28 * 2, "longest_edge": 28 * 28 * 12}
    processor(
        Qwen2VLImageProcessor(size=sizes),
        tokenizer,
        Qwen2VLVideoProcessor(size=sizes),
        chat_template=_CHAT.replace("IMAGE", f"{edges[0]}{image}{edges[1]}"),
    ).save_pretrained(folder)


def _save_paligemma(folder: Path) -> None:
    tokenizer = _tokenizer("paligemma", ["<pad>", "<bos>", "</s>", "<image>"], "<bos>", "<image>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    places = (IMAGE // PATCH) ** 2
    image_processor = SiglipImageProcessor(size={"height": IMAGE, "width": IMAGE})
    image_processor.image_seq_length = places
    processor = PaliGemmaProcessor(image_processor, tokenizer)
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(**_TOWER, image_size=IMAGE, patch_size=PATCH, num_image_tokens=places),
        text_config=GemmaConfig(**_TEXT, vocab_size=len(tokenizer) + 8, head_dim=16, pad_token_id=0),
        image_token_id=processor.image_token_id,
        projection_dim=WIDTH,
        hidden_size=WIDTH,
    )
    _save(PaliGemmaForConditionalGeneration(config), folder)
    processor.save_pretrained(folder)


_MAKERS = {
    "llava": _save_llava,
    "qwen2-vl": lambda folder: _save_qwen("qwen2-vl", folder),
    "qwen2.5-vl": lambda folder: _save_qwen("qwen2.5-vl", folder),
    "paligemma": _save_paligemma,
}
