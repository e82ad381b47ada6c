"""What a search is: its space, how it looks, and what it may take."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Self

import tyro

from isoenergy.errors import InputError
from isoenergy.training.beta_search import AutomaticBeta
from isoenergy.training.training_config import TrainingConfig
from tune.objectives import Objective, Objectives
from tune.proposals import Searcher
from tune.space import SearchSpace
from workflows.cluster.patience import PATIENCE_MINUTES, require_patience


@dataclass(frozen=True)
class SearchConfig:
    """Train SAEs of many settings and find those that no other betters. A search that was cut short goes on."""

    store: str = ""
    """Embedding store that `isoenergy embed` made, or vectors that are there already, as `isoenergy import` takes them:
    they are copied into a store in the search's folder. Its train split is trained on, its validation split measured
    on."""
    modalities: str = ""
    """Columns of vectors to take, in this order, with commas between; default: all whose vectors have one width, of 16
    or more."""
    skip_bad_rows: bool = False
    """Leave out rows of vectors with NaN, infinity or zeros instead of refusing them."""
    name: str = "search"
    """The search's name: the folder below the output, and its run in MLflow."""
    output: str = "runs/searches"
    """Folder or fsspec URL of searches, seen by all nodes."""
    resume: str = ""
    """Go on with the search of this name as it was begun; other options are not needed then, and but for --output,
    --retries and what a pass may take of the cluster they are those that it began with."""
    searcher: Searcher = "optuna"
    """optuna: TPE on all objectives. random. grid: every combination."""
    passes: int = 16
    """Passes over the data, each of which trains --trials SAEs of one expansion and k together; a grid makes all."""
    betas: Annotated[int, tyro.conf.arg(name="trials")] = 4
    """SAEs in a pass, of a beta each: they share batches, which costs less than trainings of their own."""
    grid_points: int = 4
    """Values that a grid takes of each LOW..HIGH."""
    objectives: tuple[Objective, ...] = ("r2", "bimodal-energy")
    """What is wanted, two or more of: r2, mse, bimodal-energy (without that of atoms that are always on), p-acc,
    delta-r1, always-on-energy. Measured on validation pairs."""
    within: float = 0.01
    """The recommended trial is the most aligned, by the first objective that is not of reconstruction, of those whose
    R² is within this share of the best."""
    early_stopping: bool = True
    """Asynchronous successive halving for several objectives: after a part of the training a pass ends unless it is
    among the 1/--reduction of passes whose trials together dominate the most of the objectives' volume. Its trials
    stand on the front with what they had come to."""
    reduction: int = 3
    """One in how many passes goes on at each rung."""
    rungs: int = 3
    """Rungs, the end included: a training is cut into reduction^(rungs - 1) parts, after each of which trials are
    measured and a checkpoint is kept."""
    workers: int = 1
    """Data-parallel workers of a pass; more than one run on Ray Train."""
    cpus: int = 1
    """CPUs of each worker."""
    gpus: float | None = None
    """GPUs of each worker, which may be a part of one. Default: 1 where the cluster has GPUs."""
    concurrent: int | None = None
    """Passes at a time. Default: as many as there is room for."""
    retries: int = 3
    """Times that a pass whose process or node was lost goes on from its last checkpoint."""
    seed: int = 0
    """Decides what is proposed; --training.seed decides the initialisations and the order of the data."""
    space: SearchSpace = field(default_factory=SearchSpace)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """What is not searched: its beta, expansion, k, learning rate, batch, alignment and bias atoms are those to
    begin at."""
    patience: float = PATIENCE_MINUTES
    """Minutes that work may wait for room on the cluster, or for S3 to answer; it is said what is waited for."""
    dry_run: bool = False
    """Print the plan and stop."""

    RENAMED: ClassVar = {"--betas": "--trials"}

    def __post_init__(self) -> None:
        require_patience(self.patience)
        for name in ("passes", "betas", "grid_points", "workers", "cpus"):
            if getattr(self, name) < 1:
                called = "trials" if name == "betas" else name
                raise InputError(f"{called} must be at least 1, got {getattr(self, name)}")
        for name, least in (("reduction", 2), ("rungs", 1), ("retries", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if not 0 <= self.within < 1:
            raise InputError(f"within must be at least 0 and below 1, got {self.within}")
        if self.gpus is not None and self.gpus < 0:
            raise InputError(f"gpus must be 0 or more, got {self.gpus}")
        if self.concurrent is not None and self.concurrent < 1:
            raise InputError(f"concurrent must be at least 1, got {self.concurrent}")
        if not self.name or not self.name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise InputError(f"name must be letters, digits, -, _ and ., got {self.name!r}")
        if self.training.null or isinstance(self.training.beta, AutomaticBeta):
            raise InputError("a search trains on true pairs and finds beta itself; leave out --null and --beta auto")
        Objectives(self.objectives)

    @property
    def parts(self) -> int:
        """Parts of a training, after each of which its trials are measured."""
        return int(self.reduction ** (self.rungs - 1))

    @property
    def folder(self) -> str:
        """Where the search is kept."""
        return f"{self.output.rstrip('/')}/{self.resume or self.name}"

    def plan(self) -> dict[str, Any]:
        """Return what makes this search the one it is, as JSON; not how it is run."""
        values = asdict(self)
        for name in _HOW_IT_IS_RUN:
            del values[name]
        return values

    def of_plan(self, plan: Mapping[str, Any]) -> Self:
        """Return the search of a plan, run as this one is."""
        own = {name: getattr(self, name) for name in _HOW_IT_IS_RUN}
        return type(self)(
            **{
                **plan,
                **own,
                "objectives": tuple(plan["objectives"]),
                "space": SearchSpace.from_dict(plan["space"]),
                "training": TrainingConfig.from_dict(plan["training"]),
            }
        )


_HOW_IT_IS_RUN = (
    "modalities",
    "skip_bad_rows",
    "output",
    "resume",
    "workers",
    "cpus",
    "gpus",
    "concurrent",
    "retries",
    "patience",
    "dry_run",
)
