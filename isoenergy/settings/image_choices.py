"""The choices of how image files are read; what each does is in `isoenergy.pairs.image_reading`."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from isoenergy.errors import InputError

Decoder = Literal["fast", "exact"]
Orientation = Literal["upright", "as-stored"]
Transparency = Literal["white", "black", "as-stored"]
WideRange = Literal["reject", "stretch", "clip"]


@dataclass(frozen=True)
class ImageReading:
    """How images are read: as people see them, unless something else is chosen."""

    orientation: Orientation = "upright"
    """Whether an image is turned and mirrored as its EXIF data say, or taken as its pixels are stored."""
    transparent: Transparency = "white"
    """The background that transparent images are laid on. as-stored: alpha is dropped, and what lies under it seen."""
    wide_range: WideRange = "reject"
    """What becomes of grey values beyond 16 bits, with a sign or a fraction: the image is rejected, or stretched from
    its own least to its own largest value. clip: cut off below 0 and above 255, 16 bits too, as older stores are."""
    decoder: Decoder = "fast"
    """fast: JPEGs by libjpeg-turbo straight into arrays, resizing by torch: within 1 grey level of the model's own
    preprocessing (2 for some values of sharp noise). exact: the model's own to the bit, in two to three times the
    time, as older stores are."""

    def __post_init__(self) -> None:
        choices_of = (Orientation, Transparency, WideRange, Decoder)
        for name, allowed in zip((f.name for f in fields(self)), choices_of, strict=True):
            if getattr(self, name) not in get_args(allowed):
                choices = ", ".join(get_args(allowed))
                raise InputError(f"{name} of images must be one of {choices}, got {getattr(self, name)!r}")


AS_SEEN = ImageReading()
UNRECORDED = ImageReading("as-stored", "as-stored", "clip", "exact")
"""How images were read for stores that do not say how."""
