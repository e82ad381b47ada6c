"""The README's recipes, line by line as they are written, on data that others have made: "What do you have?"

The stages run in this process; their engines are tested elsewhere.
"""

import re
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import isoenergy
from isoenergy.encoders import loading
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore
from tests.benchmarks.planted_store import planted_pairs
from tests.docs.pages import ROOT
from tests.evaluation.evaluations import run_steps_here
from tests.pairs.made_up_pairs import written_rows
from tests.store.given_vectors import write_clip_retrieval
from tests.workflows.embedding_stores import ENCODER, SMALL_ENCODER
from workflows import cli, embed, pipeline, train
from workflows.extraction.extraction_engines import Here
from workflows.training.training_here import TrainingHere

_PART = re.compile(r"^## What do you have\?$(.*?)^## ", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAIRS, DIM = 1200, 16
Run = Callable[[str], None]


@pytest.fixture
def recipes() -> dict[str, str]:
    """Their texts, by what one has."""
    (part,) = _PART.findall((ROOT / "README.md").read_text())
    return dict(zip(("pairs", "embeddings", "SAE"), _BLOCK.findall(part), strict=True))


class _KeptHere(TrainingHere):
    def keeping_workers(self) -> AbstractContextManager[None]:
        return nullcontext()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run each line of a text as a command of its own."""
    monkeypatch.chdir(tmp_path)
    run_steps_here(monkeypatch)
    monkeypatch.setattr(embed, "OnRay", lambda _: Here())
    monkeypatch.setattr(train, "_ray", lambda _: TrainingHere())
    monkeypatch.setattr(pipeline, "RayTraining", lambda _: _KeptHere())

    def commands(text: str) -> None:
        for line in text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "isoenergy"
            monkeypatch.setattr(sys, "argv", ["isoenergy", *arguments])
            cli.main()

    return commands


def test_embeddings_become_a_report(recipes: dict[str, str], run: Run, tmp_path: Path) -> None:
    theirs = write_clip_retrieval(tmp_path / "theirs", [PAIRS // 2, PAIRS // 2])
    for name, rows in zip(("img_emb", "text_emb"), planted_pairs(PAIRS, DIM, 0), strict=True):
        for number, shard in enumerate(np.split(rows, 2)):
            np.save(theirs / name / f"{name}_{number}.npy", shard)
    run(recipes["embeddings"].replace("EMBEDDINGS", str(theirs)))
    assert EmbeddingStore.open("runs/store").manifest.view_of
    assert "picture 7" in Path("runs/evaluation/report.html").read_text()


@pytest.mark.slow
def test_pairs_become_a_report(
    recipes: dict[str, str], run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundled_rows: list[dict]
) -> None:
    written_rows(bundled_rows[:PAIRS], tmp_path / "pairs" / "theirs.parquet")
    # Their weights are on the hub.
    monkeypatch.setattr(loading, "ALIASES", loading.ALIASES | {"clip": ENCODER, "siglip2": SMALL_ENCODER})
    run(recipes["pairs"].replace("PAIRS", str(tmp_path / "pairs")))
    assert Path("runs/mine/report.html").stat().st_size > 100_000
    assert Path("runs/evaluation/evaluation.json").exists()


@pytest.mark.parametrize("layout", ["isoenergy", "saelens"])
def test_an_sae_is_loaded_used_and_handed_on(
    recipes: dict[str, str], layout: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    sae = isoenergy.SparseAutoencoder(SaeConfig(DIM, 2 * DIM, 4, beta=0.0))
    sae.save(tmp_path / "theirs", layout=layout)
    place = f"{tmp_path}/theirs" if layout == "isoenergy" else f"saelens:{tmp_path}/theirs"
    embeddings = planted_pairs(50, DIM, 0)[0]
    names: dict[str, Any] = {"isoenergy": isoenergy, "embeddings": embeddings, "kept": np.arange(2 * DIM) < DIM}
    exec(recipes["SAE"].replace("hf:ORG/NAME", place), names)
    dense = np.zeros((50, 2 * DIM), np.float32)
    np.add.at(dense, (np.arange(50)[:, None], names["codes"].indices), names["codes"].values)
    dictionary = sae.dictionary.detach().numpy()
    np.testing.assert_allclose(names["rebuilt"], (dense * names["kept"]) @ dictionary, atol=1e-5)
    np.testing.assert_array_equal(load_file("folder/sae_weights.safetensors")["W_dec"], dictionary)
