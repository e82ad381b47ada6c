"""dictionary_learning: `config.json`, which names the class, and `ae.pt`, read as tensors alone. Seen with 0.1.0.

Linear layers hold the decoder transposed, `(dim, atoms)`.
"""

import json
from pathlib import Path

from torch import Tensor

from isoenergy.errors import InputError
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.layouts.tensor_files import read_tensors
from isoenergy.sae.layouts.weights import ForeignWeights, Scores, input_of, part, weights_of
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, ReLU, SparseEncoder, TopK

CONFIG_FILE, WEIGHTS_FILE = "config.json", "ae.pt"
_LINEAR: dict[str, SparseEncoder] = {
    "AutoEncoder": ReLU(),
    "AutoEncoderNew": ReLU(),
    "AutoEncoderTopK": TopK(),
    "BatchTopKSAE": BatchTopK(),
}
_MATRICES: dict[str, SparseEncoder] = {"MatryoshkaBatchTopKSAE": BatchTopK(), "JumpReluAutoEncoder": JumpReLU()}


def read(source: ForeignSource, temporary: Path) -> ForeignWeights:
    """Return the autoencoder; raises InputError for another class, and for one whose files disagree."""
    source.require_options("input")
    folder = source.files((CONFIG_FILE, WEIGHTS_FILE), temporary)
    trainer = json.loads((folder / CONFIG_FILE).read_text()).get("trainer", {})
    name = trainer.get("dict_class")
    if name not in _LINEAR | _MATRICES:
        raise InputError(f"dict_class must be {', '.join(_LINEAR | _MATRICES)}, got {name!r}")
    tensors = read_tensors(folder / WEIGHTS_FILE)
    encoder = (_LINEAR | _MATRICES)[name]
    k = int(trainer["k"]) if isinstance(encoder, TopK | BatchTopK) else None
    dictionary, bias, scores = _linear(name, tensors) if name in _LINEAR else _matrices(name, tensors)
    threshold = tensors.get("threshold") if isinstance(encoder, BatchTopK | JumpReLU) else None
    if isinstance(encoder, BatchTopK) and threshold is not None and threshold < 0:
        threshold = None  # it was saved before its threshold was started
    return weights_of(encoder, k, dictionary, bias, input_of(source), scores, threshold)


def _linear(name: str, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor, Scores]:
    weight = part(tensors, "encoder.weight", None, None)
    atoms, dim = weight.shape
    dictionary = part(tensors, "decoder.weight", dim, atoms).T
    bias = part(tensors, {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(name, "b_dec"), dim)
    scores = Scores(weight, part(tensors, "encoder.bias", atoms), subtracts_bias=name != "AutoEncoderNew")
    if name == "AutoEncoder":  # its library rescales atoms to norm 1 when it loads one
        norms = dictionary.norm(dim=1)
        dictionary, scores = dictionary / norms[:, None], scores.rescaled(norms)
    return dictionary, bias, scores


def _matrices(name: str, tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor, Scores]:
    dictionary = part(tensors, "W_dec", None, None)
    atoms, dim = dictionary.shape
    scores = Scores(
        part(tensors, "W_enc", dim, atoms).T,
        part(tensors, "b_enc", atoms),
        subtracts_bias=name == "MatryoshkaBatchTopKSAE",
    )
    return dictionary, part(tensors, "b_dec", dim), scores
