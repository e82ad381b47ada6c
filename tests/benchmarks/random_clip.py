"""A CLIP with random weights: as fast as a trained one, and no download."""

from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
import tyro
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file

from isoenergy.encoders.open_clip_encoder import CONFIG_FILE, WEIGHTS_FILE


@dataclass(frozen=True)
class RandomClip:
    """Write a CLIP with random weights as a folder that open_clip loads."""

    folder: tyro.conf.Positional[Path]
    arch: str = "ViT-B-32"
    """An architecture that open_clip knows, with CLIP's own tokenizer."""
    seed: int = 0


def make_open_clip_folder(folder: Path, arch: str = "ViT-B-32", seed: int = 0) -> Path:
    """Write `open_clip_config.json` and `open_clip_model.safetensors` with weights drawn from `seed`.

    Returns the weights' file, which `open_clip.create_model(arch, pretrained=file)` loads as well.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.create_model(arch, pretrained=None, pretrained_text=False)
    folder.mkdir(parents=True, exist_ok=True)
    save_config_for_hf(model, folder / CONFIG_FILE, open_clip.get_model_config(arch))
    save_file(model.state_dict(), folder / WEIGHTS_FILE)
    return folder / WEIGHTS_FILE


if __name__ == "__main__":
    asked = tyro.cli(RandomClip)
    print(make_open_clip_folder(asked.folder, asked.arch, asked.seed))
