"""Stores with columns and known structure, the tasks on them, and what these find."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from isoenergy import SparseAutoencoder
from isoenergy.pairs.source import PairUnit
from isoenergy.pairs.splits import Split
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.schema import REJECTED, shard_schema
from tests.evaluation.evaluations import keys_of
from tests.store.small_store import FILES, MANIFEST
from tests.workflows.pixel_encoder import load_encoder
from workflows.evaluate import EvaluateConfig
from workflows.evaluation.evaluation_graph import EvaluationGraph
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.evaluation.task_config import TasksConfig
from workflows.evaluation.task_graph import TaskSteps
from workflows.steps import step_plan

ENCODER = load_encoder(torch.device("cpu"), "float32", False)
DIM = ENCODER.dim
CONCEPTS, STYLES = 10, 4
PLANTED = SaeConfig(dim=DIM, atoms=DIM, k=3, beta=0.5)
"""Its atoms are the axes: concepts, then styles, then what all texts have."""


def letter(axis: int) -> str:
    """The text that `ENCODER` puts on one axis."""
    return chr(3 * DIM + axis)


def write_columns(
    folder: Path, parts: Mapping[Split, tuple[np.ndarray, np.ndarray]], columns: Mapping[Split, Mapping[str, Sequence]]
) -> Path:
    """Write a store of `(n, DIM)` pairs by split, a unit each, as if `ENCODER` had made it, with further columns."""
    writer = StoreWriter(str(folder))
    writer.begin(
        replace(
            MANIFEST,
            encoder=ENCODER.name,
            encoder_digest=ENCODER.digest,
            preprocessing=ENCODER.preprocessor.describe(),
            dim=DIM,
            dtype="float32",
            units=len(parts),
            source=str(folder / "gone"),
        ),
        FILES,
    )
    start = 0
    for split, (images, texts) in parts.items():
        keys = list(islice(keys_of(split), len(images)))
        extra = pa.table(dict(columns[split]))
        own = {
            "key": keys,
            "row": list(range(start, start + len(keys))),
            "split": [split] * len(keys),
            "caption": keys,
            "image": pa.FixedSizeListArray.from_arrays(images.astype(np.float32).ravel(), DIM),
            "text": pa.FixedSizeListArray.from_arrays(texts.astype(np.float32).ravel(), DIM),
        }
        schema = shard_schema(DIM, "float32", extra.schema)
        shard = pa.table({**own, **{name: extra[name] for name in extra.schema.names}}, schema=schema)
        unit = PairUnit("pairs.parquet", start, start + len(keys))
        writer.commit(unit, "digest", shard, REJECTED.empty_table())
        start += len(keys)
    return folder


def planted(pairs: int, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, list]]:
    """Images of a concept in a style, texts of the concept alone and of what all texts have; and their columns."""
    generator = np.random.default_rng(seed)
    concept, style = generator.integers(CONCEPTS, size=pairs), generator.integers(STYLES, size=pairs)
    axes = np.eye(DIM)
    images = axes[concept] + 0.8 * axes[CONCEPTS + style] + 0.4 * axes[-2] + 0.01 * generator.random((pairs, DIM))
    texts = axes[concept] + 0.9 * axes[-1] + 0.01 * generator.random((pairs, DIM))
    columns = {"concept": [letter(n) for n in concept], "style": [letter(CONCEPTS + n) for n in style]}
    return (images, texts), columns


def write_planted(folder: Path) -> Path:
    both = {split: planted(pairs, seed) for seed, (split, pairs) in enumerate({"train": 400, "test": 200}.items())}
    parts = {split: rows for split, (rows, _) in both.items()}
    return write_columns(folder, parts, {split: columns for split, (_, columns) in both.items()})  # type: ignore[arg-type]


def write_planted_sae(folder: Path) -> Path:
    sae = SparseAutoencoder(PLANTED)
    sae.dictionary.data = torch.eye(DIM)
    sae.save(folder)
    return folder


def measured(store: Path, sae: Path, tasks: TasksConfig, root: Path) -> dict[str, dict[str, Any]]:
    """Run the tasks' steps in this process, and return what each found, by name."""
    opened, saes = EmbeddingStore.open(str(store)), {str(sae): SparseAutoencoder.load(sae)}
    config = EvaluateConfig(str(store), tuple(saes))
    pairs = MeasuredPairs.of(opened, "test", config.draw, config.fit_pairs, config.part_pairs)
    planned = TaskSteps(tasks, opened, "test", 0, EvaluationGraph(pairs, saes))
    step_plan.run_here(step_plan.plan(planned.targets, root), root)
    return {task["name"]: task for task in planned.results({str(sae): "sae"}, str(root))}


def values(task: Mapping[str, Any], sae: str | None, embeddings: str, group: str | None = None) -> dict[str, float]:
    """The measures of one row."""
    (row,) = (
        row
        for row in task["rows"]
        if row["sae"] == sae and row["embeddings"] == embeddings and row.get("group") == group
    )
    for interval in row["values"].values():
        known = {name: number for name, number in interval.items() if not np.isnan(number)}
        assert list(known) in ([], ["value"], ["value", "low", "high"])
        assert len(known) < 3 or known["low"] <= known["value"] <= known["high"]
    return {name: interval["value"] for name, interval in row["values"].items()}
