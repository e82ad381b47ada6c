"""Files of tensors by name: safetensors, or torch's own, of which nothing but tensors is read."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from isoenergy.errors import InputError, in_brief


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.safetensors` file, or of what `torch.save` made of a state dict.

    Raises InputError if it holds anything else: nothing is unpickled that could run code.
    """
    if file.suffix == ".safetensors":
        return load_file(file)
    found: Any
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{file.name} cannot be read ({in_brief(error)})") from error
    except Exception:  # the unpickler's refusal, a file that is none: many kinds
        # None of their text, nor their traceback: torch advises to unpickle it all the same.
        raise InputError(
            f"{file.name} holds more than tensors, or is none, and nothing else is read of it, as it may run code; "
            f"save its state dict alone: torch.save(sae.state_dict(), FILE)"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise InputError(f"{file.name} must hold a state dict, tensors by name, got {type(found).__name__}")
    return found
