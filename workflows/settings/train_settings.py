"""What `isoenergy train` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import tyro

from isoenergy.errors import InputError
from isoenergy.settings.residence import Residence
from isoenergy.storage.files import absolute_uri
from isoenergy.training.training_config import TrainingConfig
from workflows import presets
from workflows.cluster.patience import PATIENCE_MINUTES, require_patience
from workflows.training.training_placement import AUTOMATIC, Workers
from workflows.training.training_stores import TrainingStores


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, where to. A run that was cut short goes on: run the same command again."""

    store: str = tyro.MISSING
    """Embedding store that `isoenergy embed` made; its train split is trained on. Or vectors that
    are there already, as `isoenergy import` takes them: a store of them, a view if it can be, is made in the output."""
    modalities: str = ""
    """Columns of vectors to take, in this order, with commas between; default: all whose vectors have
    one width, of 16 or more."""
    texts: str = ""
    """Another store to take the texts from, which are then not paired with the images: needs --alignment iso-energy."""
    output: str = "runs/saes"
    """Folder or fsspec URL for the SAEs and the checkpoints, seen by all nodes."""
    workers: Workers = AUTOMATIC
    """Data-parallel workers, or the fewest and the most of an elastic run; the result does not depend on their number.
    auto: one a GPU; without GPUs one a node, with all of its CPUs."""
    residence: Residence = "auto"
    """Where the pairs are while training: on the device, in memory (one copy a node), or streamed from the store.
    auto: the first of these of which they take at most half."""
    keep_checkpoints: int = 2
    """Checkpoints kept, the last ones, beside the best."""
    patience: float = PATIENCE_MINUTES
    """Minutes that work may wait for room on the cluster, or for S3 to answer; it is said what is waited for."""
    skip_bad_rows: bool = False
    """Leave out pairs with NaN, infinity or zeros, and bad rows of vectors, instead of refusing them."""
    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    dry_run: bool = False
    """Print the plan, with the time that 20 steps took, and stop."""

    HOW_IT_IS_RUN: ClassVar = ("workers", "residence", "keep_checkpoints", "patience", "dry_run")

    def __post_init__(self) -> None:
        require_patience(self.patience)
        if self.keep_checkpoints < 1:
            raise InputError(f"keep_checkpoints must be at least 1, got {self.keep_checkpoints}")
        if self.texts and self.training.null:
            raise InputError("null shuffles pairs, and texts of another store are in no pair; give --texts or --null")
        if self.texts and self.training.alignment.needs_pairs:
            raise InputError(
                f"texts of another store are not paired with the images, and {self.training.alignment} needs pairs; "
                f"give --alignment iso-energy"
            )

    @property
    def stores(self) -> TrainingStores:
        """Where pairs come from."""
        return TrainingStores(absolute_uri(self.store), absolute_uri(self.texts or self.store))


def parse(arguments: Sequence[str] | None) -> TrainConfig:
    """Return what a command line asks for."""
    choices = {name: TrainConfig(training=training) for name, training in presets.TRAINING.items()}
    return presets.parse(
        choices, "paper", arguments, "train", "Train one SAE for each β and seed, on the same batches."
    )
