"""From raw rows to a shard, in three plain functions: prepare (CPU), embed (accelerator), separate (writer).

Every row that goes in comes out, embedded or with the reason why not.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from isoenergy.encoders import DualEncoder, Preprocessor
from isoenergy.encoders.dual_encoder import LayerEncoder, Pixels, Tokens, is_layer
from isoenergy.encoders.whole_images import gathered
from isoenergy.extraction.preprocessing import preprocessed
from isoenergy.extraction.token_rows import Rows, TokenRows, are_finite, coupled, lists, row_a_token
from isoenergy.pairs.decoding import decode_caption, decode_key
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import PairUnit, RawPairs
from isoenergy.pairs.splits import split_of_pair
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store.manifest import StoredDtype
from isoenergy.store.schema import REJECTED, shard_schema, stored_names

if TYPE_CHECKING:
    from torch import Tensor

PIXELS = "pixels/"
_REPEATED = "the key stands earlier in the source; --columns.key none takes file and row for keys that are the images'"
_VERDICT = ("reason", "detail")


def prepare(
    raw: RawPairs, duplicates: Collection[int], preprocessors: Mapping[str, Preprocessor], reading: ImageReading
) -> pa.Table:
    """Decode raw pairs: key and caption to text, the image, once, to the pixels that each encoder wants.

    duplicates: numbers of the pairs whose key stands earlier in the source.
    preprocessors: by the name of the column that gets their output, which starts with `PIXELS`.
    reading: how images are read.
    Returns the pass-through columns and `row`, `key`, `caption`, a column a preprocessor (bytes of a uint8
    `(height, width, 3)` array), and `reason` and `detail`, null but for rejected pairs.
    """
    prepared: dict[str, list[Any]] = {name: [] for name in ("row", "key", "caption", *_VERDICT, *preprocessors)}
    pairs = zip(raw.rows, raw.keys, raw.captions, raw.images, raw.rejections, strict=True)
    for row, raw_key, raw_caption, raw_image, rejection in pairs:
        key = caption = reason = detail = None
        pixels: list[bytes | None] = [None] * len(preprocessors)
        try:
            if raw_key is None and rejection is not None:
                raise rejection
            key = decode_key(raw_key)
            if rejection is not None:
                raise rejection
            if row in duplicates:
                raise Rejected(Reason.DUPLICATE_KEY, _REPEATED)
            caption = decode_caption(raw_caption)
            pixels = [each.tobytes() for each in preprocessed(raw_image, preprocessors.values(), reading)]
        except Exception as error:  # whatever a row raises is its own
            rejected = error if isinstance(error, Rejected) else _unexpected(error)
            reason, detail = str(rejected.reason), rejected.detail
        for name, value in zip(prepared, (row, key, caption, reason, detail, *pixels), strict=True):
            prepared[name].append(value)
    types = {"row": pa.int64()} | dict.fromkeys(preprocessors, pa.large_binary())
    columns = {name: pa.array(values, types.get(name, pa.string())) for name, values in prepared.items()}
    stored = raw.passed_through.rename_columns(stored_names(raw.passed_through.schema.names))
    return pa.table(columns | dict(zip(stored.schema.names, stored.columns, strict=True)))


def _unexpected(error: Exception) -> Rejected:
    return Rejected(Reason.UNEXPECTED_ERROR, f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class EncoderInputs:
    """What an encoder takes of a batch: of the pairs that are not rejected, in their order."""

    pixels: Pixels
    """`(n, height, width, 3)`."""
    tokens: Tokens

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int) -> Self:
        """Return those of the first pairs."""
        return type(self)(self.pixels[:count], tuple(part[:count] for part in self.tokens))


def encoder_inputs(prepared: pa.Table, pixels: str, encoder: DualEncoder) -> EncoderInputs:
    """Take the pixels out of their column and tokenise the captions."""
    chosen = prepared.filter(prepared["reason"].is_null())
    column = chosen[pixels].combine_chunks()
    _, offsets, data = column.buffers()
    shape = encoder.preprocessor.shape
    if not len(column):
        return EncoderInputs(np.zeros((0, *(shape or ())), np.uint8), ())
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    if shape is None:
        images = gathered([np.frombuffer(data, np.uint8)[start:stop] for start, stop in pairwise(ends)], shape)
    else:
        images = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].reshape(len(column), *shape).copy()
    return EncoderInputs(images, encoder.tokenise(chosen["caption"].to_pylist()))


def taken_by(prepared: pa.Table, pixels: str, encoder: DualEncoder) -> tuple[pa.Table, EncoderInputs]:
    """Return the pairs and their `encoder_inputs`; a caption that the tokeniser fails on is its pair's rejection."""
    try:
        return prepared, encoder_inputs(prepared, pixels, encoder)
    except Exception:  # a tokeniser may be anybody's
        prepared = _without_untokenised(prepared, encoder)
        return prepared, encoder_inputs(prepared, pixels, encoder)


def _without_untokenised(prepared: pa.Table, encoder: DualEncoder) -> pa.Table:
    verdicts: dict[str, list[str | None]] = {name: prepared[name].to_pylist() for name in _VERDICT}
    for row, caption in enumerate(prepared["caption"].to_pylist()):
        if verdicts["reason"][row] is None:
            try:
                encoder.tokenise([caption])
            except Exception as error:
                rejected = error if isinstance(error, Rejected) else _unexpected(error)
                verdicts["reason"][row], verdicts["detail"][row] = str(rejected.reason), rejected.detail
    for name, values in verdicts.items():
        prepared = prepared.set_column(prepared.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return prepared


def embed(prepared: pa.Table, pixels: str, encoder: DualEncoder, dtype: StoredDtype) -> pa.Table:
    """Return `with_embeddings` of what `encoder` makes of the column `pixels` and the captions."""
    prepared, inputs = taken_by(prepared, pixels, encoder)
    return with_embeddings(prepared, *encode(encoder, inputs, dtype))


def encode(encoder: DualEncoder, inputs: EncoderInputs, dtype: StoredDtype) -> tuple[Rows, Rows]:
    """Return the raw image and text embeddings in `dtype`; what is beyond it becomes infinite."""
    (rows,) = encode_together([encoder], inputs, dtype)
    return rows


def read_together(encoders: Sequence[DualEncoder]) -> list[list[int]]:
    """Return the numbers of the encoders that one pass serves: the layers of one model, and each other one alone."""
    passes: dict[int, list[int]] = {}
    for number, encoder in enumerate(encoders):
        model = encoder.reader if is_layer(encoder) else encoder
        passes.setdefault(id(model), []).append(number)
    return list(passes.values())


def encode_together(
    encoders: Sequence[DualEncoder], inputs: EncoderInputs, dtype: StoredDtype
) -> list[tuple[Rows, Rows]]:
    """Return what `encode` does, of encoders that one pass serves."""
    layers = [encoder for encoder in encoders if is_layer(encoder)]
    if not layers:
        return [_encoded(encoder, inputs, dtype) for encoder in encoders]
    reader, numbers = layers[0].reader, [encoder.layer for encoder in layers]
    images = reader.read_pixels(inputs.pixels, numbers) if len(inputs) else {}
    texts = reader.read_tokens(inputs.tokens, numbers) if len(inputs) else {}
    return [
        (_of_layer(it, images.get(it.layer, ()), dtype), _of_layer(it, texts.get(it.layer, ()), dtype)) for it in layers
    ]


def _encoded(encoder: DualEncoder, inputs: EncoderInputs, dtype: StoredDtype) -> tuple[np.ndarray, np.ndarray]:
    if not len(inputs):
        return np.zeros((0, encoder.dim), dtype), np.zeros((0, encoder.dim), dtype)
    with np.errstate(over="ignore"):
        images, texts = encoder.encode_pixels(inputs.pixels), encoder.encode_tokens(inputs.tokens)
        return images.numpy().astype(dtype), texts.numpy().astype(dtype)


def _of_layer(encoder: LayerEncoder, found: "Sequence[Tensor]", dtype: StoredDtype) -> Rows:
    with np.errstate(over="ignore"):
        rows = [one.numpy().astype(dtype) for one in found]
    values = np.concatenate([np.zeros((0, encoder.dim), dtype), *rows])
    return TokenRows(values, np.array([len(one) for one in rows], np.int64)) if encoder.tokens else values


def with_embeddings(prepared: pa.Table, images: Rows, texts: Rows) -> pa.Table:
    """Replace all pixels by the columns `image` and `text`, `(dim,)` a row; null where the pair is rejected.

    images, texts: of the pairs not rejected, in their order; of tokens, a pair has a list of rows, as `coupled` makes
    them. A pair with an embedding that is not finite is rejected.
    """
    accepted = np.flatnonzero(prepared["reason"].is_null().to_numpy(zero_copy_only=False))
    finite = are_finite(images) & are_finite(texts)
    if isinstance(images, TokenRows) and isinstance(texts, TokenRows):
        images, texts = coupled(images, texts)
    place = np.full(len(prepared), -1)
    place[accepted[finite]] = np.flatnonzero(finite)
    reason, detail = (prepared[name].to_pylist() for name in _VERDICT)
    for row in accepted[~finite]:
        reason[row], detail[row] = str(Reason.NON_FINITE_EMBEDDING), f"in {images.dtype}"

    all_pixels = [name for name in prepared.schema.names if name.startswith(PIXELS)]
    embedded = prepared.drop_columns([*all_pixels, *_VERDICT])
    for name, rows in (("image", images), ("text", texts)):
        column = lists(rows, place) if isinstance(rows, TokenRows) else _vectors(rows, place)
        embedded = embedded.append_column(name, column)
    for name, values in (("reason", reason), ("detail", detail)):
        embedded = embedded.append_column(name, pa.array(values, pa.string()))
    return embedded


def separate(
    rows: pa.Table, unit: PairUnit, dim: int, dtype: StoredDtype, passed_through: pa.Schema
) -> tuple[pa.Table, pa.Table]:
    """Return the shard and the rejected pairs of a whole unit, each in the order of the input.

    rows: the unit's `embed` outputs, in any order; those of tokens become rows of the shard, keyed pair#number.
    """
    rows = rows.sort_by("row")
    accepted = rows["reason"].is_null()
    shard = rows.filter(accepted)
    shard = shard.append_column(
        "split", pa.array([split_of_pair(key) for key in shard["key"].to_pylist()], pa.string())
    )
    if pa.types.is_list(shard.schema.field("image").type):
        shard = row_a_token(shard)
    schema = shard_schema(dim, dtype, passed_through)
    rejected = rows.filter(pc.invert(accepted))
    rejected = rejected.append_column("file", pa.array([unit.file] * len(rejected), pa.string()))
    return shard.select(schema.names).cast(schema), rejected.select(REJECTED.names).cast(REJECTED)


def _vectors(rows: np.ndarray, place: np.ndarray) -> pa.FixedSizeListArray:
    """Row `place[i]` of `rows` at i, null where it is negative."""
    missing = place < 0
    filled = np.zeros((len(place), rows.shape[1]), rows.dtype)
    filled[~missing] = rows[place[~missing]]
    return pa.FixedSizeListArray.from_arrays(filled.ravel(), rows.shape[1], mask=pa.array(missing))
