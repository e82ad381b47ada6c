import sys

import pytest

from isoenergy.pairs.decoding import decode_caption, decode_image, decode_key
from isoenergy.pairs.jpeg_xl import jpeg_xl_size
from isoenergy.pairs.rejection import Reason, Rejected
from tests.pairs.made_up_pairs import decompression_bomb, encoded_image

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")


def reason_of(raw: bytes | None) -> Reason:
    with pytest.raises(Rejected) as caught:
        decode_image(raw)
    return caught.value.reason


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_image_decodes_to_rgb(kind: str) -> None:
    image = decode_image(encoded_image(kind))
    assert (image.mode, image.size) == ("RGB", (40, 30))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_an_image_cut_short_is_truncated(kind: str, share: float) -> None:
    whole = encoded_image(kind)
    assert reason_of(whole[: max(16, int(len(whole) * share))]) == Reason.TRUNCATED_IMAGE


def test_a_decompression_bomb_is_too_large_and_never_decoded() -> None:
    assert reason_of(decompression_bomb()) == Reason.IMAGE_TOO_LARGE


def test_other_bad_images() -> None:
    assert reason_of(None) == Reason.MISSING_IMAGE
    assert reason_of(b"") == Reason.EMPTY_IMAGE
    assert reason_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == Reason.UNREADABLE_IMAGE


def test_captions_and_keys() -> None:
    assert decode_caption("naïve 🐈".encode()) == "naïve 🐈"
    assert decode_caption(b"\xef\xbb\xbfas Windows writes it") == "as Windows writes it"
    assert decode_key(b"a/b") == "a/b"
    for decode, raw, reason in (
        (decode_caption, None, Reason.MISSING_CAPTION),
        (decode_caption, b"", Reason.EMPTY_CAPTION),
        (decode_caption, b" \t\n", Reason.EMPTY_CAPTION),
        (decode_caption, b"\xef\xbb\xbf", Reason.EMPTY_CAPTION),
        (decode_caption, b"caf\xe9", Reason.CAPTION_NOT_UTF8),
        (decode_caption, b"x" * (2**16 + 1), Reason.CAPTION_TOO_LONG),
        (decode_key, None, Reason.MISSING_KEY),
        (decode_key, b"\xff", Reason.KEY_NOT_UTF8),
    ):
        with pytest.raises(Rejected) as caught:
            decode(raw)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("raw", "package"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "pillow-heif"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "pillow-jxl-plugin"),
        (b"\xff\x0a" + bytes(99), "pillow-jxl-plugin"),
    ],
)
def test_a_kind_that_needs_a_decoder_names_its_package(
    raw: bytes, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pillow_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Rejected, match=f"unreadable_image: it is .* where the package {package} is installed"):
        decode_image(raw)


@pytest.mark.parametrize(("module", "kind"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
def test_a_kind_whose_decoder_is_installed_decodes(module: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = pytest.importorskip(module)
    if kind == "HEIF":
        plugin.register_heif_opener()
    whole = encoded_image(kind, (130, 70))
    assert decode_image(whole).size == (130, 70)
    monkeypatch.setattr("isoenergy.pairs.decoding.MAX_IMAGE_PIXELS", 130 * 70 - 1)
    assert reason_of(whole) == Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ("ff0af89f010013880200", (512, 512)),
        ("ff0a2802020d00138802", (130, 70)),
        ("ff0af8be010013880200", (640, 480)),
        ("ff0a80806ed700138802", (3000, 17)),
        ("0000000c4a584c200d0a870a 00000014667479706a786c20000000006a786c20 0000000c6a786c63 ff0a", (1, 1)),
    ],
)
def test_the_size_of_a_jpeg_xl_is_in_its_header(raw: str, size: tuple[int, int]) -> None:
    assert jpeg_xl_size(bytes.fromhex(raw)) == size


def test_what_is_no_image_is_not_called_a_cut_one() -> None:
    for raw in (b"RIFF\x24\0\0\0WAVEfmt ", b"BMW is a car", b"\0\0\0\x20ftypisom\0\0\0\0isomiso2mp41", b"GIFT"):
        assert reason_of(raw) == Reason.UNREADABLE_IMAGE


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html><body>404", "HTML, a page"),
        (b"<html lang=en>", "HTML, a page"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG, which has no pixels"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "markup that begins"),
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b'{"error": "not found"}', "text that begins"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (bytes(5000), "zeros alone"),
        (b"\0\0\0\x20ftypisom\0\0\0\0isomiso2mp41", "a file of MPEG-4's family"),
        (b"PK\x03\x04\x14\0", "a zip"),
        (b"\x93NUMPY\x01\0", "a NumPy array"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(raw: bytes, what: str) -> None:
    with pytest.raises(Rejected, match=f"unreadable_image: it is {what}"):
        decode_image(raw)
