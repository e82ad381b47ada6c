"""How large a JPEG XL image is, from its header: its decoder for Pillow tells only once all pixels are there."""

from isoenergy.pairs.rejection import Reason, Rejected

_CODESTREAM = b"\xff\x0a"
_BOX_BYTES = 8
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_LENGTHS = (9, 13, 18, 30)


def jpeg_xl_size(raw: bytes) -> tuple[int, int]:
    """Return width and height in pixels (ISO/IEC 18181-1, SizeHeader); raises Rejected if they cannot be found."""
    bits = _Bits(_codestream(raw)[len(_CODESTREAM) : len(_CODESTREAM) + 16])
    small = bits.take(1)
    height = _length(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return _length(bits, small), height
    numerator, denominator = _RATIOS[ratio - 1]
    return height * numerator // denominator, height


class _Bits:
    """Bits of some bytes, the lowest of each first."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "little")

    def take(self, count: int) -> int:
        value, self._value = self._value & ((1 << count) - 1), self._value >> count
        return value


def _length(bits: _Bits, small: int) -> int:
    return 8 * (bits.take(5) + 1) if small else bits.take(_LENGTHS[bits.take(2)]) + 1


def _codestream(raw: bytes) -> bytes:
    """Return the codestream from its beginning: the file is that, or has it in a box."""
    start = 0
    while not raw.startswith(_CODESTREAM):
        size, kind = int.from_bytes(raw[start : start + 4], "big"), raw[start + 4 : start + _BOX_BYTES]
        header = _BOX_BYTES
        if size == 1:  # a large one
            header, size = 16, int.from_bytes(raw[start + 8 : start + 16], "big")
        if kind in (b"jxlc", b"jxlp"):
            begin = start + header + 4 * (kind == b"jxlp")
            return raw[begin : begin + 32]
        if size < header or start + size >= len(raw):
            raise Rejected(Reason.TRUNCATED_IMAGE, "a JPEG XL file without its codestream")
        start += size
    return raw[:32]
