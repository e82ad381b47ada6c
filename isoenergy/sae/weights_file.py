"""The files of an autoencoder, its weights and its configuration: written, read and checked; nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isoenergy.errors import InputError, one_line
from isoenergy.sae.sae_config import CONFIG_FILE, WEIGHTS_FILE, SaeConfig

UNREADABLE = (OSError, TypeError, ValueError, AttributeError, SafetensorError, RuntimeError, InputError)
"""What reading an autoencoder raises that is none."""
_UNIT_TOLERANCE = 0.01
"""Half precision rounds a norm by up to 1e-3."""


def weights_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        # as bytes: numpy has no bfloat16
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def make_folder(folder: Path) -> None:
    """Make a folder that an autoencoder goes into, if need be; raises InputError for what is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{folder} is a file, or lies in one ({one_line(error)}); give a folder") from error


def save_weights(module: nn.Module, config: SaeConfig, folder: Path) -> None:
    """Write a module's weights and its configuration into `folder`, which is made if need be."""
    make_folder(folder)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n")


def require_shapes(folder: Path, shapes: Mapping[str, list[int]]) -> None:
    """Raise InputError unless the weights have these shapes: before memory for what a config says is asked for."""
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
        for name, expected in shapes.items():
            shape = list(weights.get_slice(name).get_shape())
            if shape != expected:
                raise InputError(f"{WEIGHTS_FILE} has a {name} of {shape}, {CONFIG_FILE} says otherwise")


def load_weights(module: nn.Module, folder: Path) -> None:
    """Give a module on the meta device its weights, float32, ready to be used; `requires_grad_()` to train on.

    Raises InputError if a weight is not finite.
    """
    assign_weights(module, load_file(folder / WEIGHTS_FILE), WEIGHTS_FILE)


def assign_weights(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Do what `load_weights` does with tensors that were read from `where`."""
    module.load_state_dict(tensors, assign=True)
    module.requires_grad_(False)
    module.float().eval()
    for name, tensor in module.state_dict().items():
        if not tensor.isfinite().all():
            raise InputError(f"{name} in {where} has NaN or infinity: its training diverged, or it is damaged")


def require_unit_atoms(dictionary: Tensor, config: SaeConfig) -> None:
    """Raise InputError if atoms that are to have unit norm do not."""
    norms = dictionary.norm(dim=1)
    furthest = int((norms - 1).abs().argmax())
    if config.atom_norm == "unit" and abs(float(norms[furthest]) - 1) > _UNIT_TOLERANCE:
        raise InputError(
            f"atom {furthest} has norm {float(norms[furthest]):.4g}, and {CONFIG_FILE} says atom_norm unit; if its "
            f"atoms are free, write atom_norm free there"
        )


def not_a_checkpoint(uri: str, error: Exception) -> InputError:
    """Return the error to raise for one that reading an autoencoder raised."""
    return InputError(
        f"{uri} is not a checkpoint ({one_line(error)}); expected a folder with {WEIGHTS_FILE} and {CONFIG_FILE}, "
        f"as `isoenergy train` writes"
    )
