"""What a store holds and how it was made; what a unit of work came to."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from isoenergy.encoders.dual_encoder import Precision
from isoenergy.errors import InputError
from isoenergy.pairs.source import Format, PairColumns, SourceConfig
from isoenergy.pairs.splits import Pairs
from isoenergy.settings.differences import differing_fields
from isoenergy.settings.image_choices import UNRECORDED, Decoder, ImageReading, Orientation, Transparency, WideRange

FORMAT = 3
StoredDtype = Literal["float16", "float32"]
VECTORS: Literal["vectors"] = "vectors"
"""The format of a source whose embeddings were there already; see `isoenergy.store.vector_sources`."""
_INFORMATIVE = {"encoder", "source", "source_images", "units", "software"}


@dataclass(frozen=True)
class Manifest:
    """The store's `manifest.json`. Two runs may fill one store only if all but the informative fields agree."""

    encoder: str
    """Name that the encoder was loaded by (informative: the digest decides); empty if the source held the vectors."""
    encoder_digest: str
    """SHA-256 of the encoder's weights."""
    preprocessing: dict[str, Any]
    """The image preprocessing's settings."""
    precision: Precision
    """What the encoder computed in."""
    dim: int
    """Width of the embeddings; the largest, if modalities differ."""
    dtype: StoredDtype
    """Precision of the stored embeddings."""
    source: str
    """Where the pairs were read from (informative: the commit records hold a digest of each file)."""
    source_images: str
    """Where a source of captions finds its images, if that is another place (informative)."""
    source_format: Format | Literal["vectors"]
    """The source's format."""
    columns: dict[str, str]
    """Names of the source's columns by role: key, image, caption; empty where the source has its own."""
    passed_through: dict[str, str]
    """Name and Arrow type of every further column of the source."""
    rows_per_unit: int
    """Most pairs in a unit of work, where they can be counted before they are read."""
    batch_rows: int
    """Pairs that the encoder took at once: another number may change the last bits of an embedding."""
    units: int
    """Units of work when the store was last filled (informative: the source may grow)."""
    software: dict[str, str]
    """Versions of what made it (informative)."""
    widths: dict[str, int] = field(default_factory=dict)
    """Width of each modality by its column, in order, where the source held vectors; empty: `image` and `text`."""
    splits_given: bool = False
    """Whether the source says which split a row is in; else that follows from the key."""
    captions: str = "all"
    """What became of several captions of one image: all of them, the first, or one at random."""
    captions_seed: int = 0
    """Of a random choice among them."""
    orientation: Orientation = UNRECORDED.orientation
    """Whether images were turned as their EXIF data say; this and the next three mean nothing where there were none."""
    transparent: Transparency = UNRECORDED.transparent
    """The background that transparent images were laid on; as-stored: alpha was dropped."""
    wide_range: WideRange = UNRECORDED.wide_range
    """What became of images with grey values beyond 16 bits; clip: values above 255 were cut off, 16 bits too."""
    decoder: Decoder = UNRECORDED.decoder
    """exact: pixels are those of the model's own preprocessing to the bit; fast: next to them."""
    applied: dict[str, Any] = field(default_factory=dict)
    """What `isoenergy apply` made of the source, another store: the SAE's digest, what was written, where the atoms'
    classes come from; empty in a store of embeddings."""
    view_of: str = ""
    """Where the files lie that the vectors are in, if the store is a view of them (informative, but for whether it is
    one); empty: the store has its vectors."""
    hidden_states: dict[str, Any] = field(default_factory=dict)
    """Of a layer of a generative model: the layer, what the model read and which tokens were taken; else empty."""
    format: int = FORMAT
    """Version of the store's layout."""

    @property
    def modalities(self) -> dict[str, int]:
        """Width of each modality's embeddings by its column, in order; of none where codes alone were written."""
        return self.widths if self.widths or self.applied else dict.fromkeys(("image", "text"), self.dim)

    @property
    def stage(self) -> str:
        """The stage of isoenergy that filled the store, and fills in what it lacks."""
        return "apply" if self.applied else "embed"

    @property
    def made_by(self) -> str:
        """What made the embeddings, for people: an encoder, or nobody knows what."""
        return self.encoder or f"given vectors ({', '.join(self.widths)})"

    @property
    def image_reading(self) -> ImageReading:
        """How images were read."""
        return ImageReading(self.orientation, self.transparent, self.wide_range, self.decoder)

    @property
    def source_config(self) -> SourceConfig | None:
        """What opens the source of pairs again; None for vectors."""
        if self.source_format == VECTORS:
            return None
        return SourceConfig(
            self.source,
            self.source_format,
            PairColumns(**self.columns),
            self.source_images,
            self.captions,  # type: ignore[arg-type]  # as the source had it
            self.captions_seed,
        )

    def to_json(self) -> str:
        """Return the file's text."""
        return json.dumps(_without_empty(asdict(self), "hidden_states"), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the file's text; raises ValueError or TypeError if it is not a manifest."""
        return cls(**json.loads(text))

    def require_same(self, other: Self, store: str) -> None:
        """Raise InputError, naming every field that differs, if `other` may not fill the store of this manifest."""
        differences = differing_fields(*(m.what_counts() for m in (self, other)))
        if differences:
            raise InputError(
                f"{store} was made by encoder {self.made_by!r} from {self.source} and cannot be continued with "
                f"{other.made_by!r} from {other.source}: {differences}; give another output folder"
            )

    def what_counts(self) -> dict[str, Any]:
        """Return what may not differ between two runs that fill one store, by name."""
        parts = {"applied": self.applied, "hidden_states": self.hidden_states}
        flat = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        kept = {k: v for k, v in asdict(self).items() if k not in {*_INFORMATIVE, *parts, "view_of"}}
        return kept | flat | {"is a view": bool(self.view_of)}


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """The outcome of one unit; written last. rows_in = embedded + rejected, always: of the source's pairs."""

    unit: str
    file: str
    """The input file, relative to the source."""
    file_digest: str
    """Changes when the input file is written again."""
    start: int
    """First row of the unit in the file."""
    rows_in: int
    embedded: int
    rejected: int
    rejected_by_reason: dict[str, int]
    embedded_by_split: dict[str, int]
    shard: str
    """Name of the unit's file in `shards/` and, if pairs were rejected, in `rejected/`."""
    shard_bytes: int
    shard_sha256: str
    rejected_sha256: str
    """Empty if no pair was rejected."""
    rows_by_split: dict[str, int] = field(default_factory=dict)
    """Rows of the shard, where a pair has one for each of its tokens; empty: as many as pairs."""

    def __post_init__(self) -> None:
        if self.rows_in != self.embedded + self.rejected:
            raise ValueError(
                f"unit {self.unit}: {self.rows_in} rows in, but {self.embedded} embedded + {self.rejected} rejected"
            )

    def pairs_in(self, split: Pairs) -> int:
        """Return the number of the unit's rows of a split, or of all: each is a pair of vectors."""
        rows = self.rows_by_split or self.embedded_by_split
        return sum(rows.values()) if split == "all" else rows.get(split, 0)

    def to_json(self) -> str:
        """Return the record's text."""
        return json.dumps(_without_empty(asdict(self), "rows_by_split"), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a record's text; raises ValueError or TypeError if it is not one."""
        return cls(**json.loads(text))


def _without_empty(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the values without one that says nothing: older versions, which do not know it, read the file."""
    return {key: value for key, value in values.items() if key != name or value}
