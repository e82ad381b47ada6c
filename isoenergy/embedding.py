"""From raw rows to a shard, in three plain functions: prepare (CPU), embed (accelerator), separate (writer).

Every row that goes in comes out, embedded or with the reason why not.
"""

from collections.abc import Callable, Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from isoenergy.encoders import DualEncoder, Preprocessor
from isoenergy.pairs.decoding import decode_caption, decode_image, decode_key
from isoenergy.pairs.parquet import PairUnit
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.splits import split_of
from isoenergy.store.manifest import StoredDtype
from isoenergy.store.schema import REJECTED, shard_schema, stored_name

_VERDICT = ("reason", "detail")


def prepare(
    batch: pa.RecordBatch, unit: PairUnit, first_row: int, duplicates: Collection[int], preprocessor: Preprocessor
) -> pa.Table:
    """Decode raw pairs: key and caption to text, the image to preprocessed pixels.

    batch: `key`, `image`, `caption` as binary, and pass-through columns; its first row is row `first_row` of the file.
    duplicates: rows of the file whose key stands earlier in the source.
    Returns the pass-through columns and `unit`, `row`, `key`, `caption`, `pixels` (bytes of a uint8
    `(height, width, 3)` array), and `reason` and `detail`, null but for rejected rows.
    """
    prepared: dict[str, list] = {name: [] for name in ("row", "key", "caption", "pixels", *_VERDICT)}
    raw = zip(*(batch[name].to_pylist() for name in ("key", "caption", "image")), strict=True)
    for row, (raw_key, raw_caption, raw_image) in enumerate(raw, start=first_row):
        key = caption = pixels = reason = detail = None
        try:
            key = decode_key(raw_key)
            if row in duplicates:
                raise Rejected(Reason.DUPLICATE_KEY, "the key stands earlier in the source")
            caption = decode_caption(raw_caption)
            pixels = preprocessor(decode_image(raw_image)).tobytes()
        except Rejected as rejected:
            reason, detail = str(rejected.reason), rejected.detail
        for name, value in zip(prepared, (row, key, caption, pixels, reason, detail), strict=True):
            prepared[name].append(value)
    types = {"row": pa.int64(), "pixels": pa.binary()}
    columns = {name: pa.array(values, types.get(name, pa.string())) for name, values in prepared.items()}
    passed_through = {
        stored_name(name): batch[name] for name in batch.schema.names if name not in ("key", "caption", "image")
    }
    return pa.table({"unit": pa.array([unit.name] * len(batch), pa.string()), **columns, **passed_through})


def embed(prepared: pa.Table, encoder: DualEncoder, dtype: StoredDtype) -> pa.Table:
    """Replace `pixels` by the `image` and `text` embeddings, raw, `(dim,)` a row; null where the pair is rejected.

    A pair with an embedding that is not finite in `dtype` is rejected.
    """
    accepted = np.flatnonzero(prepared["reason"].is_null().to_numpy(zero_copy_only=False))
    chosen = prepared.take(accepted)
    pixels = np.frombuffer(b"".join(chosen["pixels"].to_pylist()), np.uint8).reshape(-1, *encoder.preprocessor.shape)
    images = _encoded(encoder.encode_pixels, pixels.copy(), encoder.dim, dtype)
    texts = _encoded(encoder.encode_texts, chosen["caption"].to_pylist(), encoder.dim, dtype)

    finite = np.isfinite(images).all(axis=1) & np.isfinite(texts).all(axis=1)
    place = np.full(len(prepared), -1)
    place[accepted[finite]] = np.flatnonzero(finite)
    reason, detail = (prepared[name].to_pylist() for name in _VERDICT)
    for row in accepted[~finite]:
        reason[row], detail[row] = str(Reason.NON_FINITE_EMBEDDING), f"in {dtype}"

    embedded = prepared.drop_columns(["pixels", *_VERDICT])
    for name, rows in (("image", images), ("text", texts)):
        embedded = embedded.append_column(name, _vectors(rows, place))
    for name, values in (("reason", reason), ("detail", detail)):
        embedded = embedded.append_column(name, pa.array(values, pa.string()))
    return embedded


def separate(
    rows: pa.Table, unit: PairUnit, dim: int, dtype: StoredDtype, passed_through: pa.Schema
) -> tuple[pa.Table, pa.Table]:
    """Return the shard and the rejected pairs of a whole unit, each in the order of the input.

    rows: the unit's `embed` outputs, in any order.
    """
    rows = rows.sort_by("row")
    accepted = rows["reason"].is_null()
    shard = rows.filter(accepted)
    shard = shard.append_column("split", pa.array([split_of(key) for key in shard["key"].to_pylist()], pa.string()))
    schema = shard_schema(dim, dtype, passed_through)
    rejected = rows.filter(pc.invert(accepted))
    rejected = rejected.append_column("file", pa.array([unit.file] * len(rejected), pa.string()))
    return shard.select(schema.names).cast(schema), rejected.select(REJECTED.names).cast(REJECTED)


def _encoded(encode: Callable[..., Tensor], inputs: np.ndarray | list[str], dim: int, dtype: StoredDtype) -> np.ndarray:
    if len(inputs) == 0:
        return np.zeros((0, dim), dtype)
    with np.errstate(over="ignore"):
        return encode(inputs).numpy().astype(dtype)


def _vectors(rows: np.ndarray, place: np.ndarray) -> pa.FixedSizeListArray:
    """Row `place[i]` of `rows` at i, null where it is negative."""
    missing = place < 0
    filled = np.zeros((len(place), rows.shape[1]), rows.dtype)
    filled[~missing] = rows[place[~missing]]
    return pa.FixedSizeListArray.from_arrays(filled.ravel(), rows.shape[1], mask=pa.array(missing))
