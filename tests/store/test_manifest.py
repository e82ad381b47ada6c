"""What a store says of how its images were read, and which others may go on filling it."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.settings.image_choices import AS_SEEN, UNRECORDED, ImageReading
from isoenergy.store import EmbeddingStore, Manifest, StoreWriter
from tests.store.small_store import FILES, MANIFEST

NOW = replace(MANIFEST, **asdict(AS_SEEN))


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (ImageReading(orientation="as-stored"), 'orientation is "upright" there and "as-stored" here; give'),
        (ImageReading(transparent="black"), 'transparent is "white" there and "black" here; give'),
        (ImageReading(wide_range="stretch"), 'wide_range is "reject" there and "stretch" here; give'),
        (ImageReading(decoder="exact"), 'decoder is "fast" there and "exact" here; give'),
    ],
)
def test_another_way_to_read_images_is_another_store(tmp_path: Path, reading: ImageReading, said: str) -> None:
    writer = StoreWriter(str(tmp_path / "store"))
    writer.begin(NOW, FILES)
    assert EmbeddingStore.open(writer.uri).manifest.image_reading == AS_SEEN
    assert writer.holds(NOW)
    with pytest.raises(InputError, match=said):
        writer.begin(replace(MANIFEST, **asdict(reading)), FILES)


def test_a_store_that_does_not_say_is_one_of_before(filled: Path) -> None:
    there = json.loads((filled / "manifest.json").read_text())
    for name in asdict(UNRECORDED):
        del there[name]
    (filled / "manifest.json").write_text(json.dumps(there))
    manifest = EmbeddingStore.open(str(filled)).manifest
    assert manifest == Manifest.from_json(json.dumps(there)) == MANIFEST
    assert manifest.image_reading == UNRECORDED
    said = (
        'orientation is "as-stored" there and "upright" here; transparent is "as-stored" there and "white" here; '
        'wide_range is "clip" there and "reject" here; decoder is "exact" there and "fast" here'
    )
    with pytest.raises(InputError, match=said):
        StoreWriter(str(filled)).holds(NOW)
    assert StoreWriter(str(filled)).holds(replace(MANIFEST, **asdict(UNRECORDED)))
