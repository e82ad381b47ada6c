"""A row that cannot be embedded, through the whole of `isoenergy embed`, in one process and on Ray."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from isoenergy.store import EmbeddingStore
from isoenergy.store.verification import faults
from tests.pairs.made_up_pairs import encoded_image
from workflows import embed
from workflows.embed import EmbedConfig
from workflows.extraction.extraction_engines import ExtractionEngine, Here


def test_a_poisoned_row_runs_through_and_costs_nothing_else(tmp_path: Path, settings: dict) -> None:
    embed_and_look(tmp_path, settings, Here())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_poisoned_row_runs_through_ray_too(tmp_path: Path, settings: dict) -> None:
    embed_and_look(tmp_path, settings, None)


def embed_and_look(tmp_path: Path, settings: dict, engine: ExtractionEngine | None) -> None:
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    (pairs / "0.jpg").write_bytes(encoded_image("JPEG"))
    row = {"file_name": "0.jpg", "text": "a picture", "": 1, "source_row": 2, "row": 3}
    rows = [json.dumps(row)] * 9
    rows[4] = '"lone \\ud800 string"'
    (pairs / "metadata.jsonl").write_text("\n".join(rows))
    (store,) = embed.run(EmbedConfig(**settings), engine=engine)
    assert isinstance(store, EmbeddingStore)
    assert (store.rows_in, len(store), store.rejected) == (9, 8, {"unreadable_row": 1})
    (record,) = store.commits
    assert faults(store, record) == []
    rejected = pq.read_table(Path(store.uri) / "rejected" / record.shard)
    assert rejected["detail"].to_pylist() == ["line 5: not a JSON object (lone \\ud800 string)"]
