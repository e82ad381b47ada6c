"""The modalities of pairs: their names, and how wide their vectors are."""

import re
from collections.abc import Mapping

MODALITIES = ("image", "text")
"""Of a vision-language model; of other pairs they are the names of their columns."""
MODALITY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Widths = int | Mapping[str, int]
"""The width of images and texts, or that of each modality by name."""
