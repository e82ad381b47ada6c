"""The Iso-Energy hypothesis and aligned sparse autoencoders for vision-language embeddings.

The science layer: torch, numpy and pyarrow only, so that it runs in a notebook and on a bare GPU machine. The
programs that run it at scale are in `workflows`. Source: "Cross-Modal Redundancy and the Geometry of
Vision-Language Embeddings", ICLR 2026, arXiv 2602.06218.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoenergy.codes import SparseCodes
    from isoenergy.sae import SparseAutoencoder

__version__ = "0.1.0"
__all__ = ["SparseAutoencoder", "SparseCodes", "__version__"]

_HOMES = {"SparseAutoencoder": "isoenergy.sae", "SparseCodes": "isoenergy.codes"}


def __getattr__(name: str) -> Any:  # torch takes seconds to import, and every process of a cluster imports this
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
