"""Bounds on what a resize may make of a hostile image."""

from isoenergy.pairs.bounds import MAX_IMAGE_PIXELS
from isoenergy.pairs.rejection import Reason, Rejected


def require_resizable(size: tuple[int, int], scale: float) -> None:
    """Raise Rejected if an image scaled by `scale` would pass the 50 million pixels of decoding, or have none.

    size: width and height. A model that resizes the shorter side and then crops would make 10 GB of a thread of
    1 × 65,000 pixels.
    """
    width, height = size
    if not 1 <= width * height * scale**2 <= MAX_IMAGE_PIXELS or min(width, height) * scale < 1:
        detail = f"{width} × {height} pixels are too thin: resized for this model they would be "
        raise Rejected(Reason.IMAGE_TOO_LARGE, detail + f"{width * scale:,.0f} × {height * scale:,.0f}")
