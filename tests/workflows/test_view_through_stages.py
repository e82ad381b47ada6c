"""What is done with a view of vectors comes to what is done with a copy of them, bit by bit."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from isoenergy.store import EmbeddingStore
from isoenergy.store.vector_sources import open_vectors
from isoenergy.training.trainer import TrainingConfig
from tests.benchmarks.planted_store import planted_pairs
from tests.evaluation.evaluations import evaluated, run_steps_here
from workflows import apply, train
from workflows.applying.applying_engines import ApplyingHere
from workflows.settings.apply_settings import ApplyConfig
from workflows.train import TrainConfig
from workflows.training.training_here import TrainingHere
from workflows.training.vector_stores import VectorCopy

PAIRS, DIM, FILES = 900, 16, 3
TRAINING = TrainingConfig(beta=(1e-3,), expansion=2, k=3, epochs=2, batch_pairs=64)


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Arrays of two modalities, each in three files."""
    for name, rows in zip(("img_emb", "text_emb"), planted_pairs(PAIRS, DIM, 0), strict=True):
        (tmp_path / "theirs" / name).mkdir(parents=True)
        for number, part in enumerate(np.split(rows, FILES)):
            np.save(tmp_path / f"theirs/{name}/{name}_{number}.npy", part)
    return str(tmp_path / "theirs")


@pytest.mark.parametrize("residence", ["memory", "stream"])
def test_training_and_applying(residence: Any, source: str, tmp_path: Path) -> None:
    files = open_vectors(source)
    copy = VectorCopy(files, str(tmp_path / "copy")).run()
    weights, written = [], []
    for name, store in (("view", source), ("copied", copy.uri)):  # the first of which `train` makes itself
        output = str(tmp_path / name)
        config = TrainConfig(store=store, output=output, training=TRAINING, residence=residence)
        (sae,) = train.run(config, engine=TrainingHere())
        weights.append(load_file(f"{sae}/sae.safetensors"))
        given = f"{output}/store" if store == source else store
        assert bool(EmbeddingStore.open(given).manifest.view_of) == (store == source)
        made = apply.run(ApplyConfig(sae, given, f"{output}/out", "codes,bimodal"), engine=ApplyingHere())
        written.append([made.read_unit(record.unit) for record in made.commits])
    assert weights[0].keys() == weights[1].keys()
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert written[0] == written[1]
    assert sum(map(len, written[0])) == PAIRS


def test_evaluating(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_steps_here(monkeypatch)
    files, measures = open_vectors(source), []
    for name, some in (("copy", files), ("view", files.viewed())):
        store = VectorCopy(some, str(tmp_path / name)).run()
        config = TrainConfig(store=store.uri, output=str(tmp_path / f"{name}-saes"), training=TRAINING)
        (sae,) = train.run(config, engine=TrainingHere())
        found = evaluated(Path(store.uri), [Path(sae)], tmp_path / f"{name}-evaluation", fit_pairs=300, queries=50)
        text = json.dumps([found["original"], found["saes"][0]["results"]], sort_keys=True)
        measures.append(re.sub(r"steps/[^\"]*", "", text))  # folders are called after the stores
    assert measures[0] == measures[1]
