"""The demo pairs and the small dual encoder that the package ships, and the programs that made them."""

from isoenergy.storage.bundled_files import BUNDLED_ENCODER, BUNDLED_PAIRS

__all__ = ["BUNDLED_ENCODER", "BUNDLED_PAIRS"]
