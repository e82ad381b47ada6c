"""Write paired vectors of three widths: two layers of the bundled encoder's image tower, and its text tower.

    python -m isoenergy.bundled.layers vectors.parquet

Columns: key, split and caption of the bundled pairs; `vision_2` and `vision_4`, the image tower's second and last stage
averaged over places; `text`, the text embedding.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from PIL import Image
from torch import Tensor, nn

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.encoders import load_encoder
from isoenergy.encoders.torch_encoder import TorchEncoder

STAGES = ("2", "4")
_PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class LayersConfig:
    """Write the bundled pairs' vectors at two layers of the image tower, and their texts', as Parquet."""

    output: Annotated[Path, tyro.conf.Positional]
    """Parquet file to write."""


def run(config: LayersConfig) -> None:
    """Encode all bundled pairs."""
    encoder = load_encoder("bundled")
    assert isinstance(encoder, TorchEncoder)
    seen: dict[str, Tensor] = {}

    def keep(stage: str) -> None:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            seen[f"vision_{stage}"] = output.mean(dim=(2, 3))

        encoder.model.get_submodule(f"visual.layer{stage}").register_forward_hook(hook)

    for stage in STAGES:
        keep(stage)
    table = pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet")), columns=["key", "split", "image", "caption"])
    parts = []
    for batch in table.to_batches(_PAIRS_AT_ONCE):
        encoder.encode_images([Image.open(io.BytesIO(image)) for image in batch["image"].to_pylist()])
        vectors = {**seen, "text": encoder.encode_texts(batch["caption"].to_pylist())}
        columns = {name: batch[name] for name in ("key", "split", "caption")}
        lists = {
            name: pa.FixedSizeListArray.from_arrays(rows.flatten().numpy(), rows.shape[1])
            for name, rows in vectors.items()
        }
        parts.append(pa.table({**columns, **lists}))
    pq.write_table(pa.concat_tables(parts), config.output)


if __name__ == "__main__":
    run(tyro.cli(LayersConfig, prog="python -m isoenergy.bundled.layers"))
