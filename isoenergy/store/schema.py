"""The columns of shards and of rejected files."""

from collections.abc import Mapping

import pyarrow as pa

from isoenergy.store.manifest import StoredDtype

REJECTED = pa.schema(
    [("key", pa.string()), ("file", pa.string()), ("row", pa.int64()), ("reason", pa.string()), ("detail", pa.string())]
)
OWN_COLUMNS = ("key", "row", "split", "caption")
"""Of a shard, beside the embeddings."""
_OWN = (*OWN_COLUMNS, "image", "text", "reason", "detail", "file")


def shard_schema(dim: int, dtype: StoredDtype, passed_through: pa.Schema) -> pa.Schema:
    """Return the schema of a shard: `row` is the row in the input file, `image` and `text` the raw embeddings."""
    return vectors_schema({"image": dim, "text": dim}, dtype, passed_through)


def vectors_schema(widths: Mapping[str, int], dtype: StoredDtype, passed_through: pa.Schema) -> pa.Schema:
    """Return the schema of a shard with a column of embeddings for each modality."""
    number = pa.float16() if dtype == "float16" else pa.float32()
    own = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        *(pa.field(name, pa.list_(number, width), nullable=False) for name, width in widths.items()),
    ]
    return pa.schema(own + [field.with_name(stored_name(field.name)) for field in passed_through])


def stored_name(column: str) -> str:
    """Return the name under which a source's extra column is stored: its own, unless the store needs that."""
    return f"source_{column}" if column in _OWN or "/" in column else column
