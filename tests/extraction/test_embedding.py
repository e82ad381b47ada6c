"""Every row that goes in comes out, embedded or with the reason why not."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from isoenergy.encoders import DualEncoder, load_encoder
from isoenergy.extraction.embedding import PIXELS, embed, encode, encoder_inputs, prepare, separate
from isoenergy.pairs.formats.parquet import ParquetPairs
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import PairColumns, RawPairs
from isoenergy.pairs.splits import split_of
from isoenergy.settings.image_choices import AS_SEEN
from isoenergy.store.manifest import StoredDtype
from isoenergy.store.writer import parquet_bytes
from tests.pairs.made_up_pairs import RowsWriter, bad_rows, encoded_image


@pytest.fixture(scope="module")
def encoder(other_encoder: Path) -> DualEncoder:
    return load_encoder(f"open_clip:{other_encoder}")


def embedded(batch: RawPairs, duplicates: Collection[int], encoder: DualEncoder, dtype: StoredDtype) -> pa.Table:
    prepared = prepare(batch, duplicates, {f"{PIXELS}0": encoder.preprocessor}, AS_SEEN)
    return embed(prepared, f"{PIXELS}0", encoder, dtype)


def shard_and_rejected(source: ParquetPairs, encoder: DualEncoder, rows_per_batch: int) -> tuple[pa.Table, pa.Table]:
    (unit,) = source.units(1000)
    duplicates = {len(bad_rows()) - 1}
    rows = [embedded(batch, duplicates, encoder, "float16") for batch in source.read(unit, rows_per_batch)]
    return separate(pa.concat_tables(rows[::-1]), unit, encoder.dim, "float16", source.passed_through)


@pytest.mark.parametrize("rows_per_batch", [1, 5, 100])
def test_each_bad_row_gets_its_reason(
    tmp_path: Path, write_rows: RowsWriter, encoder: DualEncoder, rows_per_batch: int
) -> None:
    rows = bad_rows()
    write_rows(list(rows.values()), tmp_path / "pairs.parquet")
    source = ParquetPairs(str(tmp_path), PairColumns())
    shard, rejected = shard_and_rejected(source, encoder, rows_per_batch)
    assert shard["key"].to_pylist() == ["good"]
    assert rejected["reason"].to_pylist() == [reason for reason in rows if reason != "good"]
    assert rejected["row"].to_pylist() == list(range(1, len(rows)))


def test_embeddings_are_the_encoder_s(tmp_path: Path, write_rows: RowsWriter, encoder: DualEncoder) -> None:
    rows = [{"key": str(n), "image": encoded_image(seed=n), "caption": f"picture {n}"} for n in range(4)]
    write_rows(rows, tmp_path / "pairs.parquet")
    source = ParquetPairs(str(tmp_path), PairColumns())
    (unit,) = source.units(10)
    (batch,) = source.read(unit, 10)
    table = embedded(batch, (), encoder, "float32")
    texts = np.stack(table["text"].to_pylist())
    torch.testing.assert_close(
        torch.tensor(texts, dtype=torch.float32), encoder.encode_texts([f"picture {n}" for n in range(4)])
    )


def test_an_embedding_that_is_not_finite_is_rejected(
    tmp_path: Path, write_rows: RowsWriter, encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"key": str(n), "image": encoded_image(seed=n), "caption": "c"} for n in range(3)]
    write_rows(rows, tmp_path / "pairs.parquet")
    whole = encoder.encode_pixels

    def overflowing(pixels: np.ndarray) -> torch.Tensor:
        rows = whole(pixels)
        rows[1, 0] = 1e6  # finite in float32, not in float16
        return rows

    monkeypatch.setattr(encoder, "encode_pixels", overflowing)
    source = ParquetPairs(str(tmp_path), PairColumns())
    (unit,) = source.units(10)
    (batch,) = source.read(unit, 10)
    table = embedded(batch, (), encoder, "float16")
    assert table["reason"].to_pylist() == [None, "non_finite_embedding", None]


def test_a_batch_with_nothing_to_encode_and_pixels_of_a_part(encoder: DualEncoder) -> None:
    nothing = pa.array([None], pa.large_binary())
    bad = pa.table({"reason": ["empty_image"], "detail": [""], "caption": [None], f"{PIXELS}0": nothing})
    inputs = encoder_inputs(bad, f"{PIXELS}0", encoder)
    assert inputs.pixels.shape == (0, *encoder.preprocessor.shape)
    assert [rows.shape for rows in encode(encoder, inputs, "float16")] == [(0, encoder.dim)] * 2

    pixels = [np.full(encoder.preprocessor.shape, value, np.uint8).tobytes() for value in range(5)]
    reasons = [None, None, "empty_image", None, None]
    table = pa.table({"reason": reasons, "caption": list("abcde"), "p": pa.array(pixels, pa.large_binary())})
    inputs = encoder_inputs(table.slice(1), "p", encoder)
    assert inputs.pixels[:, 0, 0, 0].tolist() == [1, 3, 4]
    torch.testing.assert_close(encoder.encode_tokens(inputs.tokens), encoder.encode_texts(["b", "d", "e"]))
    assert len(inputs.first(2).tokens[0]) == len(inputs.first(2)) == 2


def three_pairs(**changed: list) -> RawPairs:
    columns = {"images": [encoded_image()] * 3, "captions": [b"c"] * 3, "rejections": [None] * 3} | changed
    return RawPairs(rows=[0, 1, 2], keys=[b"a", b"b", b"c"], passed_through=pa.table({"": ["x"] * 3}), **columns)


@pytest.mark.parametrize("detail", ["half \ud800 of a pair", "\udcff", "\x00\x1b[2J\r\n\u2028", "x" * 10_000])
def test_whatever_a_rejection_says_can_be_stored_and_shown(encoder: DualEncoder, detail: str) -> None:
    pairs = three_pairs(rejections=[None, Rejected(Reason.UNREADABLE_ROW, detail), None])
    table = embedded(pairs, (), encoder, "float16")
    assert table["reason"].to_pylist() == [None, "unreadable_row", None]
    told = table["detail"][1].as_py()
    assert told.isprintable()
    assert 0 < len(told) <= 501


def test_what_a_row_raises_rejects_that_row(encoder: DualEncoder) -> None:
    calls = 0

    def fails_once(image: Image.Image) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("no such \ud800 luck")
        return encoder.preprocessor(image)

    prepared = prepare(three_pairs(), (), {f"{PIXELS}0": fails_once}, AS_SEEN)
    assert prepared["reason"].to_pylist() == [None, "unexpected_error", None]
    assert prepared["detail"][1].as_py() == "RuntimeError: no such \\ud800 luck"
    table = embed(prepared, f"{PIXELS}0", encoder, "float16")
    assert [image is None for image in table["image"].to_pylist()] == [False, True, False]


def test_a_caption_that_the_tokeniser_fails_on_costs_its_pair(
    encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = encoder.tokenise

    def picky(texts: list[str]) -> tuple:
        if any("?" in text for text in texts):
            raise KeyError("?")
        return whole(texts)

    monkeypatch.setattr(encoder, "tokenise", picky)
    table = embedded(three_pairs(captions=[b"c", b"what?", b"c"]), (), encoder, "float16")
    assert table["reason"].to_pylist() == [None, "unexpected_error", None]
    assert table["detail"][1].as_py() == "KeyError: '?'"
    assert [text is None for text in table["text"].to_pylist()] == [False, True, False]


def test_columns_that_pass_through_keep_their_values_whatever_their_names(tmp_path: Path, encoder: DualEncoder) -> None:
    names = [
        "",
        "text",
        "source_text",
        "source_text_2",
        "a.b",
        "a",
        "a/b",
        "source_a/b",
        "row",
        "reason",
        ".",
        "IMAGE2",
    ]
    columns = {"key": ["k", "l"], "image": [encoded_image()] * 2, "caption": ["c", "d"]}
    extra = {name: [f"{number} of k", f"{number} of l"] for number, name in enumerate(names)}
    pq.write_table(pa.table(columns | extra), tmp_path / "pairs.parquet")
    source = ParquetPairs(str(tmp_path), PairColumns())
    assert source.passed_through.names == names
    (unit,) = source.units(9)
    rows = [embedded(batch, (), encoder, "float16") for batch in source.read(unit, 1)]
    shard, _ = separate(pa.concat_tables(rows), unit, encoder.dim, "float16", source.passed_through)
    stored = [
        "source_unnamed",
        "source_text_3",
        "source_text",
        "source_text_2",
        "a.b",
        "a",
        "source_a/b",
        "source_source_a/b",
        "source_row",
        "source_reason",
        ".",
        "IMAGE2",
    ]
    assert shard.schema.names[-len(names) :] == stored
    for number, name in enumerate(stored):
        assert shard[name].to_pylist() == [f"{number} of k", f"{number} of l"], name
    read = pq.read_table(pa.BufferReader(parquet_bytes(shard)))
    assert read.drop_columns(["image", "text"]).equals(shard.drop_columns(["image", "text"]))
    assert list(read.to_pandas()["source_text_3"]) == ["1 of k", "1 of l"]


def test_all_captions_of_an_image_are_in_one_split(tmp_path: Path, encoder: DualEncoder) -> None:
    captions = [[f"caption {number}" for number in range(9)]] * 4
    table = pa.table({"key": list("abcd"), "image": [encoded_image()] * 4, "captions": captions})
    pq.write_table(table, tmp_path / "pairs.parquet")
    source = ParquetPairs(str(tmp_path), PairColumns())
    (unit,) = source.units(100)
    rows = [embedded(batch, (), encoder, "float16") for batch in source.read(unit, 9)]
    shard, rejected = separate(pa.concat_tables(rows), unit, encoder.dim, "float16", source.passed_through)
    assert (len(shard), len(rejected)) == (36, 0)
    splits = {
        (key.split("#")[0], split)
        for key, split in zip(shard["key"].to_pylist(), shard["split"].to_pylist(), strict=True)
    }
    assert splits == {(key, split_of(key)) for key in "abcd"}
