"""The embedding store: Parquet shards, a manifest, and a commit record for every finished unit of work."""

from isoenergy.store.batches import PairArrays, PairBatches
from isoenergy.store.manifest import Manifest
from isoenergy.store.reader import EmbeddingStore
from isoenergy.store.writer import StoreWriter

__all__ = ["EmbeddingStore", "Manifest", "PairArrays", "PairBatches", "StoreWriter"]
