from .atom_table import describe_atoms as describe_atoms
from .codes.sparse_codes import SparseCodes as SparseCodes
from .explorer.serving import explore as explore
from .fitting import fit as fit
from .measuring import evaluate as evaluate
from .sae.autoencoder import SparseAutoencoder as SparseAutoencoder

__version__: str
