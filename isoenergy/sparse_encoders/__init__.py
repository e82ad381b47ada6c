"""How an autoencoder finds a row's code: Matching Pursuit, and the encoders that it is compared with.

All decode alike, by the sum of the code's atoms, to rows as `prepare` returns them, which subtracts a bias if there is
one; so every metric and intervention is the same for all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
