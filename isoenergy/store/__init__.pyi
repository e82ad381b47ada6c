from .arrays import PairArrays as PairArrays
from .batches import PairBatches as PairBatches
from .index import PairIndex as PairIndex
from .manifest import Manifest as Manifest
from .reader import EmbeddingStore as EmbeddingStore
from .writer import StoreWriter as StoreWriter
