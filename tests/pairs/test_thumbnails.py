import io
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from isoenergy.pairs.source import SourceConfig
from isoenergy.pairs.thumbnails import PIXELS, StripForm, fitting_form, read_thumbnails, strip, thumbnail
from isoenergy.settings.image_choices import AS_SEEN, UNRECORDED, ImageReading
from tests.pairs.made_up_pairs import bad_rows, encoded_image, written_rows

ROWS = [{"key": str(n), "image": encoded_image(seed=n), "caption": f"picture {n}"} for n in range(30)]
COLOURS = ("red", "lime", "blue")


def opened(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


@pytest.fixture
def two_files(tmp_path: Path) -> SourceConfig:
    for name in ("a", "b"):
        written_rows(ROWS, tmp_path / "pairs" / f"{name}.parquet")
    return SourceConfig(f"{tmp_path}/pairs", "parquet")


def test_those_asked_for_are_read(two_files: SourceConfig) -> None:
    found = read_thumbnails(two_files, {"a.parquet": [3, 29], "b.parquet": [0]}, AS_SEEN)
    assert set(found) == {("a.parquet", 3), ("a.parquet", 29), ("b.parquet", 0)}
    assert {opened(picture).size for picture in found.values()} == {(PIXELS, PIXELS)}
    with Image.open(io.BytesIO(ROWS[29]["image"])) as image:  # type: ignore[arg-type]
        assert found["a.parquet", 29] == thumbnail(image.convert("RGB"))


def test_a_source_of_one_file_and_one_that_is_gone(two_files: SourceConfig, tmp_path: Path) -> None:
    alone = SourceConfig(f"{two_files.uri}/a.parquet", "parquet")
    assert set(read_thumbnails(alone, {"a.parquet": [1]}, AS_SEEN)) == {("a.parquet", 1)}
    assert read_thumbnails(SourceConfig(f"{tmp_path}/gone", "parquet"), {"a.parquet": [1]}, AS_SEEN) == {}
    assert set(read_thumbnails(two_files, {"gone.parquet": [1], "b.parquet": [2]}, AS_SEEN)) == {("b.parquet", 2)}


def test_an_image_that_is_none_or_a_bomb_has_no_thumbnail(tmp_path: Path) -> None:
    rows = bad_rows()
    written_rows(list(rows.values()), tmp_path / "pairs.parquet")
    found = read_thumbnails(
        SourceConfig(f"{tmp_path}/pairs.parquet", "parquet"), {"pairs.parquet": range(len(rows))}, AS_SEEN
    )
    names = list(rows)
    without = {name for row, name in enumerate(names) if ("pairs.parquet", row) not in found}
    assert without == {"truncated_image", "empty_image", "image_too_large", "unreadable_image", "missing_image"}


def test_thumbnails_are_read_as_the_embedded_images_were(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = Image.new("RGBA", (96, 48), (0, 0, 0, 0))
    lying.paste("lime", (0, 0, 48, 48))
    buffer = io.BytesIO()
    lying.save(buffer, "PNG", exif=exif)
    written_rows([{"key": "a", "image": buffer.getvalue(), "caption": "a"}], tmp_path / "pairs.parquet")
    source, green = SourceConfig(f"{tmp_path}/pairs.parquet", "parquet"), (0, 255, 0)
    for reading, rest in (
        (AS_SEEN, (255, 255, 255)),
        (UNRECORDED, (0, 0, 0)),
        (ImageReading(transparent="black"), (0, 0, 0)),
    ):
        (picture,) = read_thumbnails(source, {"pairs.parquet": [0]}, reading).values()
        for place, colour in (((0, 0), green), ((PIXELS - 1, PIXELS - 1), rest)):
            assert max(abs(a - b) for a, b in zip(opened(picture).getpixel(place), colour, strict=True)) < 30


def test_a_thumbnail_is_cut_from_the_middle() -> None:
    wide = Image.new("RGB", (300, 100))
    for place, colour in enumerate(COLOURS):
        wide.paste(colour, (100 * place, 0, 100 * place + 100, 100))
    red, green, blue = opened(thumbnail(wide)).getpixel((PIXELS // 2, PIXELS // 2))
    assert green > 200 > 60 > max(red, blue)


def test_a_strip_has_its_thumbnails_in_order() -> None:
    made = opened(strip([thumbnail(Image.new("RGB", (80, 80), colour)) for colour in COLOURS], StripForm(32, 8)))
    assert made.size == (96, 32)
    assert [max(range(3), key=lambda c, x=x: made.getpixel((x, 16))[c]) for x in (16, 48, 80)] == [0, 1, 2]


def test_thumbnails_are_as_large_as_fits() -> None:
    pictures = [thumbnail(Image.open(io.BytesIO(encoded_image(size=(64, 64), seed=n)))) for n in range(8)]
    samples = [pictures[:4], pictures[4:]]
    forms = [fitting_form(samples, 8, most) for most in (10**9, 8_000, 10)]
    assert forms[0].pixels == PIXELS > forms[1].pixels > forms[2].pixels == 24
    assert sum(len(strip(sample, forms[1])) for sample in samples) <= 8_000
    assert fitting_form([], 0, 1000) == forms[0]


def test_strips_are_made_slowly_where_that_lets_thumbnails_be_as_large() -> None:
    round_about, across = Image.radial_gradient("L"), Image.linear_gradient("L")
    turned = [Image.merge("RGB", (round_about, across.rotate(33 * n), across.rotate(20 * n))) for n in range(8)]
    pictures = [thumbnail(image) for image in turned]
    soon, small = (len(strip(pictures, StripForm(PIXELS, speed))) for speed in (10, 8))
    assert small < soon
    assert [fitting_form([pictures], 8, most) for most in (soon, soon - 1)] == [
        StripForm(PIXELS, 10),
        StripForm(PIXELS, 8),
    ]
