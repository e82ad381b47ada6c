import pytest

from isoenergy.pairs.decoding import decode_caption, decode_image, decode_key
from isoenergy.pairs.rejection import Reason, Rejected
from tests.pairs.made_up_pairs import decompression_bomb, encoded_image

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


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
    assert decode_key(b"a/b") == "a/b"
    for decode, raw, reason in (
        (decode_caption, None, Reason.MISSING_CAPTION),
        (decode_caption, b"", Reason.EMPTY_CAPTION),
        (decode_caption, b" \t\n", Reason.EMPTY_CAPTION),
        (decode_caption, b"caf\xe9", Reason.CAPTION_NOT_UTF8),
        (decode_caption, b"x" * (2**16 + 1), Reason.CAPTION_TOO_LONG),
        (decode_key, None, Reason.MISSING_KEY),
        (decode_key, b"\xff", Reason.KEY_NOT_UTF8),
    ):
        with pytest.raises(Rejected) as caught:
            decode(raw)
        assert caught.value.reason == reason
