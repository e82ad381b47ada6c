"""Pairs made of known atoms, and the experiment that measures what SAEs recover of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
