"""The Iso-Energy hypothesis and aligned sparse autoencoders for vision-language embeddings.

The science layer: torch, numpy and pyarrow only, so that it runs in a notebook and on a bare GPU machine. The
programs that run it at scale are in `workflows`. Source: "Cross-Modal Redundancy and the Geometry of
Vision-Language Embeddings", ICLR 2026, arXiv 2602.06218.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.2.0"
