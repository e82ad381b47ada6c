"""Image files of a task become the rows that they would have in the store."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.evaluation.tasks.task_inputs import EmbeddedImages, ImagesConfig, StoreEncoder, embed_images
from isoenergy.extraction.preprocessing import preprocessed
from isoenergy.settings.image_choices import AS_SEEN
from tests.pairs.made_up_pairs import encoded_image
from tests.store.small_store import MANIFEST


def test_a_picture_has_the_row_that_embed_makes_of_it(tmp_path: Path) -> None:
    encoder, preprocessor = load_encoder("bundled"), load_preprocessor("bundled")
    made = replace(MANIFEST, encoder="bundled", preprocessing=preprocessor.describe(), dim=encoder.dim)
    pictures = {f"{seed}.jpg": encoded_image("JPEG", (200, 150), seed) for seed in range(3)}
    for name, raw in pictures.items():
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "spoilt.jpg").write_bytes(encoded_image("JPEG")[:300])
    config = ImagesConfig(
        StoreEncoder("", made, encoder.digest, "float32"), str(tmp_path), (*pictures, "spoilt.jpg"), 0, "", AS_SEEN
    )
    told = embed_images(config, {}, tmp_path)
    assert told == {"images": 3, "rejected": 1}
    found = EmbeddedImages.load([tmp_path])
    assert found.rejected == [("spoilt.jpg", "truncated_image")]
    pixels = np.stack([preprocessed(raw, [preprocessor], AS_SEEN)[0] for raw in pictures.values()])
    assert torch.equal(torch.from_numpy(found.rows), encoder.encode_pixels(pixels))
