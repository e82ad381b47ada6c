"""overcomplete's state dicts, a file each: Matching Pursuit, TopK and BatchTopK. Seen with 0.3.0.

`dictionary._weights` times `exp(dictionary.multiplier)`, and of an encoder `encoder.final_block.0`. What the file does
not say is told: `overcomplete:FILE?kind=mp&k=20`. The paper's own code trains with this library.
"""

from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.layouts.tensor_files import read_tensors
from isoenergy.sae.layouts.weights import ForeignWeights, Scores, input_of, part, weights_of
from isoenergy.settings.numbers import finite_number, whole_number
from isoenergy.sparse_encoders import BatchTopK, MatchingPursuit, SparseEncoder, TopK

_KINDS: dict[str, SparseEncoder] = {"mp": MatchingPursuit(), "top-k": TopK(), "batch-top-k": BatchTopK()}
_LAYER = "encoder.final_block.0"
_NORM = "encoder.final_block.1"
_EPSILON = 1e-5  # of torch's BatchNorm1d


def read(source: ForeignSource, temporary: Path) -> ForeignWeights:
    """Return the autoencoder; raises InputError if kind or k are not told, or its encoder has more than one layer."""
    source.require_options("kind", "k", "threshold", "input")
    kind, k = source.options.get("kind"), source.options.get("k", "")
    if kind not in _KINDS or not k.isdecimal():
        name = "k" if kind in _KINDS else "kind"
        told = f"{name} is {source.options[name]!r}" if name in source.options else f"{name} is not given"
        raise InputError(
            f"{source} does not say what it is: add ?kind=KIND&k=K, where KIND is one of {', '.join(_KINDS)} and K how "
            f"many atoms a row has; {told}"
        )
    if kind != "batch-top-k":
        source.require_options("kind", "k", "input", kind=kind)
    folder, _, name = source.uri.rpartition("/")
    beside = ForeignSource(source.layout, folder or ".", source.options)
    tensors = read_tensors(beside.files((name,), temporary) / name)
    dictionary = part(tensors, "dictionary._weights", None, None)
    if "dictionary.multiplier" in tensors:
        dictionary = dictionary * part(tensors, "dictionary.multiplier").exp()
    scores = None if kind == "mp" else _scores(tensors, *dictionary.shape)
    rounds = whole_number("k", int(k), 1)
    if rounds > len(dictionary):
        raise InputError(f"k must be at most its {len(dictionary):,} atoms, got {k}")
    return weights_of(_KINDS[kind], rounds, dictionary, None, input_of(source), scores, _threshold(source))


def _threshold(source: ForeignSource) -> Tensor | None:
    told: float | str | None = source.options.get("threshold")
    if told is None:
        return None
    with suppress(ValueError):
        told = float(told)
    return torch.tensor(finite_number("threshold", told))


def _scores(tensors: dict[str, Tensor], atoms: int, dim: int) -> Scores:
    if deeper := [name for name in tensors if name.startswith("encoder.mlp_blocks")]:
        raise InputError(f"its encoder must be one linear layer, and has {deeper[0]} before it")
    scores = Scores(part(tensors, f"{_LAYER}.weight", atoms, dim), part(tensors, f"{_LAYER}.bias", atoms), True)
    if f"{_NORM}.running_var" not in tensors:
        return scores
    scale = part(tensors, f"{_NORM}.weight", atoms)
    scale = scale / (part(tensors, f"{_NORM}.running_var", atoms) + _EPSILON).sqrt()
    shift = part(tensors, f"{_NORM}.bias", atoms) - part(tensors, f"{_NORM}.running_mean", atoms) * scale
    folded = scores.rescaled(scale)
    return Scores(folded.weight, folded.bias + shift, True)
