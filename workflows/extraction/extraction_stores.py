"""The stores that `isoenergy embed` fills, and what is done with a unit."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from isoenergy.encoders import DualEncoder, Preprocessor, load_encoders, load_preprocessor
from isoenergy.errors import InputError
from isoenergy.extraction.embedding import PIXELS
from isoenergy.pairs.rejection import printed
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store import Manifest, StoreWriter
from isoenergy.store.retry import retriable_rows

if TYPE_CHECKING:
    import torch

Work = Literal["new", "pairs", "unit"]
"""What is done with a unit: embed it, try those of its rejected pairs again that may be better now, or all of it."""


@dataclass(frozen=True)
class Stores:
    """The stores that one pass fills, one for each encoder."""

    writers: tuple[StoreWriter, ...]
    manifests: tuple[Manifest, ...]
    passed_through: pa.Schema
    compiled: bool
    """Whether the encoders are compiled."""

    @property
    def pixels(self) -> dict[str, str]:
        """The column of pixels that each encoder takes, by its name: encoders with one preprocessing share it."""
        distinct: list[dict[str, Any]] = []
        for manifest in self.manifests:
            if manifest.preprocessing not in distinct:
                distinct.append(manifest.preprocessing)
        return {m.encoder: f"{PIXELS}{distinct.index(m.preprocessing)}" for m in self.manifests}

    @property
    def image_reading(self) -> ImageReading:
        """How images are read, for all of them."""
        return self.manifests[0].image_reading

    def load_preprocessors(self) -> dict[str, Preprocessor]:
        """Return what makes each column of pixels."""
        return {column: _preprocessor(encoder) for encoder, column in self.pixels.items()}

    def load_encoders(self, device: "torch.device") -> list[DualEncoder]:
        """Load the encoders; raises InputError if this machine has other weights than the stores were begun with."""
        names = [manifest.encoder for manifest in self.manifests]
        encoders = load_encoders(names, device, self.manifests[0].precision, self.compiled)
        for encoder, manifest in zip(encoders, self.manifests, strict=True):
            if encoder.digest != manifest.encoder_digest:
                raise InputError(
                    f"{encoder.name} has other weights on this machine ({encoder.digest[:12]}) than where the run was "
                    f"started ({manifest.encoder_digest[:12]}); all nodes must see one and the same"
                )
        return encoders

    def rows_to_retry(self, unit: str) -> list[int] | None:
        """Return the numbers of a unit's pairs that some store rejected for reasons that may have gone."""
        records = [(writer, record) for writer in self.writers if (record := writer.record(unit)) is not None]
        return sorted({row for writer, record in records for row in retriable_rows(writer.read_rejected(record))})


@lru_cache(maxsize=16)
def _preprocessor(encoder: str) -> Preprocessor:
    return load_preprocessor(encoder)


def in_one_line(error: Exception) -> str:
    """Return what a unit raised as text that can be shown."""
    return printed(f"{type(error).__name__}: {' '.join(str(error).split())}")
