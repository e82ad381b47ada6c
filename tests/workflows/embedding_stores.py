"""Small runs of `isoenergy embed`, and what is looked at in their stores."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from isoenergy.store import EmbeddingStore

ENCODER, SMALL_ENCODER = "python:tests.workflows.pixel_encoder", "python:tests.workflows.small_pixel_encoder"


def settings_of(folder: Path) -> dict:
    """From `pairs` to `store`, both below `folder`."""
    return {
        "output": str(folder / "store"),
        "pairs": str(folder / "pairs"),
        "encoder": ENCODER,
        "rows_per_unit": 50,
        "batch_rows": 20,
    }


def keys(store: EmbeddingStore) -> list[str]:
    return sorted(store.to_arrays().keys.tolist())


def keys_of(rows: list[dict]) -> list[str]:
    return sorted(row["key"] for row in rows)


def times(store: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path(store).glob("*/*")}


def spoil_a_train_pair(store: Path) -> str:
    """Make one image embedding NaN, and the commit record agree; return the shard's name."""
    path = sorted((store / "shards").glob("*.parquet"))[0]
    table = pq.read_table(path)
    row = table["split"].to_pylist().index("train")
    rows = table["image"].to_pylist()
    rows[row][0] = float("nan")
    column = pa.array(rows, table.schema.field("image").type)
    table = table.set_column(table.schema.get_field_index("image"), table.schema.field("image"), column)
    pq.write_table(table, path, compression="zstd")
    for record in (store / "commits").glob("*.json"):
        values = json.loads(record.read_text())
        if values["shard"] == path.name:
            data = path.read_bytes()
            values |= {"shard_sha256": hashlib.sha256(data).hexdigest(), "shard_bytes": len(data)}
            record.write_text(json.dumps(values))
    return path.name
