"""Small dual encoders with random weights, in the formats of real ones."""

import json
from itertools import islice
from pathlib import Path

import pyarrow.parquet as pq
import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipTokenizer,
)

from isoenergy.bundled import BUNDLED_PAIRS

WIDTH, HEADS, LAYERS, DIM, IMAGE, PATCH, CONTEXT, VOCABULARY = 64, 2, 2, 48, 64, 16, 77, 49408


def captions(count: int) -> list[str]:
    table = pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet"))[0], columns=["caption"])
    return list(islice((caption.as_py() for caption in table["caption"]), count))


def save_clip_both_ways(open_clip_folder: Path, transformers_folder: Path, quick_gelu: bool) -> None:
    """Write one CLIP in open_clip's format and in transformers'."""
    from open_clip.model import CLIP  # some seconds, which few tests are about

    tower = {"width": WIDTH, "layers": LAYERS}
    config = {
        "embed_dim": DIM,
        "quick_gelu": quick_gelu,
        "vision_cfg": {**tower, "image_size": IMAGE, "patch_size": PATCH, "head_width": WIDTH // HEADS},
        "text_cfg": {**tower, "context_length": CONTEXT, "vocab_size": VOCABULARY, "heads": HEADS},
    }
    torch.manual_seed(0)
    model = CLIP(**config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # biases of 0 and gains of 1 would hide a tensor that is put in another's place
                parameter.add_(0.2 * torch.randn(parameter.shape))
            elif "mlp" in name or "attn" in name:
                parameter.mul_(3)
    open_clip_folder.mkdir()
    (open_clip_folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": {"size": IMAGE, "interpolation": "bicubic"}})
    )
    save_file(model.state_dict(), open_clip_folder / "open_clip_model.safetensors")

    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "hidden_act": "quick_gelu" if quick_gelu else "gelu",
    }
    converted = CLIPModel(
        CLIPConfig(
            text_config={**tower, "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "eos_token_id": 49407},
            vision_config={**tower, "image_size": IMAGE, "patch_size": PATCH},
            projection_dim=DIM,
        )
    )
    converted.load_state_dict(_to_transformers(model.state_dict()))
    converted.save_pretrained(transformers_folder)
    clip_tokenizer().save_pretrained(transformers_folder)
    CLIPImageProcessor(size={"shortest_edge": IMAGE}, crop_size=IMAGE).save_pretrained(transformers_folder)


def _to_transformers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    converted = {
        "logit_scale": weights["logit_scale"],
        "visual_projection.weight": weights["visual.proj"].T,
        "text_projection.weight": weights["text_projection"].T,
        "vision_model.embeddings.class_embedding": weights["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": weights["visual.positional_embedding"],
        "text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for tower, theirs in (("visual.transformer", "vision_model"), ("transformer", "text_model")):
        for layer in range(LAYERS):
            ours, to = f"{tower}.resblocks.{layer}", f"{theirs}.encoder.layers.{layer}"
            norms |= {f"{ours}.ln_1": f"{to}.layer_norm1", f"{ours}.ln_2": f"{to}.layer_norm2"}
            norms |= {f"{ours}.mlp.c_fc": f"{to}.mlp.fc1", f"{ours}.mlp.c_proj": f"{to}.mlp.fc2"}
            norms |= {f"{ours}.attn.out_proj": f"{to}.self_attn.out_proj"}
            for kind in ("weight", "bias"):
                parts = weights[f"{ours}.attn.in_proj_{kind}"].chunk(3)
                for letter, part in zip("qkv", parts, strict=True):
                    converted[f"{to}.self_attn.{letter}_proj.{kind}"] = part
    for ours, to in norms.items():
        converted |= {f"{to}.{kind}": weights[f"{ours}.{kind}"] for kind in ("weight", "bias")}
    return converted


def clip_tokenizer() -> CLIPTokenizer:
    """Return CLIP's tokenizer, with the vocabulary that comes with open_clip."""
    from open_clip import SimpleTokenizer

    simple = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in simple.encoder.items()}
    return CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks), model_max_length=CONTEXT)


def save_siglip(folder: Path) -> None:
    """Write a SigLIP with a sentencepiece tokenizer, as google's first generation has it."""
    _save_siglip_model(folder, vocabulary=500)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([caption.lower() for caption in captions(1000)]),
        model_prefix=str(folder / "spiece"),
        vocab_size=500,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"]).save_pretrained(folder)


def save_siglip2(folder: Path) -> None:
    """Write a SigLIP with a Gemma tokenizer and its settings, as google's second generation has it."""
    _save_siglip_model(folder, vocabulary=700)
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.train_from_iterator(captions(1000), trainers.BpeTrainer(vocab_size=700, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "GemmaTokenizer",
        "add_bos_token": False,
        "add_eos_token": True,
        "do_lower_case": True,
        "padding_side": "right",
        "model_max_length": 10**30,
        "model_input_names": ["input_ids"],
        **{f"{name[1:-1]}_token": name for name in special},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _save_siglip_model(folder: Path, vocabulary: int) -> None:
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = SiglipConfig(
        text_config={**tower, "vocab_size": vocabulary, "max_position_embeddings": 64, "projection_size": 32},
        vision_config={**tower, "image_size": IMAGE, "patch_size": PATCH},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": IMAGE, "width": IMAGE}).save_pretrained(folder)
