"""How large what is read of a pair may be."""

MAX_CAPTION_BYTES = 2**16
MAX_IMAGE_BYTES = 64 * 2**20
MAX_IMAGE_PIXELS = 50_000_000
