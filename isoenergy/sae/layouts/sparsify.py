"""EleutherAI's sparsify: `cfg.json` and `sae.safetensors`; a TopK that subtracts its bias. Seen with 1.3.3."""

import json
from pathlib import Path

from safetensors.torch import load_file

from isoenergy.errors import InputError
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.layouts.weights import ForeignWeights, Scores, input_of, part, weights_of
from isoenergy.sparse_encoders import TopK

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae.safetensors"


def read(source: ForeignSource, temporary: Path) -> ForeignWeights:
    """Return the autoencoder; raises InputError for a transcoder, a skip connection, or groups of atoms."""
    source.require_options("input")
    folder = source.files((CONFIG_FILE, WEIGHTS_FILE), temporary)
    config = json.loads((folder / CONFIG_FILE).read_text())
    others = {name: config.get(name) for name in ("transcode", "skip_connection") if config.get(name)}
    if config.get("activation", "topk") != "topk":
        others["activation"] = config["activation"]
    if others:
        said = " and ".join(f"{name} {json.dumps(value)}" for name, value in others.items())
        raise InputError(f"it must be a TopK autoencoder, and {CONFIG_FILE} says {said}")
    tensors = load_file(folder / WEIGHTS_FILE)
    dictionary = part(tensors, "W_dec", None, None)
    atoms, dim = dictionary.shape
    scores = Scores(part(tensors, "encoder.weight", atoms, dim), part(tensors, "encoder.bias", atoms), True)
    return weights_of(TopK(), int(config["k"]), dictionary, part(tensors, "b_dec", dim), input_of(source), scores)
