"""What `isoenergy arena` is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from isoenergy.arena.budget import MOST_NEAREST
from isoenergy.errors import InputError
from workflows import presets
from workflows.arguments import parse_config


@dataclass(frozen=True)
class ArenaConfig:
    """Train and measure methods on the same pairs, under one budget. Trainings that are done are not done again."""

    store: str = ""
    """Embedding store that `isoenergy embed` or `import` made, of images and texts in one space. With a preset of known
    atoms: none."""
    output: str = "runs/arena"
    """Folder or fsspec URL for the trainings' results, the page and the tables, seen by all nodes; an object store has
    no locks: one run at a time."""
    reference: str = ""
    """Store of the same pairs by another encoder, whose similarity judges what fires an atom (MMS), each modality's
    rows less their mean over the train pairs; its judgement with its cones (`mms_uncentred`) and the store's own stand
    beside it. Default: the store alone, which the page says is no independent judge."""
    transfer: str = ""
    """Store by the same encoder, of a drawing style never seen, say: what was trained here, with classes, means and
    matching of the train pairs here, is measured on its test pairs too. Default: none; one given later trains anew."""
    labels: str = ""
    """Column of the store with a class of each pair, for the clusters; default: none. A class counts that has 10 test
    pairs or more, of which there must be two; pairs of others, or without a value, are clustered and not counted."""
    methods: tuple[str, ...] = ()
    """Names of the methods, as `arena.json` has them; default: all."""
    seeds: int = 3
    """Trainings of each method and strength, which differ in initialisation and order of the pairs."""
    seed: int = 0
    """The first one, and that of the draw of pairs; the others count on from it."""
    expansion: int = 2
    """Atoms of a dictionary, in multiples of the width."""
    k: int = 16
    """Atoms in a row."""
    epochs: int = 8
    """Passes over the train pairs."""
    batch_pairs: int = 256
    """Pairs in a step."""
    learning_rate: float = 1e-3
    """Highest rate of the OneCycle schedule."""
    train_pairs: int = 20_000
    """Most pairs that are trained on: a random draw of the train split."""
    validation_pairs: int = 1_000
    """Most pairs that strengths are chosen on."""
    test_pairs: int = 1_500
    """Most pairs that all is measured on."""
    known_cosine: float | None = None
    """τ₁ of pairs made of known atoms, in place of a store: the cosine of a concept's two instances."""
    known_dim: int = 128
    """Their width; there are 80 instances of 40 concepts and 20 biases."""
    here: bool = False
    """Run in this process, one training after the other, without Ray."""
    force: tuple[str, ...] = ()
    """Trainings to do again, by name: see --dry-run."""
    dry_run: bool = False
    """Print what would be run and stop."""

    HOW_IT_IS_RUN: ClassVar = ("here", "force", "dry_run")

    def __post_init__(self) -> None:
        if bool(self.store) == (self.known_cosine is not None):
            raise InputError(
                "the arena needs pairs: give --store STORE, or one of the presets shared and split, which make them"
            )
        for name in ("seeds", "expansion", "train_pairs", "validation_pairs", "test_pairs", "known_dim"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("validation_pairs", "test_pairs"):
            if getattr(self, name) <= MOST_NEAREST:
                raise InputError(
                    f"{name} must be more than {MOST_NEAREST}, among which a partner is looked for, got "
                    f"{getattr(self, name)}"
                )
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if len(set(self.methods)) != len(self.methods):
            raise InputError(f"methods must be different ones, got {', '.join(self.methods)}")
        if self.known_cosine is not None and (self.reference or self.labels or self.transfer):
            raise InputError("reference, transfer and labels are of a store; pairs of known atoms take none")


_KNOWN = ArenaConfig(
    known_cosine=0.99,
    output="runs/arena-shared",
    expansion=1,
    k=10,
    epochs=40,
    learning_rate=2e-3,
    train_pairs=5_000,
    validation_pairs=1_000,
    test_pairs=1_000,
)

PRESETS: Mapping[str, ArenaConfig] = {
    "shared": _KNOWN,
    "split": replace(_KNOWN, known_cosine=0.5, output="runs/arena-split"),
}


ABOUT = """Train and measure methods on pairs made of known atoms. shared: the two instances of a concept are nearly one
direction (τ₁ = 0.99). split: they are two (τ₁ = 0.5)."""


def parse(arguments: Sequence[str] | None) -> ArenaConfig:
    """Return what a command line asks for: a preset's name first, or a store."""
    if arguments and arguments[0] in PRESETS:
        config = presets.parse(PRESETS, "shared", arguments, "arena", ABOUT)
    else:
        config = parse_config(ArenaConfig, arguments, "isoenergy arena")
    if "--methods" in (arguments or ()) and not config.methods:
        raise InputError("--methods takes a name or several; without --methods all are run")
    return config
