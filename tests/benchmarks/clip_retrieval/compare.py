"""Whether clip-retrieval and isoenergy embedded the same pairs to the same directions.

Pairs that one of them lacks are counted. Random weights give all pairs nearly the same direction, so the cosine of a
pair's two embeddings is shown beside the mean cosine between different pairs.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tyro

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """Compare the two outputs of the same tars."""

    store: tyro.conf.Positional[Path]
    """Of `isoenergy embed`."""
    clip_retrieval: tyro.conf.Positional[Path]
    """Of `run.py`; its keys lack the tar's name, so they must not repeat between tars."""


def main(outputs: Outputs) -> None:
    ours = pq.read_table(outputs.store / "shards", columns=["key", "caption", "image", "text"])
    theirs = pq.read_table(outputs.clip_retrieval / "metadata")
    our_keys = [key.rpartition("/")[2] for key in ours["key"].to_pylist()]
    their_keys = theirs["image_path"].to_pylist()
    places = {key: row for row, key in enumerate(our_keys)}
    common = [(places[key], row) for row, key in enumerate(their_keys) if key in places]
    mine, other = (np.array(rows) for rows in zip(*common, strict=True))
    result: dict = {
        "pairs": len(common),
        "only_in_store": len(our_keys) - len(common),
        "only_in_clip_retrieval": len(their_keys) - len(common),
        "clip_retrieval_in_input_order": their_keys == sorted(their_keys),
        "captions_equal": ours["caption"].take(mine).to_pylist() == theirs["caption"].take(other).to_pylist(),
    }
    for kind, name in (("image", "img_emb"), ("text", "text_emb")):
        vectors = ours[kind].combine_chunks().flatten().to_numpy().reshape(len(our_keys), -1)
        files = sorted((outputs.clip_retrieval / name).glob("*.npy"))
        cosines = _unit(vectors[mine]) @ _unit(np.concatenate([np.load(file) for file in files])[other]).T
        own = cosines.diagonal().copy()
        mean_to_another = float((cosines.sum() - own.sum()) / (cosines.size - len(own)))
        np.fill_diagonal(cosines, -1)
        result[kind] = {
            "least_cosine": float(own.min()),
            "mean_cosine_to_another": mean_to_another,
            "nearest_is_its_own": float((own >= cosines.max(axis=1)).mean()),
        }
    print(json.dumps(result, indent=2))


def _unit(rows: npt.NDArray[np.float16]) -> Rows:
    exact = rows.astype(np.float32)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)


if __name__ == "__main__":
    main(tyro.cli(Outputs))
