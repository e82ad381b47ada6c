from .sparse_codes import Codes as Codes
from .sparse_codes import DenseCodes as DenseCodes
from .sparse_codes import SparseCodes as SparseCodes
from .sparse_codes import concatenate as concatenate
