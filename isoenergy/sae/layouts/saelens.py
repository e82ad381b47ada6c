"""SAELens: `cfg.json` and `sae_weights.safetensors`, as its version 6 writes them; version 5 is read too.

Theirs are `W_dec` `(atoms, dim)`, `W_enc` `(dim, atoms)`, `b_enc`, `b_dec`, and of a JumpReLU `threshold`. A BatchTopK
is saved as a JumpReLU with one threshold. Seen with SAELens 6.54.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.layouts.weights import ForeignWeights, Scores, input_of, part, weights_of
from isoenergy.sae.sae_config import Input, SaeConfig
from isoenergy.sae.weights_file import make_folder
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, ReLU, SparseEncoder, TopK

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"
_ARCHITECTURES = ("matching_pursuit", "topk", "jumprelu", "standard")
_OURS = "isoenergy"
_VERSION = "6.54.12"
_THEIR_TOLERANCE = 1e-2
_PURSUIT, _RESCALED = "matching_pursuit", "constant_norm_rescale"


def read(source: ForeignSource, temporary: Path) -> ForeignWeights:
    """Return the autoencoder; raises InputError for what has no counterpart here, by name."""
    source.require_options("input")
    folder = source.files((CONFIG_FILE, WEIGHTS_FILE), temporary)
    config = _of_version_6(json.loads((folder / CONFIG_FILE).read_text()))
    tensors = load_file(folder / WEIGHTS_FILE)
    ours = config.get("metadata", {}).get(_OURS)
    if ours is not None and "input" not in source.options:
        known = SaeConfig.from_dict(ours)
        if _is_as_written(known, config, tensors):
            return _back(known, tensors)
    if "input" in source.options and config.get("normalize_activations") == _RESCALED and input_of(source) == "raw":
        raise InputError(f"it brings rows to one norm itself ({_RESCALED}), and input=raw says otherwise; leave it out")
    return _foreign(config, tensors, input_of(source))


def write(config: SaeConfig, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Write an autoencoder of ours; SAELens is to be given rows as `prepare` returns them, plus its decoder bias.

    tensors: its state. Raises InputError for a pursuit by absolute correlations, which SAELens does not have, and for a
    BatchTopK without a threshold.
    """
    dictionary = tensors["dictionary"]
    weights = {"W_dec": dictionary, "b_dec": tensors.get("decoder_bias", torch.zeros(config.dim))}
    if "encoder.weight" in tensors:
        weights |= {"W_enc": tensors["encoder.weight"].T, "b_enc": tensors["encoder.bias"]}
    their_config = _their_config(config)
    if isinstance(config.sparse_encoder, JumpReLU):
        weights["threshold"] = tensors["encoder.log_threshold"].exp()
    elif isinstance(config.sparse_encoder, BatchTopK):
        threshold = tensors["encoder.threshold"].float()
        if threshold < 0:
            raise InputError("batch-top-k has no threshold yet: train it first, or calibrate it")
        # theirs takes what is above it, ours what is not below
        weights["threshold"] = torch.nextafter(threshold, torch.tensor(-1.0)).expand(config.atoms)
    their_config |= {"dtype": "float32", "device": "cpu"}
    their_config["metadata"] = {"sae_lens_version": _VERSION, _OURS: asdict(config)}
    make_folder(folder)
    own = {name: tensor.detach().cpu().float().contiguous().clone() for name, tensor in weights.items()}
    save_file(own, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(their_config, indent=2) + "\n")


def _is_as_written(known: SaeConfig, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    """Return whether nothing that we wrote beside our own settings was changed since."""
    same = all(config.get(name) == value for name, value in _their_config(known).items())
    return same and (known.decoder_bias or not tensors.get("b_dec", torch.zeros(1)).any())


def _their_config(config: SaeConfig) -> dict[str, Any]:
    architecture, settings = _settings(config)
    return {
        "architecture": architecture,
        "d_in": config.dim,
        "d_sae": config.atoms,
        "apply_b_dec_to_input": config.decoder_bias,
        "normalize_activations": "none",
        "reshape_activations": "none",
        **settings,
    }


def _settings(config: SaeConfig) -> tuple[str, dict[str, Any]]:
    encoder = config.sparse_encoder
    if isinstance(encoder, MatchingPursuit):
        if encoder.selection == "absolute":
            raise InputError("SAELens takes no atoms of negative correlation, and this pursuit does; it stays here")
        return _PURSUIT, {
            "max_iterations": config.k,
            "residual_threshold": encoder.tolerance,
            "stop_on_duplicate_support": encoder.repeats == "end",
        }
    if isinstance(encoder, TopK):
        return "topk", {"k": config.k, "rescale_acts_by_decoder_norm": False}
    return ("standard" if isinstance(encoder, ReLU) else "jumprelu"), {}


def _back(config: SaeConfig, tensors: dict[str, Tensor]) -> ForeignWeights:
    """Return what `write` wrote, as it was; the modalities' means of a centred one are not in these files."""
    if config.input == "centred":
        raise InputError(
            "its rows are centred by means that SAELens's files do not hold; read what `save` wrote, or add "
            "?input=raw, and give it rows from which the means were subtracted"
        )
    dictionary = part(tensors, "W_dec", config.atoms, config.dim)
    found = {"dictionary": dictionary}
    if config.decoder_bias:
        found["decoder_bias"] = part(tensors, "b_dec", config.dim)
    encoder = config.sparse_encoder
    if not isinstance(encoder, MatchingPursuit):
        found["encoder.weight"] = part(tensors, "W_enc", config.dim, config.atoms).T.contiguous()
        found["encoder.bias"] = part(tensors, "b_enc", config.atoms)
    if isinstance(encoder, JumpReLU):
        found["encoder.log_threshold"] = part(tensors, "threshold", config.atoms).log()
    elif isinstance(encoder, BatchTopK):
        below = part(tensors, "threshold", config.atoms)[0]
        found["encoder.threshold"] = torch.nextafter(below, torch.tensor(torch.inf))
    return ForeignWeights(config, found)


def _foreign(config: Mapping[str, Any], tensors: dict[str, Tensor], taken: Input) -> ForeignWeights:
    architecture = config.get("architecture")
    if architecture not in _ARCHITECTURES:
        raise InputError(f"its architecture must be {', '.join(_ARCHITECTURES)}, got {architecture!r}")
    if config.get("reshape_activations", "none") != "none" or config.get("finetuning_scaling_factor"):
        raise InputError("it reshapes activations or rescales them after tuning, which is not supported")
    dictionary = part(tensors, "W_dec", config.get("d_sae"), config.get("d_in"))
    atoms, dim = dictionary.shape
    bias = part(tensors, "b_dec", dim)
    normalisation = config.get("normalize_activations", "none")
    scale = 1.0
    if normalisation == _RESCALED:  # rows of norm √dim: ours have norm 1
        taken, scale = "normalised", sqrt(dim)
    elif normalisation != "none":
        raise InputError(
            f"it normalises activations by {normalisation}, whose numbers are not in the files; save it from SAELens "
            f"with that folded in"
        )
    subtracts = bool(config.get("apply_b_dec_to_input", True))
    if architecture == _PURSUIT:
        # the bias is decoded only if it is subtracted; a coefficient is as large as the rows are
        encoder, rounds = _pursuit(config, scale, dim)
        return weights_of(encoder, rounds, dictionary, bias / scale if subtracts else None, taken)
    scores = Scores(part(tensors, "W_enc", dim, atoms).T * scale, part(tensors, "b_enc", atoms), subtracts)
    threshold = part(tensors, "threshold", atoms) if architecture == "jumprelu" else None
    if config.get("rescale_acts_by_decoder_norm", False):
        norms = dictionary.norm(dim=1)
        dictionary, scores = dictionary / norms[:, None], scores.rescaled(norms)
    encoders: dict[str, SparseEncoder] = {"topk": TopK(), "jumprelu": JumpReLU(), "standard": ReLU()}
    rounds = int(config["k"]) if architecture == "topk" else None
    return weights_of(encoders[architecture], rounds, dictionary / scale, bias / scale, taken, scores, threshold)


def _pursuit(config: Mapping[str, Any], scale: float, dim: int) -> tuple[MatchingPursuit, int | None]:
    encoder = MatchingPursuit(
        selection="non-negative",
        tolerance=float(config.get("residual_threshold", _THEIR_TOLERANCE)) / scale,
        repeats="end" if config.get("stop_on_duplicate_support", True) else "go-on",
    )
    rounds = config.get("max_iterations")
    return encoder, dim if rounds is None else int(rounds)


def _of_version_6(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration as version 6 has it: before, the activation function told a TopK from a ReLU."""
    if not isinstance(config, dict):
        raise InputError(f"{CONFIG_FILE} must hold an object, got {type(config).__name__}")
    activation = config.get("activation_fn_str", config.get("activation_fn"))
    config.setdefault("architecture", "standard")
    if activation == "topk":
        return {**config, "architecture": "topk", "k": (config.get("activation_fn_kwargs") or {})["k"]}
    if activation not in (None, "relu"):
        raise InputError(f"its activation function must be relu or topk, got {activation!r}")
    return config
