"""Where the data lies that the package ships."""

from pathlib import Path

_BUNDLED = Path(__file__).parents[1] / "bundled"
BUNDLED_PAIRS = _BUNDLED / "pairs"
BUNDLED_ENCODER = _BUNDLED / "encoder"
