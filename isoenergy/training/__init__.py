"""The engine-free training loop: its settings, what it reports, its checkpoints, the search for β."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
