"""The demo pairs and the small dual encoder that the package ships, and the programs that made them."""

from pathlib import Path

BUNDLED_PAIRS = Path(__file__).parent / "pairs"
BUNDLED_ENCODER = Path(__file__).parent / "encoder"
