"""Sums over rows that merge, and what follows from them: energies, moments, intervals, tests, top pairs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
