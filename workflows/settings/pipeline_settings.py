"""What `isoenergy pipeline` is asked for, and what it asks of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

import tyro

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.errors import InputError
from isoenergy.pairs.captions import CaptionChoice
from isoenergy.pairs.source import PairColumns
from isoenergy.settings.image_choices import ImageReading
from isoenergy.training.training_config import TrainingConfig
from tune.search_config import SearchConfig
from tune.space import SearchSpace
from workflows import presets
from workflows.cluster.patience import PATIENCE_MINUTES, require_patience
from workflows.evaluation.task_config import BUNDLED_TASKS, TasksConfig
from workflows.settings.embed_settings import EmbedConfig
from workflows.settings.evaluate_settings import EvaluateConfig
from workflows.settings.train_settings import TrainConfig
from workflows.settings.tune_settings import DEMO_SPACE
from workflows.training.training_placement import AUTOMATIC, Workers

_SEARCH = "search"


@dataclass(frozen=True)
class PipelineConfig:
    """What goes in, where everything goes."""

    output: str = "runs/demo"
    """Folder or fsspec URL, seen by all nodes, for the store, the SAEs, the evaluation and the report; a run that was
    cut short goes on from there."""
    pairs: str = str(BUNDLED_PAIRS)
    """Whatever `isoenergy embed` takes. Default: the bundled pairs."""
    images: str = ""
    """Where the images lie that a COCO file or a table names."""
    columns: PairColumns = field(default_factory=PairColumns)
    captions: CaptionChoice = "all"
    """What becomes of several captions of one image: each is a pair, the first, or one at random."""
    captions_seed: int = 0
    """Of that draw."""
    reading: Annotated[ImageReading, tyro.conf.arg(name="")] = field(default_factory=ImageReading)
    encoder: str = "bundled"
    """One of those that `isoenergy embed` takes."""
    workers: Workers = AUTOMATIC
    """Data-parallel training workers; see `isoenergy train --help`."""
    tasks: TasksConfig = field(default_factory=TasksConfig)
    """Those of the bundled pairs, unless others are given, if these are the pairs."""
    null_model: bool = True
    """Train on shuffled pairs too, at the same β, and show what the objective makes of those beside the rest; see
    `isoenergy train --help`, --null."""
    tune: bool = False
    """Search for settings, as `isoenergy tune` does, instead of training those given; evaluate the front that it finds.
    The options below but beta, expansion, k, learning rate, batch, alignment and bias atoms hold for all trials."""
    passes: int = 8
    """Passes of the search, each with --trials betas."""
    trials: int = 4
    """SAEs in a pass of the search, of one expansion and k."""
    space: SearchSpace = field(default_factory=SearchSpace)
    training: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=TrainingConfig)
    patience: float = PATIENCE_MINUTES
    """Minutes that work may wait for room on the cluster, or for S3 to answer; it is said what is waited for."""
    dry_run: bool = False
    """Print the plan and stop: with exit code 3 where a stage cannot be planned before another has run."""

    HOW_IT_IS_RUN: ClassVar = ("workers", "patience", "dry_run")

    @property
    def without_effect(self) -> tuple[str, ...]:
        """The parameters of the search, where none runs."""
        return () if self.tune else ("passes", "trials", "space")

    def __post_init__(self) -> None:
        require_patience(self.patience)
        if self.training.null:
            raise InputError("a pipeline trains on true pairs, and then on shuffled ones if --null-model is given")
        if "," in self.encoder:
            raise InputError(f"a pipeline takes one encoder, got {self.encoder!r}; run one for each")

    def part(self, name: str) -> str:
        """Return the URI of a part of the output."""
        return f"{self.output.rstrip('/')}/{name}"

    def embedding(self) -> EmbedConfig:
        """Return the config of the embed stage."""
        return EmbedConfig(
            output=self.part("store"),
            pairs=self.pairs,
            images=self.images,
            columns=self.columns,
            captions=self.captions,
            captions_seed=self.captions_seed,
            reading=self.reading,
            encoder=self.encoder,
            patience=self.patience,
            dry_run=self.dry_run,
        )

    def train_stage(self) -> TrainConfig:
        """Return the config of the train stage."""
        return TrainConfig(
            store=self.part("store"),
            output=self.part("saes"),
            workers=self.workers,
            training=self.training,
            patience=self.patience,
            dry_run=self.dry_run,
        )

    def search(self) -> SearchConfig:
        """Return the config of the tune stage."""
        return SearchConfig(
            store=self.part("store"),
            name=_SEARCH,
            output=self.output.rstrip("/"),
            passes=self.passes,
            betas=self.trials,
            space=self.space,
            training=replace(self.training, seeds=1),
            patience=self.patience,
            dry_run=self.dry_run,
        )

    @property
    def may_have_null(self) -> bool:
        """Whether null models are trained, if a β above 0 is."""
        return self.null_model and self.training.alignment.needs_pairs

    def null_stage(self, betas: Sequence[float]) -> TrainConfig | None:
        """Return the config of the null models' training; None if none is to be had: no β, or pairs never matter."""
        aligned = tuple(dict.fromkeys(beta for beta in betas if beta > 0))
        if not (self.may_have_null and aligned):
            return None
        training = replace(self.training, beta=aligned, null=True)
        return replace(self.train_stage(), output=self.part("null-saes"), training=training)

    def evaluation(self, saes: Sequence[str]) -> EvaluateConfig:
        """Return the config of the evaluate stage."""
        return EvaluateConfig(
            store=self.part("store"),
            saes=tuple(saes),
            output=self.part("evaluation"),
            tasks=BUNDLED_TASKS if self.pairs == str(BUNDLED_PAIRS) and self.tasks == TasksConfig() else self.tasks,
            patience=self.patience,
            dry_run=self.dry_run,
        )


def parse(arguments: Sequence[str] | None) -> PipelineConfig:
    """Return what a command line asks for."""
    choices = {
        "demo": PipelineConfig(training=replace(presets.TRAINING["demo"], seeds=3), space=DEMO_SPACE),
        "paper": PipelineConfig(output="runs/paper", training=presets.TRAINING["paper"]),
    }
    return presets.parse(choices, "demo", arguments, "pipeline", "Embed, train, evaluate and report.")
