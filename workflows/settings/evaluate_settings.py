"""What `isoenergy evaluate` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from isoenergy.errors import InputError
from isoenergy.evaluation.draw import Draw
from isoenergy.pairs.splits import Pairs
from workflows.arguments import parse_config
from workflows.cluster.patience import PATIENCE_MINUTES, require_patience
from workflows.evaluation.task_config import TasksConfig


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure SAEs on held-out pairs, side by side. Steps that are done are not done again."""

    store: str
    """Embedding store that `isoenergy embed` made, or vectors that are there already, as `isoenergy import` takes them:
    a store of them, a view if it can be, is made in the output, unless you give the one that training has made."""
    saes: tuple[str, ...]
    """SAEs that `isoenergy train` made: the folder that it wrote, which stands for all in it, or folders, fsspec URLs
    or hf:ORG/NAME of single ones; they may come from another store. Those of other libraries: saelens:PLACE,
    dictionary-learning:PLACE, sparsify:PLACE, overcomplete:FILE?kind=mp&k=20. Those of
    `isoenergy train --null` are shown beside the others as what the objective makes of pairs that do not belong
    together."""
    output: str = "runs/evaluation"
    """Folder or fsspec URL for the steps and the summary, seen by all nodes. On an object store, which has no locks,
    one run at a time; nodes keep what they read of it below TMPDIR until the run ends."""
    split: Pairs = "test"
    """Pairs to measure on; all, if what is fitted is fitted on another store."""
    fit_store: str = ""
    """Store on whose train split the atoms' classes and the baselines' means and covariances are fitted; of vectors
    that are no store, `isoenergy import` makes one. Default: the one that the SAEs were trained on, whose sums they
    carry (fitted.safetensors), which shows what carries over to --store; SAEs without them, or of different stores, are
    fitted on --store itself, and that is said. What comes of fitting anew, on the train split of --store, is shown
    beside it. Give --store again to have that alone."""
    fit_pairs: int = 20_000
    """Pairs of the train split to fit on, where the SAEs carry nothing; without such pairs, those that are measured."""
    sample: int = 2000
    """Pairs, drawn at random, for optimal transport (its cost grows with the square) and for p_acc."""
    in_batches: int = 12_800
    """Pairs, drawn at random, for retrieval in the paper's batches of 256, and the shape of the clouds."""
    queries: int = 1500
    """Pairs, drawn at random, whose image and text are looked for in the full gallery."""
    part_pairs: int = 32_768
    """Pairs in a part, one task."""
    seed: int = 0
    """Decides what is drawn, and the bootstrap."""
    tasks: TasksConfig = field(default_factory=TasksConfig)
    force: tuple[str, ...] = ()
    """Steps to do again, with all that follows from them; `*` stands for any text."""
    only: tuple[str, ...] = ()
    """Steps to do, with all that they need, such as `*/geometry`; nothing is summed up then."""
    modalities: str = ""
    """Columns of vectors to take, in this order, with commas between; default: all whose vectors have
    one width, of 16 or more."""
    skip_bad_rows: bool = False
    """Leave out rows of vectors with NaN, infinity or zeros instead of refusing them."""
    patience: float = PATIENCE_MINUTES
    """Minutes that work may wait for room on the cluster, or for S3 to answer; it is said what is waited for."""
    dry_run: bool = False
    """Print the plan and stop."""

    HOW_IT_IS_RUN: ClassVar = ("force", "only", "patience", "dry_run")

    def __post_init__(self) -> None:
        require_patience(self.patience)
        for name in ("fit_pairs", "sample", "in_batches", "queries", "part_pairs"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if not self.saes:
            raise InputError("saes must name at least one folder with an SAE")

    @property
    def draw(self) -> Draw:
        """How many pairs are drawn."""
        return Draw(self.sample, self.in_batches, self.queries, self.seed)


def parse(arguments: Sequence[str] | None) -> EvaluateConfig:
    """Return what a command line asks for."""
    return parse_config(EvaluateConfig, arguments, "isoenergy evaluate")
