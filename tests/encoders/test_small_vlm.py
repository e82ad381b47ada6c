from pathlib import Path

import torch
from PIL import Image

from isoenergy.bundled.making.train_vlm import BLOCKS, WIDTH, VlmTrainingConfig, run
from isoenergy.encoders import load_encoders


def test_the_small_model_learns_and_its_layers_can_be_read(tmp_path: Path) -> None:
    first = run(VlmTrainingConfig(tmp_path / "first", pairs=16, steps=1, batch_size=8))
    last = run(VlmTrainingConfig(tmp_path / "model", pairs=16, steps=12, batch_size=8))
    assert last < first  # the mean over all its steps
    encoders = load_encoders([f"vlm:{tmp_path / 'model'}@{layer}" for layer in range(BLOCKS + 1)])
    for encoder in encoders:
        rows = encoder.encode_images([Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")])
        assert rows.shape == (2, WIDTH)
        assert not torch.equal(*rows)
    assert len({encoder.digest for encoder in encoders}) == 1
