"""One decoded picture for every encoder, by the decoder that is asked for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isoenergy.encoders.dual_encoder import Pixels
from isoenergy.extraction.preprocessing import preprocessed
from isoenergy.pairs.decoding import decode_image
from isoenergy.pairs.rejection import Rejected
from isoenergy.settings.image_choices import AS_SEEN
from tests.pairs.made_up_pairs import encoded_image

EXACT = replace(AS_SEEN, decoder="exact")


class Own:
    """A user's preprocessing: what it was given, as it is."""

    shape = (30, 40, 3)

    def __call__(self, image: Image.Image) -> Pixels:
        return np.asarray(image)

    def describe(self) -> dict[str, Any]:
        return {}


class WithFast(Own):
    def fast(self, rgb: Pixels) -> Pixels:
        return 255 - rgb


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_each_gets_what_it_takes(kind: str) -> None:
    raw = encoded_image(kind)
    pixels = np.asarray(decode_image(raw))
    own, fast = preprocessed(raw, [Own(), WithFast()], AS_SEEN)
    assert np.array_equal(own, pixels)
    assert np.array_equal(fast, 255 - pixels)
    for each in preprocessed(raw, [Own(), WithFast()], EXACT):
        assert np.array_equal(each, pixels)


@pytest.mark.parametrize("reading", [AS_SEEN, EXACT])
def test_what_cannot_be_decoded_is_rejected(reading: Any) -> None:
    with pytest.raises(Rejected, match="truncated_image"):
        preprocessed(encoded_image("JPEG")[:300], [Own(), WithFast()], reading)
