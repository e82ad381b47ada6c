"""What `isoenergy embed` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import tyro

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.encoders import Precision
from isoenergy.encoders.vlm_names import encoder_names, short_name
from isoenergy.errors import InputError
from isoenergy.pairs.captions import CaptionChoice
from isoenergy.pairs.download.downloader import DownloadConfig
from isoenergy.pairs.source import Format, PairColumns
from isoenergy.settings.hidden_states import HiddenStates
from isoenergy.settings.image_choices import ImageReading
from isoenergy.store.manifest import StoredDtype
from workflows.arguments import parse_config
from workflows.cluster.patience import PATIENCE_MINUTES, require_patience


@dataclass(frozen=True)
class EmbedConfig:
    """Embed image-text pairs. What a killed run has committed is kept: run the same command again for the rest."""

    output: str = "runs/embeddings"
    """Folder or fsspec URL of the embedding store; with several encoders, of the folder of their stores."""
    pairs: str = str(BUNDLED_PAIRS)
    """File or folder of pairs; a path or any fsspec URL, such as s3://bucket/folder; several by commas or ::, braces as
    in {00000..00099}.tar, and globs. Default: the bundled pairs."""
    format: Format | None = None
    """The source's format, if it is not to be recognised."""
    images: str = ""
    """Where the images lie that a COCO file or a table names: a folder or a zip, a path or any fsspec URL."""
    columns: PairColumns = field(default_factory=PairColumns)
    captions: CaptionChoice = "all"
    """What becomes of several captions of one image, as a list in a column: each is a pair with a key of its own (the
    image's, # and a number), the first alone, or one at random, drawn by the key."""
    captions_seed: int = 0
    """Of that draw."""
    download: DownloadConfig = field(default_factory=DownloadConfig)
    reading: Annotated[ImageReading, tyro.conf.arg(name="")] = field(default_factory=ImageReading)
    encoder: str = "bundled"
    """One or more, with commas between: all take the same decoded image. bundled; clip, clip-l, openclip, openclip-l,
    siglip, siglip2 (the paper's); open_clip:FOLDER or open_clip:ARCH:PRETRAINED; hf:FOLDER or hf:ID; python:MODULE;
    vlm:FOLDER@LAYER or vlm:ID@LAYER, a layer of a generative model (vlm:FOLDER@4,8,12: three, in one pass)."""
    vlm: HiddenStates = field(default_factory=HiddenStates)
    precision: Precision | Literal["auto"] = "auto"
    """What the encoders compute in. auto: bfloat16 on GPUs, float32 on CPUs."""
    compile: bool = False
    """Compile the encoders with torch.compile: slower to start, faster on GPUs."""
    dtype: StoredDtype = "float16"
    """Precision of the stored embeddings."""
    rows_per_unit: int = 2048
    """Most pairs in a unit of work: what one commit holds, and what a kill can lose. A tar is always one unit."""
    batch_rows: int = 256
    """Pairs that an encoder takes at once."""
    actors: tuple[int, int] | None = None
    """Fewest and most encoder actors; between them the pool follows the load. Default: all that the cluster holds."""
    gpus_per_actor: float = 1.0
    """GPUs of an encoder actor, where there are any; a fraction puts several on one."""
    retry_rejected: bool = False
    """Also try those pairs again that were rejected for reasons that may have gone: a server that did not answer, a
    file that could not be read and may have been mended."""
    patience: float = PATIENCE_MINUTES
    """Minutes that work may wait for room on the cluster, or for S3 to answer; it is said what is waited for."""
    dry_run: bool = False
    """Print the plan, with what 200 pairs took, and stop."""

    HOW_IT_IS_RUN: ClassVar = ("actors", "gpus_per_actor", "download", "retry_rejected", "patience", "dry_run")

    def __post_init__(self) -> None:
        require_patience(self.patience)
        for name in ("rows_per_unit", "batch_rows", "gpus_per_actor"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.gpus_per_actor > 1 and self.gpus_per_actor != int(self.gpus_per_actor):
            raise InputError(f"gpus_per_actor must be a whole number or a fraction of one, got {self.gpus_per_actor}")
        if self.actors is not None and not 1 <= self.actors[0] <= self.actors[1]:
            raise InputError(f"actors must be the fewest, at least 1, and the most, got {self.actors}")
        names = self.encoders
        if not all(names) or len(set(names)) != len(names):
            raise InputError(f"encoder must be different names with commas between, got {self.encoder!r}")

    @property
    def encoders(self) -> list[str]:
        """The names of the encoders, with the settings of those that are layers."""
        return encoder_names(self.encoder, self.vlm)

    def outputs(self) -> list[str]:
        """Return where the store of each encoder lies."""
        names = self.encoders
        if len(names) == 1:
            return [self.output]
        slugs = [
            "".join(c if c.isalnum() or c in "-." else "-" for c in short_name(name)).strip("-.") for name in names
        ]
        if len(set(slugs)) != len(slugs):
            raise InputError(f"the stores of {self.encoder} would share a name; embed them one by one")
        return [f"{self.output.rstrip('/')}/{slug}" for slug in slugs]


def parse(arguments: Sequence[str] | None) -> EmbedConfig:
    """Return what a command line asks for."""
    return parse_config(EmbedConfig, arguments, "isoenergy embed")
