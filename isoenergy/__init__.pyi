from .codes.sparse_codes import SparseCodes as SparseCodes
from .sae.autoencoder import SparseAutoencoder as SparseAutoencoder

__version__: str
