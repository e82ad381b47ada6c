"""What `isoenergy synthetic` is asked for, and the sweeps that are known by name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, ClassVar

import tyro

from isoenergy.alignments import Alignment, Cosine, GroupSparse, IsoEnergy, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import AtomNorm
from isoenergy.settings.variants import number_text
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, MatchingPursuit, ReLU, SparseEncoder, TopK
from isoenergy.store.order import require_batches
from isoenergy.synthetic.experiment_config import CurvesConfig, RecoveryConfig, SyntheticConfig
from isoenergy.training.training_config import beta_text, parse_beta
from workflows import presets
from workflows.arguments import one_word


@dataclass(frozen=True)
class Sweep:
    """What the SAEs of a seed have in common."""

    name: str
    """Fit for a folder and for MLflow."""
    instance_cosine: float
    sparse_encoder: SparseEncoder
    alignment: Alignment
    betas: tuple[float, ...]


def _weights(text: str) -> tuple[float, ...]:
    found = parse_beta(text)
    if not isinstance(found, tuple):
        raise InputError(
            f"beta must be numbers with commas between, got {text!r}: none is looked for on pairs like these"
        )
    return found


@dataclass(frozen=True)
class SyntheticRun:
    """What is drawn and trained, whatever is measured of it."""

    output: str = "runs/synthetic"
    """Folder or fsspec URL for the seeds' results, the tables and the figures, seen by all nodes; an object store has
    no locks: one run at a time."""
    seeds: int = 10
    """Draws of atoms, pairs and initialisation for each τ₁; each is a task on one CPU."""
    seed: int = 0
    """The first seed; the others count on from it."""
    instance_cosines: tuple[float, ...] = (0.99, 0.5)
    """τ₁: cosines between the image and the text instance of a concept. Near 1 Iso-Energy holds; at 0.5 a concept is
    two atoms, and an atom that fires in both modalities is made up."""
    betas: Annotated[tuple[float, ...], one_word("BETA,…", _weights, tuple, beta_text), tyro.conf.arg(name="beta")] = (
        0.0,
        5e-5,
    )
    """Weights of the alignment term, an SAE each; those of a seed share pairs, order and initialisation. A table with
    three or more, and as many τ₁, has a phase diagram: phases.png and phases.svg."""
    pair_cosine: float = 0.4
    """τ₂: cosine between the image and the text of every pair."""
    pairs: int = 10_000
    """Pairs a seed."""
    dim: int = 512
    """Width of the embeddings."""
    instances: int = 100
    """True atoms: 10 % image biases, 10 % text biases, and an image and a text instance for each concept."""
    atoms: int = 140
    """Atoms of the learned dictionaries."""
    k: int = 10
    """Atoms in a row, true and learned."""
    batch_pairs: int = 512
    """Pairs in a step."""
    learning_rate: float = 5e-4
    """Highest rate of the OneCycle schedule."""
    force: tuple[str, ...] = ()
    """Seeds to do again, by name: see --dry-run."""
    dry_run: bool = False
    """Print what would be run and stop."""

    SWEPT: ClassVar[tuple[str, ...]] = ("instance_cosines", "betas")
    HOW_IT_IS_RUN: ClassVar = ("force", "dry_run")
    RENAMED: ClassVar = {"--betas": "--beta, with commas between"}

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"seeds must be at least 1, got {self.seeds}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        for name in self.SWEPT:
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                given = ", ".join(str(value) for value in values)
                raise InputError(f"{name} must be one or more different values, got {given or 'none'}")
        require_batches(self.pairs, self.batch_pairs, 1)

    def data(self, instance_cosine: float) -> SyntheticConfig:
        """Return what the pairs of a τ₁ are made of."""
        return SyntheticConfig(
            dim=self.dim,
            instances=self.instances,
            atoms_per_row=self.k,
            pairs=self.pairs,
            instance_cosine=instance_cosine,
            pair_cosine=self.pair_cosine,
        )


@dataclass(frozen=True)
class SyntheticTableConfig(SyntheticRun):
    """Train SAEs on pairs made of known atoms and measure what they recover. Seeds that are done are not done again."""

    sparse_encoders: tuple[SparseEncoder, ...] = (MatchingPursuit(),)
    """How atoms are chosen; all on the same pairs, a row of the table each."""
    alignments: tuple[Alignment, ...] = (MaskedCosine(),)
    """What β weighs; all on the same pairs, a row of the table for each and each β above 0."""
    epochs: int = 500
    """Passes over the pairs."""

    SWEPT = (*SyntheticRun.SWEPT, "sparse_encoders", "alignments")

    @property
    def sweep(self) -> list[Sweep]:
        """Return what each table row is of, apart from its β; β = 0 knows no alignment, so only the first has it."""
        found = []
        for cosine, encoder, alignment in product(self.instance_cosines, self.sparse_encoders, self.alignments):
            words = [encoder] * (len(self.sparse_encoders) > 1) + [alignment] * (len(self.alignments) > 1)
            name = "/".join([f"tau-{number_text(cosine)}", *(re.sub("[^a-z0-9.]+", "-", str(word)) for word in words)])
            first = alignment == self.alignments[0]
            betas = self.betas if first else tuple(beta for beta in self.betas if beta > 0)
            if betas:
                found.append(Sweep(name, cosine, encoder, alignment, betas))
        return found

    def experiment(self, sweep: Sweep, seed: int) -> RecoveryConfig:
        """Return what one seed does."""
        return RecoveryConfig(
            data=self.data(sweep.instance_cosine),
            seed=seed,
            betas=sweep.betas,
            atoms=self.atoms,
            k=self.k,
            epochs=self.epochs,
            batch_pairs=self.batch_pairs,
            learning_rate=self.learning_rate,
            sparse_encoder=sweep.sparse_encoder,
            alignment=sweep.alignment,
        )


@dataclass(frozen=True)
class SyntheticCurvesConfig(SyntheticRun):
    """Train SAEs on pairs made of known atoms and measure on the way what they recover. Seeds that are done stay."""

    output: str = "runs/synthetic-curves"
    """Folder or fsspec URL for the seeds' results, the curves and the figures, seen by all nodes; an object store has
    no locks: one run at a time."""
    seeds: int = 5
    """Draws of atoms, pairs and initialisation for each τ₁, norm and length; each is a task on one CPU."""
    betas: tuple[float, ...] = (0.0, 5e-5, 5e-4)
    """Weights of the alignment term, an SAE each, trained together; those of a seed share pairs, order and
    initialisation. How soon a W is reached is told beside β = 0."""
    atom_norms: tuple[AtomNorm, ...] = ("free", "unit")
    """unit: atoms are brought back to norm 1 after each step. free: they are not, as in the paper's released code."""
    epochs: tuple[int, ...] = (60, 500)
    """Passes over the pairs: lengths of training, one after the other. The learning rate rises and falls over each, so
    that a short training ends where a longer one, after as many epochs, is not yet."""
    at: tuple[int, ...] = (
        *(10, 20, 30, 35, 40, 45, 50, 55, 60, 70, 80, 90, 100, 110, 125, 150, 175, 200, 250, 300, 350, 400, 450, 500),
    )
    """Epochs after which SAEs are measured; each length's last one is always."""

    SWEPT = (*SyntheticRun.SWEPT, "atom_norms", "epochs", "at")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("epochs", "at"):
            if min(getattr(self, name)) < 1:
                raise InputError(f"{name} must be at least 1, got {min(getattr(self, name))}")

    def experiment(self, instance_cosine: float, atom_norm: AtomNorm, epochs: int, seed: int) -> CurvesConfig:
        """Return what one seed does."""
        experiment = RecoveryConfig(
            data=self.data(instance_cosine),
            seed=seed,
            betas=self.betas,
            atoms=self.atoms,
            k=self.k,
            epochs=epochs,
            batch_pairs=self.batch_pairs,
            learning_rate=self.learning_rate,
            atom_norm=atom_norm,
        )
        return CurvesConfig(experiment, tuple(epoch for epoch in self.at if epoch < epochs))


ENCODERS = (MatchingPursuit(), TopK(), BatchTopK(), ReLU(), JumpReLU())


ALIGNMENTS = (MaskedCosine(), Cosine(), IsoEnergy(), GroupSparse())


_SHORT = SyntheticTableConfig(seeds=3, epochs=60, learning_rate=2e-3, betas=(0.0, 5e-5, 5e-4))


PRESETS: Mapping[str, SyntheticTableConfig] = {
    "table": SyntheticTableConfig(),
    "neutrality": SyntheticTableConfig(
        output="runs/synthetic-neutrality", seeds=5, instance_cosines=(0.5,), betas=(0.0, 5e-4)
    ),
    "encoders": replace(_SHORT, output="runs/synthetic-encoders", sparse_encoders=ENCODERS),
    "objectives": replace(_SHORT, output="runs/synthetic-objectives", alignments=ALIGNMENTS),
    "phase": replace(
        _SHORT,
        output="runs/synthetic-phase",
        seeds=2,
        instance_cosines=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        betas=(0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
        pair_cosine=0.25,
    ),
}


ABOUT = """Train SAEs on pairs made of known atoms and measure what they recover. Seeds that are done stay.

table: the paper's, with ten seeds a cell. neutrality: at τ₁ = 0.5 and the β that the paper uses on CLIP, five seeds.
encoders, objectives: the same pairs for all of them, three seeds. phase: heat maps over τ₁ and β; two seeds, and at
τ₂ = 0.25, which pairs can have from τ₁ = 0.3 on. The last three train for 60 epochs at four times the rate, not 500:
numbers near those of 500 in an eighth of the time. The phase diagram takes
some ten minutes on two cores. curves: W, mma, R² and bimodal energy over epochs, with atoms of free
and of unit norm, and how much sooner SAEs get somewhere with alignment; five seeds."""


def parse(arguments: Sequence[str] | None) -> SyntheticTableConfig | SyntheticCurvesConfig:
    """Return what a command line asks for."""
    known: dict[str, SyntheticTableConfig | SyntheticCurvesConfig] = {**PRESETS, "curves": SyntheticCurvesConfig()}
    return presets.parse(known, "table", arguments, "synthetic", ABOUT)
