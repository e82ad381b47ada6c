"""The bridges to SAELens, overcomplete, dictionary_learning and sparsify, with these libraries themselves."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.sae.calibration import calibrate, lacks_threshold
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, ReLU, SparseEncoder, TopK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
DIM, ATOMS, K = 24, 96, 6
CLOSE = 1e-4
"""Largest difference of a coefficient; those that it is about are of size 1 to 20."""


@pytest.fixture(scope="session")
def peers_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the libraries, which sees this one's torch; they keep to themselves."""
    folder = tmp_path_factory.mktemp("peers")
    venv.create(folder, with_pip=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (folder / "lib" / version / "site-packages" / "base.pth").write_text(sysconfig.get_paths()["purelib"])
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "-q", "--no-deps", "-r", HERE / "peers.txt"]
    subprocess.run(command, check=True, timeout=900)
    return python


def peers(python: Path, command: str, folder: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "agg"}
    done = subprocess.run(
        [python, HERE / "peers.py", command, folder],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **offline},
    )
    assert done.returncode == 0, done.stderr


def agreement(codes: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The share of rows whose codes have the same atoms and close coefficients, and the largest difference in those."""
    differences = np.abs(codes - theirs).max(axis=1)
    same = ((codes != 0) == (theirs != 0)).all(axis=1) & (differences < CLOSE)
    return float(same.mean()), float(differences[same].max(initial=0.0))


def test_theirs_have_the_same_codes_here(peers_python: Path, tmp_path: Path) -> None:
    peers(peers_python, "make", tmp_path)
    found = {}
    for file in sorted(tmp_path.glob("*.npz")):
        theirs = np.load(file)
        sae = SparseAutoencoder.load(json.loads(file.with_suffix(".json").read_text())["place"])
        rows = torch.from_numpy(theirs["rows"])
        if lacks_threshold(sae):
            calibrate(sae, sae.prepare(rows, "image"))
        codes = sae.encode(rows, "image")
        rebuilt = sae.restore(sae.decode(codes), "image").numpy()
        scale = np.sqrt(DIM) / np.linalg.norm(theirs["rows"], axis=1, keepdims=True)
        norm, pursuit = file.stem.endswith("-norm"), "pursuit" in file.stem
        dense = codes.to_dense(ATOMS).numpy() * (np.sqrt(DIM) if norm and pursuit else 1)
        found[file.stem] = agreement(dense, theirs["codes"])
        expected = theirs["rebuilt"] * scale / np.sqrt(DIM) if norm else theirs["rebuilt"]
        np.testing.assert_allclose(rebuilt, expected, atol=1e-3)
    print("\n".join(f"{name:40} {share:7.2%} {most:.1e}" for name, (share, most) in found.items()))
    assert len(found) == 10 + 4 + 6 + 1
    assert {name: share for name, (share, _) in found.items() if share < 1} == {}


OURS: dict[str, SparseEncoder] = {
    "matching-pursuit": MatchingPursuit(),
    "matching-pursuit-with-rules": MatchingPursuit("non-negative", 0.3, "end"),
    "top-k": TopK(),
    "batch-top-k": BatchTopK(),
    "jump-relu": JumpReLU(),
    "relu": ReLU(),
}


def test_ours_have_the_same_codes_in_saelens(peers_python: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(400, DIM, generator=generator)
    mine = {}
    for name, encoder in OURS.items():
        sae = SparseAutoencoder(SaeConfig(DIM, ATOMS, K, 0.0, sparse_encoder=encoder), generator).eval()
        prepared = sae.prepare(rows, "text")
        if lacks_threshold(sae):
            calibrate(sae, prepared)
        sae.save(tmp_path / name, layout="saelens")
        np.save(tmp_path / name / "rows.npy", prepared.numpy())
        with torch.no_grad():
            codes = sae.encode(prepared)
            mine[name] = codes.to_dense(ATOMS).numpy(), sae.decode(codes).numpy()
    peers(peers_python, "load", tmp_path)
    found = {}
    for name, (codes, rebuilt) in mine.items():
        theirs = np.load(tmp_path / f"{name}.npz")
        found[name] = agreement(codes, theirs["codes"])
        np.testing.assert_allclose(rebuilt, theirs["rebuilt"], atol=1e-5)
    print("\n".join(f"{name:40} {share:7.2%} {most:.1e}" for name, (share, most) in found.items()))
    assert {name: share for name, (share, _) in found.items() if share < 1} == {}
