"""An encoder of the user's own, from a module that the user names."""

from importlib import import_module
from typing import Any

import torch

from isoenergy.encoders.dual_encoder import DualEncoder, Precision, Preprocessor
from isoenergy.errors import InputError, in_brief


def load_encoder(
    source: str, alias: str | None, device: torch.device, precision: Precision, compile: bool
) -> DualEncoder:
    """Return what the module's `load_encoder` returns.

    Raises InputError if the module cannot be imported or returns anything but the encoder of this name.
    """
    del alias
    encoder: DualEncoder = _module(source).load_encoder(device, precision, compile)
    _require(encoder, DualEncoder, source)
    if encoder.name != f"python:{source}":
        raise InputError(
            f"the encoder of module {source} must be named 'python:{source}', it is named {encoder.name!r}"
        )
    return encoder


def load_preprocessor(source: str, alias: str | None) -> Preprocessor:
    """Return what the module's `load_preprocessor` returns; raises as `load_encoder` does."""
    del alias
    preprocessor: Preprocessor = _module(source).load_preprocessor()
    _require(preprocessor, Preprocessor, source)
    return preprocessor


def _module(name: str) -> Any:
    try:
        module = import_module(name)
    except Exception as error:
        raise InputError(
            f"module {name} cannot be imported ({in_brief(error)}); it must be on PYTHONPATH on every machine"
        ) from error
    for function in ("load_encoder", "load_preprocessor"):
        if not callable(getattr(module, function, None)):
            raise InputError(f"module {name} has no function {function}; see isoenergy.encoders.dual_encoder")
    return module


def _require(thing: object, protocol: type, module: str) -> None:
    if not isinstance(thing, protocol):
        raise InputError(
            f"module {module} returned a {type(thing).__name__}, which is no {protocol.__name__}; "
            f"see isoenergy.encoders.dual_encoder"
        )
