"""SAEs of other libraries, evaluated beside ours."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from isoenergy import SparseAutoencoder
from isoenergy.sae.calibration import lacks_threshold
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import TopK
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae

DIM, ATOMS, K = 8, 16, 4
SMALL: dict[str, Any] = {"sample": 60, "in_batches": 60, "queries": 40}


def test_they_come_to_what_ours_come_to(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, texts = shifted_pairs(300, DIM)
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    store = write_pairs(tmp_path / "store", images, texts, train=200)
    ours = SparseAutoencoder.load(write_sae(tmp_path / "ours", SaeConfig(DIM, ATOMS, K, 0.0, sparse_encoder=TopK())))
    ours.save(tmp_path / "theirs", layout="saelens")
    config = json.loads((tmp_path / "theirs" / "cfg.json").read_text())
    (tmp_path / "theirs" / "cfg.json").write_text(json.dumps(config | {"metadata": {"sae_lens_version": "6.54"}}))
    layer = {f"encoder.final_block.0.{name}": ours.state_dict()[f"encoder.{name}"] for name in ("weight", "bias")}
    save_file({"dictionary._weights": ours.dictionary.clone(), **layer}, tmp_path / "batch.safetensors")

    saelens = f"saelens:{tmp_path / 'theirs'}?input=normalised"
    overcomplete = f"overcomplete:{tmp_path / 'batch.safetensors'}?kind=batch-top-k&k={K}&input=normalised"
    with caplog.at_level(logging.WARNING):
        found = evaluated(store, [tmp_path / "ours", saelens, overcomplete], tmp_path / "out", **SMALL)  # type: ignore[list-item]

    by_name = {sae["name"]: sae for sae in found["saes"]}
    mine, theirs, batch = by_name.values()
    assert theirs["name"].startswith("saelens-theirs-")
    for group in ("geometry", "bridges", "retrieval"):
        np.testing.assert_allclose(*(leaves(sae["results"][group]) for sae in (mine, theirs)), atol=1e-5)
    assert batch["config"]["sparse_encoder"] == {"name": "batch-top-k"}
    assert "its files have no threshold" in caplog.text
    copy = SparseAutoencoder.load(tmp_path / "out" / "saes" / batch["name"])
    assert not lacks_threshold(copy)
    train = copy.prepare(torch.from_numpy(np.concatenate([images[:200], texts[:200]])), "image")
    assert float((copy.encode(train).values != 0).sum(dim=1).float().mean()) == pytest.approx(K, rel=0.01)


def leaves(value: Any) -> list[float]:
    """All numbers in nested results, in order."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in leaves(part)]
    if isinstance(value, list):
        return [number for part in value for number in leaves(part)]
    return [float(value)] if isinstance(value, int | float) else []
