"""What a training is: settings with the paper's values as defaults."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from numbers import Real
from typing import Any, Literal, Self, get_args

from isoenergy.alignments import Alignment, MaskedCosine
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import AtomNorm, BiasAtoms, Input, SaeConfig
from isoenergy.settings.modalities import MODALITIES, Widths
from isoenergy.settings.numbers import finite_number, whole_number
from isoenergy.settings.variants import number_text
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder
from isoenergy.training.beta_search import AutomaticBeta, BetaRule

Beta = tuple[float, ...] | AutomaticBeta
Dictionaries = Literal["auto", "shared", "own"]

_LEAST_DEAD_AFTER = 10
_MAY_BE_ZERO = ("seed", "revival", "null", "bias_learned")


@dataclass(frozen=True)
class TrainingConfig:
    """How the SAEs are trained; the defaults are the paper's for CLIP ViT-B/32."""

    beta: Beta = (0.0, 4e-4)
    """Weights of the alignment term, relative to the per-element mean squared error: an SAE each, 0 a standard one.
    Each alignment has its own scale: at width d and k atoms a row, the term weighs more than all of the reconstruction
    from about 1/d on, group-sparse from 1/(d·√(2k)) on.
    auto: 0, and the largest that costs at most a little R² and does not let codes collapse, found by short trainings
    first; auto:tolerance=0.03,always-on=0.01,epochs=1,rounds=3 has the settings."""
    seeds: int = 1
    """SAEs of each β, from different initialisations, on the same batches."""
    null: bool = False
    """Train on shuffled pairs, the false-positive test: each image gets the text of another, the same one all along, so
    that whatever its SAEs find to be shared is the objective's own making. A β of 0, which never looks at pairs, is
    left out."""
    alignment: Alignment = field(default_factory=MaskedCosine)
    """masked-cosine: as in the paper's code, each modality's top atom is exempt. cosine: as in its text. iso-energy:
    the difference of both modalities' energies, which needs no pairs. group-sparse: sparsity over the pair,
    whose β is to be smaller than the others' (see beta)."""
    sparse_encoder: SparseEncoder = field(default_factory=MatchingPursuit)
    """How atoms are chosen; the others are there to compare Matching Pursuit with."""
    expansion: int = 8
    """Atoms in the dictionary, in multiples of the embeddings' width."""
    atoms: int | None = None
    """Atoms in the dictionary, if they are not a multiple of the width."""
    k: int = 20
    """Rounds of Matching Pursuit; atoms a row of top-k, and on average of batch-top-k."""
    dictionaries: Dictionaries = "auto"
    """shared: one dictionary for all modalities. own: one for each, over the same atoms; what compares vectors across
    modalities is then not defined. auto: shared if they have one width."""
    atom_norm: AtomNorm = "unit"
    """unit: atoms are brought back to norm 1 after each step. free: they are not, as in the paper's released code."""
    input: Input = "normalised"
    """normalised: rows of unit norm. centred: those minus their modality's mean. raw: rows as they are stored."""
    bias_atoms: BiasAtoms = "none"
    """none: the paper's, every atom from a random start. means: one atom a modality begins as the direction of its mean
    and is exempt from the alignment by what it is, not by its rank: removing unimodal atoms then closes the gap that
    else is smeared over many."""
    bias_learned: bool = False
    """Learn those atoms too; else they stay the means' directions, as what is learned may drift into alignment."""
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
    dead_after: int | None = None
    """Steps in which no row of the batch chose an atom, for it to count as dead. None: a fiftieth of all steps, which
    leaves what comes alive again the time to learn; at least 10."""
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
        self._take_numbers_of_any_type()
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and item.name not in _MAY_BE_ZERO and not 0 < value < math.inf:
                raise InputError(f"{item.name} must be {'finite' if value == math.inf else 'above 0'}, got {value}")
        if self.dictionaries not in get_args(Dictionaries):
            raise InputError(
                f"dictionaries must be one of {', '.join(get_args(Dictionaries))}, got {self.dictionaries}"
            )
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, got {self.seed}")
        if not 0 <= self.revival < math.inf:
            raise InputError(f"revival must be 0 or more, got {self.revival}")
        if self.null:
            self._require_that_pairs_matter()
        if isinstance(self.beta, AutomaticBeta):
            return
        if not self.beta or len(set(self.beta)) != len(self.beta):
            raise InputError(f"beta must be one or more different numbers, got {self.beta}")

    def _take_numbers_of_any_type(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "beta":
                if isinstance(value, Real):
                    value = (value,)
                if not isinstance(value, AutomaticBeta):
                    value = tuple(finite_number("beta", beta) for beta in value)
            elif item.type is int or (item.type == int | None and value is not None):
                value = whole_number(item.name, value)
            elif isinstance(value, Real) and not isinstance(value, bool):
                value = float(value)
            object.__setattr__(self, item.name, value)

    def _require_that_pairs_matter(self) -> None:
        if not self.alignment.needs_pairs:
            raise InputError(
                f"null shuffles pairs, and {self.alignment} never looks at pairs: its null model is the model itself; "
                f"give another alignment"
            )
        if isinstance(self.beta, AutomaticBeta):
            raise InputError("null needs a beta; let auto find it on the true pairs first, then give that one")
        if not any(self.beta):
            raise InputError(
                "null shuffles pairs, and an SAE of beta 0 never looks at pairs: its null model is the SAE itself; "
                "give a beta above 0"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` made `values` of, also by way of JSON; raises InputError or TypeError."""
        beta = values["beta"]
        return cls(
            **{
                **values,
                "beta": BetaRule.from_dict(beta) if isinstance(beta, Mapping) else tuple(beta),
                "alignment": Alignment.from_dict(values["alignment"]),
                "sparse_encoder": SparseEncoder.from_dict(values["sparse_encoder"]),
            }
        )

    def dead_after_of(self, steps: int) -> int:
        """Return after how many steps without a row an atom counts as dead in a run of `steps` steps."""
        return max(_LEAST_DEAD_AFTER, steps // 50) if self.dead_after is None else self.dead_after

    @property
    def betas(self) -> tuple[float, ...]:
        """The β that are trained; raises InputError if they are yet to be found."""
        if isinstance(self.beta, AutomaticBeta):
            raise InputError("beta is auto: it is yet to be found")
        return tuple(beta for beta in self.beta if beta > 0 or not self.null)

    def saes(self, dim: Widths) -> dict[str, tuple[SaeConfig, int]]:
        """Return each SAE's config and the seed of its initialisation, by name, for embeddings of width `dim`.

        Raises InputError if one dictionary is to serve modalities of different widths.
        """
        by_name = dim if isinstance(dim, Mapping) else dict.fromkeys(MODALITIES, int(dim))
        widths = tuple(by_name.values())
        differ = len(set(widths)) > 1
        if differ and self.dictionaries == "shared":
            raise InputError(
                f"one dictionary cannot serve vectors of widths {', '.join(map(str, widths))}; give --dictionaries own"
            )
        own = differ or self.dictionaries == "own"
        return {
            sae_name(beta, seed, self.seeds, self.null): (
                SaeConfig(
                    dim=sum(widths) if own else widths[0],
                    atoms=self.atoms_for(dim),
                    k=self.k,
                    beta=beta,
                    alignment=self.alignment,
                    sparse_encoder=self.sparse_encoder,
                    atom_norm=self.atom_norm,
                    input=self.input,
                    bias_atoms=self.bias_atoms,
                    bias_learned=self.bias_learned,
                    null=self.null,
                    modalities=tuple(by_name),
                    widths=widths if own else (),
                ),
                self.seed + seed,
            )
            for seed, beta in product(range(self.seeds), self.betas)
        }

    def atoms_for(self, dim: Widths) -> int:
        """Return the size of the dictionary for embeddings of width `dim`; that of the widest, if widths differ."""
        if self.atoms is not None:
            return self.atoms
        return self.expansion * int(max(dim.values()) if isinstance(dim, Mapping) else dim)

    @property
    def names(self) -> list[str]:
        """The SAEs' names, in the order of `saes`."""
        return [sae_name(beta, seed, self.seeds, self.null) for seed, beta in product(range(self.seeds), self.betas)]


def with_defaults(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as `asdict` has them; those that an earlier version did not have yet, and save, are default."""
    return {**asdict(TrainingConfig()), **saved}


def sae_name(beta: float, seed: int = 0, seeds: int = 1, null: bool = False) -> str:
    """Return the name of an SAE, fit for a folder: `beta-0`, `beta-0.0004`, `null-beta-0.0004`.

    One of several seeds is `beta-0-seed-2`.
    """
    name = f"{'null-' * null}beta-{number_text(float(beta))}"
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
