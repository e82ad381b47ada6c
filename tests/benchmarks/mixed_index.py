"""One index of images and captions, asked with captions: before the gap is closed, and after, in several ways.

`python -m tests.benchmarks.mixed_index FOLDER` embeds three parts of the bundled pairs, trains an SAE-A on
the train split, applies it to all pairs and asks FAISS as docs/applying.md does, by the page's own code.
"""

import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

import isoenergy
from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.encoders import load_encoder
from tests.evaluation.evaluations import write_pairs
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere
from workflows.settings.apply_settings import ApplyConfig

WAYS = ("original", "centred", "bimodal", "less_unimodal")
PAGE = Path(__file__).parents[2] / "docs" / "applying.md"
FILES, TEST_PAIRS, BATCH = 3, 2000, 64


def embedded() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the bundled pairs, by the bundled encoder."""
    encoder = load_encoder("bundled")
    images, texts = [], []
    for file in sorted(BUNDLED_PAIRS.glob("pairs-*.parquet"))[:FILES]:
        table = pq.read_table(file)
        for start in range(0, len(table), BATCH):
            rows = table.slice(start, BATCH)
            pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in rows["image"].to_pylist()]
            images.append(encoder.encode_images(pictures).numpy())
            texts.append(encoder.encode_texts(rows["caption"].to_pylist()).numpy())
    return np.concatenate(images), np.concatenate(texts)


def main(folder: Path) -> None:
    images, texts = embedded()
    train = len(images) - TEST_PAIRS
    settings: dict[str, Any] = {"k": 16, "expansion": 2, "beta": 1e-3, "bias_atoms": "means", "learning_rate": 1e-3}
    fit = isoenergy.fit(images[:train], texts[:train], epochs=30, batch_pairs=256, **settings)
    fit.sae.save(folder / "sae")
    store = write_pairs(folder / "store", images, texts, rows_a_unit=1000, train=train)
    config = ApplyConfig(
        str(folder / "sae"), str(store), str(folder / "out"), write=",".join(WAYS), layouts="npy", dtype="float32"
    )
    apply.run(config, engine=ApplyingHere())
    (recipe,) = re.findall(r"```python\n(import faiss.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"Path": Path}
    exec(recipe.replace("PLACE", str(folder / "out")), names)
    print(f"{len(images)} pairs; of a caption's ten nearest: images; its own image among them")
    for way in WAYS:
        shares = names["mixed_retrieval"](way)
        print(f"{way:16} {shares[0]:6.1%} {shares[1]:6.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
