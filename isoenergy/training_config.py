"""What a training is: settings with the paper's values as defaults."""

import math
from dataclasses import dataclass, field, fields
from itertools import product

from isoenergy.beta_search import AutomaticBeta, BetaRule
from isoenergy.errors import InputError
from isoenergy.objective import Alignment, MaskedCosine
from isoenergy.sae import AtomNorm, Input, SaeConfig
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder
from isoenergy.variants import number_text

Beta = tuple[float, ...] | AutomaticBeta


@dataclass(frozen=True)
class TrainingConfig:
    """How the SAEs are trained; the defaults are the paper's for CLIP ViT-B/32."""

    beta: Beta = (0.0, 4e-4)
    """Weights of the alignment term, relative to the per-element mean squared error: an SAE each, 0 a standard one.
    auto: 0, and the largest that costs at most a little R² and does not let codes collapse, found by short trainings
    first; auto:tolerance=0.03,always-on=0.01,epochs=1,rounds=3 has the settings."""
    seeds: int = 1
    """SAEs of each β, from different initialisations, on the same batches."""
    alignment: Alignment = field(default_factory=MaskedCosine)
    """masked-cosine: as in the paper's code, each modality's top atom is exempt. cosine: as in its text. iso-energy:
    the difference of both modalities' energies, which needs no pairs. group-sparse: sparsity over the pair."""
    sparse_encoder: SparseEncoder = field(default_factory=MatchingPursuit)
    """How atoms are chosen; the others are there to compare Matching Pursuit with."""
    expansion: int = 8
    """Atoms in the dictionary, in multiples of the embeddings' width."""
    atoms: int | None = None
    """Atoms in the dictionary, if they are not a multiple of the width."""
    k: int = 20
    """Rounds of Matching Pursuit; atoms a row of top-k, and on average of batch-top-k."""
    atom_norm: AtomNorm = "unit"
    """unit: atoms are brought back to norm 1 after each step. free: they are not, as in the paper's released code."""
    input: Input = "normalised"
    """normalised: rows of unit norm. centred: those minus their modality's mean. raw: rows as they are stored."""
    epochs: int = 5
    """Passes over the train split."""
    batch_pairs: int = 512
    """Pairs in a step, over all workers; twice as many rows."""
    learning_rate: float = 5e-4
    """Highest rate of the OneCycle schedule."""
    gradient_clip: float = 1.0
    """Largest gradient norm of one SAE."""
    revival: float = 0.0
    """Weight of the loss by which dead atoms learn what the others leave, on the scale of beta; 0, the paper's: off."""
    dead_after: int = 100
    """Steps in which no row of the batch chose an atom, for it to count as dead."""
    seed: int = 0
    """Decides the initialisation and the order of the data; further seeds count on from it."""
    window_pairs: int = 2**17
    """Pairs among which the order is random: what a streaming reader holds, over all workers."""
    validation_pairs: int = 2048
    """Pairs of the validation split on which each checkpoint is measured; it is never trained on."""
    log_every: int = 10
    """Steps between two reports of the metrics."""
    checkpoint_every: int = 200
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and item.name not in ("seed", "revival") and not 0 < value < math.inf:
                raise InputError(f"{item.name} must be {'finite' if value == math.inf else 'above 0'}, got {value}")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if not 0 <= self.revival < math.inf:
            raise InputError(f"revival must be 0 or more, got {self.revival}")
        if isinstance(self.beta, AutomaticBeta):
            return
        if not self.beta or len(set(self.beta)) != len(self.beta):
            raise InputError(f"beta must be one or more different numbers, got {self.beta}")
        if not all(0 <= beta < math.inf for beta in self.beta):
            raise InputError(f"beta must be 0 or more, got {self.beta}")

    @property
    def betas(self) -> tuple[float, ...]:
        """The β; raises InputError if they are yet to be found."""
        if isinstance(self.beta, AutomaticBeta):
            raise InputError("beta is auto: it is yet to be found")
        return self.beta

    def saes(self, dim: int) -> dict[str, tuple[SaeConfig, int]]:
        """Return each SAE's config and the seed of its initialisation, by name, for embeddings of width `dim`."""
        return {
            sae_name(beta, seed, self.seeds): (
                SaeConfig(
                    dim=dim,
                    atoms=self.atoms_for(dim),
                    k=self.k,
                    beta=beta,
                    sparse_encoder=self.sparse_encoder,
                    atom_norm=self.atom_norm,
                    input=self.input,
                ),
                self.seed + seed,
            )
            for seed, beta in product(range(self.seeds), self.betas)
        }

    def atoms_for(self, dim: int) -> int:
        """Return the size of the dictionary for embeddings of width `dim`."""
        return self.expansion * dim if self.atoms is None else self.atoms

    @property
    def names(self) -> list[str]:
        """The SAEs' names, in the order of `saes`."""
        return [sae_name(beta, seed, self.seeds) for seed, beta in product(range(self.seeds), self.betas)]


def sae_name(beta: float, seed: int = 0, seeds: int = 1) -> str:
    """Return the name of an SAE, fit for a folder: `beta-0`, `beta-0.0004`; one of several seeds: `beta-0-seed-2`."""
    name = f"beta-{number_text(float(beta))}"
    return f"{name}-seed-{seed}" if seeds > 1 else name


def parse_beta(text: str) -> Beta:
    """Return the β that `0,1e-4` or `auto` stands for; raises InputError for anything else."""
    if text == "auto" or text.startswith("auto:"):
        found = BetaRule.parse(text)
        assert isinstance(found, AutomaticBeta)
        return found
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise InputError(f"beta must be numbers with commas between, or auto, got {text!r}") from error


def beta_text(beta: Beta) -> str:
    """Return what `parse_beta` takes."""
    return str(beta) if isinstance(beta, AutomaticBeta) else ",".join(number_text(float(value)) for value in beta)
