"""Images as people see them: the right pixels for every mode, orientation, background and range of values."""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import ExifTags, Image

from isoenergy.errors import InputError
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.settings.image_choices import AS_SEEN, UNRECORDED, ImageReading
from tests.pairs.made_up_pairs import encoded_image

GREY_16 = np.linspace(0, 2**16 - 1, 64 * 16).round().astype(np.uint16).reshape(16, 64)
GREY_8 = np.rint(GREY_16 / 257).astype(np.uint8)
WIDE = {
    "float": np.linspace(-3, 7, 60, dtype=np.float32).reshape(6, 10),
    "int": np.linspace(-70_000, 2**20, 60).astype(np.int32).reshape(6, 10),
}
STRETCH, AS_STORED = ImageReading(wide_range="stretch"), ImageReading(transparent="as-stored")
WHITE, BLACK = ImageReading(transparent="white"), ImageReading(transparent="black")


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def pixels(raw: bytes, reading: ImageReading = AS_SEEN) -> np.ndarray:
    image = decode_image(raw, reading)
    assert image.mode == "RGB"
    return np.asarray(image).astype(int)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2).astype(int)


def png(depth: int, colour_type: int, size: tuple[int, int], rows: Sequence[bytes], transparent: bytes) -> bytes:
    """A PNG such as Pillow does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", *size, depth, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", transparent) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def tiff(
    size: tuple[int, int], bits: list[int], data: bytes, sample_format: int = 1, photometric: int = 1, extra: int = 0
) -> bytes:
    """A TIFF of one strip, such as Pillow does not write."""
    settings = {
        256: (4, size[:1]),
        257: (4, size[1:]),
        258: (3, bits),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [8]),
        277: (3, [len(bits)]),
        278: (4, size[1:]),
        279: (4, [len(data)]),
        338: (3, [extra] * (len(bits) in (2, 4))),
        339: (3, [sample_format] * len(bits)),
    }
    directory, beyond = b"", b""
    settings = {tag: value for tag, value in settings.items() if value[1]}
    after = 8 + len(data) + 2 + 12 * len(settings) + 4
    for tag, (kind, values) in settings.items():
        packed = struct.pack(f"<{len(values)}{'HI'[kind - 3]}", *values)
        if len(packed) > 4:
            packed, beyond = struct.pack("<I", after + len(beyond)), beyond + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(data))
        + data
        + struct.pack("<H", len(settings))
        + directory
        + bytes(4)
        + beyond
    )


@pytest.mark.parametrize(("kind", "order"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("JPEG2000", "<u2")])
def test_16_bits_of_grey_are_the_picture_of_their_8_bit_twin(kind: str, order: str) -> None:
    found = pixels(encoded(Image.fromarray(GREY_16.astype(order)), kind))
    assert np.array_equal(found, pixels(encoded(Image.fromarray(GREY_8), "PNG")))
    assert (found[0, 0, 0], found[-1, -1, 0]) == (0, 255)


def test_the_depth_that_a_tiff_declares_counts() -> None:
    twelve = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(4, 16)
    packed = b"".join(
        bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in twelve.reshape(-1, 2).astype(int).tolist()
    )
    assert np.array_equal(pixels(tiff((16, 4), [12], packed)), grey(np.rint(twelve.astype(float) * 255 / 4095)))
    inverse = tiff((64, 16), [16], GREY_16.astype("<u2").tobytes(), photometric=0)
    assert np.array_equal(pixels(inverse), grey(255 - GREY_8.astype(int)))


def test_16_bits_of_colour_are_what_they_are_in_8() -> None:
    colours = np.array([[0, 2**15, 2**16 - 1], [257, 514, 771]], ">u2")
    raw = png(16, 2, (2, 1), [colours.tobytes()], struct.pack(">HHH", 1, 1, 1))
    assert pixels(raw).tolist() == [[[0, 128, 255], [1, 2, 3]]]


@pytest.mark.parametrize("name", WIDE)
def test_a_wide_range_is_rejected_by_name_of_the_flag_and_stretched_with_it(name: str) -> None:
    values = WIDE[name]
    raw = encoded(Image.fromarray(values), "TIFF")
    with pytest.raises(Rejected, match="--wide-range stretch") as caught:
        decode_image(raw)
    assert caught.value.reason == Reason.WIDE_RANGE == "wide_range"
    lowest, range_ = float(values.min()), float(values.max()) - float(values.min())
    assert np.array_equal(pixels(raw, STRETCH), grey(np.rint((values.astype(float) - lowest) * 255 / range_)))


def test_wide_ranges_at_their_edges() -> None:
    unsigned = np.array([[0, 2**31, 2**32 - 1]], np.uint32)
    raw = tiff((3, 1), [32], unsigned.tobytes())
    assert pixels(raw, STRETCH)[..., 0].tolist() == [[0, 128, 255]]
    signed = np.array([[-(2**15), 0, 2**15 - 1]], "<i2")
    raw = tiff((3, 1), [16], signed.tobytes(), sample_format=2)
    assert pixels(raw, STRETCH)[..., 0].tolist() == [[0, 128, 255]]
    with pytest.raises(Rejected, match="wide_range: its grey values are integers of 32 bits or with a sign"):
        decode_image(raw)
    for values, expected in (
        ([np.nan, -np.inf, 1.0, 2.0, np.inf], [0, 0, 0, 255, 255]),
        ([-3.4e38, 0.0, 3.4e38], [0, 128, 255]),
        ([5.0, 5.0], [0, 0]),
        ([np.nan, np.nan], [0, 0]),
    ):
        raw = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
        assert pixels(raw, STRETCH)[..., 0].tolist() == [expected]


def test_stores_of_before_clip() -> None:
    for image in (Image.fromarray(GREY_16), Image.fromarray(WIDE["float"]), Image.fromarray(WIDE["int"])):
        raw = encoded(image, "TIFF")
        assert np.array_equal(pixels(raw, UNRECORDED), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_brought_upright(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (48, 32), "white")
    for colour, box in (("red", (0, 0, 16, 16)), ("lime", (32, 0, 48, 16)), ("blue", (0, 16, 16, 32))):
        upright.paste(colour, box)
    stored = upright
    for undo in {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }[orientation]:
        stored = stored.transpose(undo)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    settings = {} if kind == "TIFF" else {"quality": 95}
    raw = encoded(stored, kind, exif=exif, **settings)
    found = decode_image(raw)
    assert not found.getexif()
    assert np.abs(np.asarray(found).astype(int) - np.asarray(upright)).mean() < 12
    if kind != "TIFF":  # which its decoder turns
        as_stored = pixels(raw, ImageReading(orientation="as-stored"))
        assert np.abs(as_stored - np.asarray(stored)).mean() < 12


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage of no kind",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02A\0\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
    ],
)
def test_broken_exif_costs_no_picture(exif: bytes) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = encoded(image, kind, exif=exif)
        assert np.array_equal(pixels(whole), pixels(encoded(image, kind)))


def half_red(mode: str) -> Image.Image:
    """Red: one pixel opaque, one half, one transparent, where `mode` can; else grey."""
    image = Image.new("RGBA", (3, 1), (255, 0, 0, 255))
    image.putalpha(Image.fromarray(np.array([[255, 128, 0]], np.uint8)))
    return image.convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("reading", [WHITE, BLACK])
def test_alpha_is_laid_on_the_background(kind: str, reading: ImageReading) -> None:
    settings = {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "AVIF" else {}
    raw = encoded(half_red("RGBA").resize((48, 16), Image.Resampling.NEAREST), kind, **settings)
    background = 255 if reading is WHITE else 0
    expected = [[255, 0, 0], [(255 * 128 + background * 127) // 255, *[round(background * 127 / 255)] * 2]]
    found = pixels(raw, reading)[8, 8::16]
    assert np.abs(found - [*expected, [background] * 3]).max() <= (8 if kind == "AVIF" else 0)


def test_grey_with_alpha_and_what_was_done_before() -> None:
    raw = encoded(half_red("LA"), "PNG")
    assert pixels(raw, WHITE)[0, :, 0].tolist() == [76, round((76 * 128 + 255 * 127) / 255), 255]
    assert pixels(raw, BLACK)[0, :, 0].tolist() == [76, round(76 * 128 / 255), 0]
    assert pixels(raw, AS_STORED)[0, :, 0].tolist() == [76, 76, 76]
    assert pixels(encoded(half_red("RGBA")), AS_STORED).tolist() == [[[255, 0, 0]] * 3]


def test_alpha_that_is_multiplied_in_and_alpha_beside_a_palette() -> None:
    grey_and_alpha = bytes([76, 255, 38, 128, 0, 0])
    raw = tiff((3, 1), [8, 8], grey_and_alpha, extra=1)
    assert pixels(raw, WHITE)[0, :, 0].tolist() == [76, 165, 255]
    assert pixels(raw, AS_STORED)[0, :, 0].tolist() == [76, 75, 0]
    raw = tiff((3, 1), [8] * 4, bytes([255, 0, 0, 255, 128, 0, 0, 128, 0, 0, 0, 0]), photometric=2, extra=1)
    assert pixels(raw, WHITE).tolist() == [[[255, 0, 0], [255, 127, 127], [255] * 3]]
    raw = encoded(half_red("PA"), "TIFF")
    assert pixels(raw, BLACK).tolist() == [[[255, 0, 0], [128, 0, 0], [0] * 3]]


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_palettes_with_a_transparent_colour(kind: str) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    image.putdata([0, 1, 2])
    raw = encoded(image, kind, transparency=1)
    others = [0, 0, 0], [200, 100, 50]
    for reading, there in ((WHITE, [255] * 3), (BLACK, [0] * 3), (AS_STORED, [10, 20, 30])):
        assert pixels(raw, reading).tolist() == [[others[0], there, others[1]]]


def test_a_palette_with_an_alpha_of_each_colour() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 10, 20, 30, 200, 100, 50])
    image.putdata([0, 1, 2])
    raw = encoded(image, transparency=bytes([0, 128, 255]))
    half = [round((colour * 128 + 255 * 127) / 255) for colour in (10, 20, 30)]
    assert pixels(raw, WHITE).tolist() == [[[255] * 3, half, [200, 100, 50]]]


def test_a_transparent_colour_of_a_png_at_every_depth() -> None:
    """Pillow keeps it in the file's bits, and the pixels in 8."""
    value = struct.pack(">H", 0x4000)
    sixteen = np.array([[0x4000, 0x4001, 65535]], ">u2")
    for depth, row, transparent in (
        (2, bytes([0b00011011]), struct.pack(">H", 1)),
        (4, bytes([0x07, 0xF3]), struct.pack(">H", 7)),
        (8, bytes([1, 2, 3, 4]), struct.pack(">H", 2)),
    ):
        found = pixels(png(depth, 0, (4, 1), [row], transparent), WHITE)
        plain = pixels(png(depth, 0, (4, 1), [row], transparent), AS_STORED)
        plain[0, 1] = 255
        assert np.array_equal(found, plain)
    found = pixels(png(16, 0, (3, 1), [sixteen.tobytes()], value), BLACK)
    assert found[0, :, 0].tolist() == [0, 64, 255]
    colours = np.array([[0x1234, 0x5678, 0x9ABC], [0x3412, 0x7856, 0xBC9A], [65535] * 3], ">u2")
    found = pixels(png(16, 2, (3, 1), [colours.tobytes()], colours[0].tobytes()), BLACK)
    assert found.tolist() == [[[0] * 3, [0x34, 0x78, 0xBC], [255] * 3]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "1"])
def test_plain_images_are_what_pillow_makes_of_them(kind: str, mode: str) -> None:
    with Image.open(io.BytesIO(encoded_image())) as source:
        image = source.convert(mode)
    raw = encoded(image.convert("L") if mode == "1" and kind in ("JPEG", "WEBP") else image, kind)
    with Image.open(io.BytesIO(raw)) as opened:
        expected = np.asarray(opened.convert("RGB"))
    for reading in (AS_SEEN, UNRECORDED, STRETCH, BLACK):
        assert np.array_equal(pixels(raw, reading), expected)


def test_a_choice_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="transparent of images must be one of white, black, as-stored, got 'grey'"):
        ImageReading(transparent="grey")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="decoder of images must be one of fast, exact, got 'slow'"):
        ImageReading(decoder="slow")  # type: ignore[arg-type]
