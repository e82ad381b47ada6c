"""The autoencoder: its configuration, one dictionary or one a modality, several in a pass, its card and the hub."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
