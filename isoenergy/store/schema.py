"""The columns of shards and of rejected files."""

from collections.abc import Collection, Mapping, Sequence
from itertools import count

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
    names = stored_names(passed_through.names, widths)
    return pa.schema(own + [field.with_name(name) for field, name in zip(passed_through, names, strict=True)])


def stored_names(columns: Sequence[str], vectors: Collection[str] = ()) -> list[str]:
    """Return the names under which a source's extra columns are stored, each once.

    A column keeps its name unless the store needs that or it has none; then it is `source_NAME`, and with a number
    behind it where there is such a column already.
    vectors: the names of the columns of embeddings.
    """
    kept = {*vectors, *filter(_may_stay, columns)}
    names = []
    for column in columns:
        name = column
        if not _may_stay(column):
            wanted = f"source_{column or 'unnamed'}"
            free = (wanted if number == 1 else f"{wanted}_{number}" for number in count(1))
            name = next(name for name in free if name not in kept)
            kept.add(name)
        names.append(name)
    return names


def _may_stay(column: str) -> bool:
    return column != "" and column not in _OWN and "/" not in column
