"""The decoding tasks read images as the command line says."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from isoenergy.encoders import load_encoder
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.source import SourceConfig
from isoenergy.store import StoreWriter
from tests.pairs.made_up_pairs import written_rows
from workflows.embed import _manifest
from workflows.extraction.extraction_decoding import Decode
from workflows.extraction.extraction_placement import Placement
from workflows.extraction.extraction_stores import Stores
from workflows.settings import embed_settings

ENCODER = "python:tests.workflows.pixel_encoder"


@pytest.mark.parametrize(
    ("options", "colour"),
    [((), 255), (("--transparent", "black"), 0), (("--transparent", "as-stored"), 100), (("--decoder", "exact"), 255)],
)
def test_the_choice_reaches_the_pixels_and_the_manifest(options: tuple[str, ...], colour: int, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("LA", (20, 10), (100, 0)).save(buffer, "PNG")
    written_rows([{"key": "a", "image": buffer.getvalue(), "caption": "a"}], tmp_path / "pairs.parquet")
    wide = io.BytesIO()
    Image.fromarray(np.zeros((3, 3), np.float32)).save(wide, "TIFF")
    written_rows([{"key": "b", "image": wide.getvalue(), "caption": "b"}], tmp_path / "pairs2.parquet")
    config = embed_settings.parse(["--pairs", str(tmp_path), "--encoder", ENCODER, *options])
    source = open_source(SourceConfig(config.pairs), None)
    manifest = _manifest(load_encoder(ENCODER), source, 2, config, Placement((1, 1), 0.0, 2.0, 1))
    assert manifest.image_reading == config.reading
    stores = Stores((StoreWriter(str(tmp_path / "store")),), (manifest,), source.passed_through, False)
    units = [vars(unit) | {"work": "new", "duplicates": []} for unit in source.units(10)]
    messages = list(Decode(source, stores, 10, polite=False)(pa.Table.from_pylist(units)))
    (shown,), (rejected,) = (
        pa.ipc.open_stream(message["batch"][0].as_buffer()).read_all().to_pylist() for message in messages
    )
    assert set(shown["pixels/0"]) == {colour}
    assert (rejected["reason"], "--wide-range stretch" in rejected["detail"]) == ("wide_range", True)
