"""The sparse autoencoder: a dictionary and the encoder that chooses its atoms; save, load, share."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from isoenergy.codes import Codes, SparseCodes
from isoenergy.errors import InputError
from isoenergy.objective import Alignment, MaskedCosine
from isoenergy.pursuit import gram_matrix, plan_pursuit
from isoenergy.sparse_encoders import MatchingPursuit, SparseEncoder

WEIGHTS_FILE = "sae.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
_NORM_FLOOR = 1e-8

AtomNorm = Literal["unit", "free"]
Input = Literal["normalised", "centred", "raw"]
Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, ...] = ("image", "text")


@dataclass(frozen=True)
class SaeConfig:
    """What a sparse autoencoder is, apart from its weights."""

    dim: int
    """Width of the embeddings."""
    atoms: int
    """Size of the dictionary."""
    k: int
    """Rounds of Matching Pursuit, hence the most atoms in a row's code; of other encoders see `sparse_encoders`."""
    beta: float
    """Weight of the alignment term that it was trained with; 0 for a standard SAE."""
    sparse_encoder: SparseEncoder = field(default_factory=MatchingPursuit)
    """How atoms are chosen."""
    atom_norm: AtomNorm = "unit"
    """unit: atoms are kept at norm 1. free: they are not."""
    input: Input = "normalised"
    """normalised: rows of unit norm. centred: those minus their modality's mean. raw: rows as they are."""
    null: bool = False
    """Whether it was trained on shuffled pairs: what it shows is the objective's own making."""
    alignment: Alignment = field(default_factory=MaskedCosine)
    """What β weighed."""

    def __post_init__(self) -> None:
        for name in ("dim", "atoms", "k"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InputError(f"{name} must be a whole number of at least 1, got {getattr(self, name)}")
        if not self.beta >= 0:
            raise InputError(f"beta must be 0 or more, got {self.beta}")
        for name, allowed in (("atom_norm", get_args(AtomNorm)), ("input", get_args(Input))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not isinstance(self.null, bool):
            raise InputError(f"null must be true or false, got {self.null!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` made `values` of; raises InputError, TypeError or ValueError for others."""
        families = {"sparse_encoder": SparseEncoder, "alignment": Alignment}
        chosen = {name: family.from_dict(values[name]) for name, family in families.items() if name in values}
        return cls(**{**values, **chosen})


class SparseAutoencoder(nn.Module):
    """A learned dictionary `(atoms, dim)` float32, and an encoder; a row is rebuilt as the sum of its code's atoms.

    With Matching Pursuit, the default, there are no weights beside the dictionary, and no bias (paper 1.3).
    """

    image_mean: Tensor
    text_mean: Tensor

    def __init__(self, config: SaeConfig, generator: torch.Generator | None = None) -> None:
        """Draw a Xavier-uniform dictionary from `generator`; project its atoms to unit norm, unless they are free."""
        super().__init__()
        self.config = config
        self.dictionary = nn.Parameter(torch.empty(config.atoms, config.dim))
        nn.init.xavier_uniform_(self.dictionary, generator=generator)
        self.project_atoms()
        self.encoder = config.sparse_encoder.build(self.dictionary.detach(), config.k)
        if config.input == "centred":
            for modality in MODALITIES:
                self.register_buffer(f"{modality}_mean", torch.zeros(config.dim))

    @torch.no_grad()
    def project_atoms(self) -> None:
        """Rescale every atom to unit norm, in place and without gradient, unless atoms are free.

        The trainer calls it after each step.
        """
        if self.config.atom_norm == "unit":
            self.dictionary.div_(self.dictionary.norm(dim=1, keepdim=True) + _NORM_FLOOR)

    def prepare(self, embeddings: Tensor, modality: Modality) -> Tensor:
        """Return `(batch, dim)` raw embeddings of one modality as the rows that `encode` expects: see `Input`."""
        if self.config.input == "raw":
            return embeddings
        rows = normalize(embeddings, dim=1)
        return rows - getattr(self, f"{modality}_mean") if self.config.input == "centred" else rows

    def forward(self, x: Tensor, gram: Tensor | None = None) -> Codes:
        """Encode prepared `(batch, dim)` rows, for training; the reconstruction is `x - codes.residual`."""
        return self.encoder(x, self.dictionary, gram)

    def encode(self, x: Tensor, gram: Tensor | None = None) -> SparseCodes:
        """Encode prepared `(batch, dim)` rows. With `gram_of_frozen`, many batches share one Gram matrix."""
        return self(x, gram).to_sparse()

    def gram_of_frozen(self, rows: int) -> Tensor | None:
        """Return the Gram matrix, to encode `rows` rows in batches while the dictionary stays; None if none pays."""
        if not isinstance(self.config.sparse_encoder, MatchingPursuit):
            return None
        plan = plan_pursuit(rows, self.config.dim, self.config.atoms, self.config.k, self.dictionary.device)
        return None if plan.form == "residual" else gram_matrix(self.dictionary)

    def decode(self, codes: SparseCodes) -> Tensor:
        """Return the `(batch, dim)` sum of the codes' atoms."""
        return nn.functional.embedding_bag(codes.indices, self.dictionary, per_sample_weights=codes.values, mode="sum")

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: the same for the same autoencoder, wherever it is."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `sae.safetensors` and `config.json` into `folder`, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS_FILE)
        (folder / CONFIG_FILE).write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    @classmethod
    def load(cls, place: str | Path) -> Self:
        """Read what `save` wrote: from a folder, `s3://…` or another fsspec URL, or the hub: `hf:ORG/NAME`.

        Nothing is unpickled.
        Raises InputError if there is nothing, a file is missing or unreadable, or the two files disagree.
        """
        from isoenergy.sharing import local_copy  # the hub's client takes a second to import

        with tempfile.TemporaryDirectory() as temporary:
            return cls._load_folder(local_copy(str(place), Path(temporary)), str(place))

    @classmethod
    def _load_folder(cls, folder: Path, place: str) -> Self:
        try:
            config = SaeConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text()))
            with safe_open(folder / WEIGHTS_FILE, framework="pt") as weights:
                shape = list(weights.get_slice("dictionary").get_shape())
            if shape != [config.atoms, config.dim]:  # before memory for what the config says is asked for
                raise InputError(f"{WEIGHTS_FILE} has a dictionary of {shape}, {CONFIG_FILE} says otherwise")
            with torch.device("meta"):
                sae = cls(config)
            sae.load_state_dict(load_file(folder / WEIGHTS_FILE), assign=True)
            sae.requires_grad_()
        except (OSError, TypeError, ValueError, AttributeError, SafetensorError, RuntimeError, InputError) as error:
            what = " ".join(str(error).split())
            raise InputError(
                f"{place} is not a checkpoint ({what}); expected a folder with {WEIGHTS_FILE} and {CONFIG_FILE}, "
                f"as `isoenergy train` writes"
            ) from error
        return sae.float().eval()

    def push_to_hub(self, name: str, card: str | None = None, private: bool = True) -> str:
        """Upload to the Hugging Face hub as `name` (`ORG/NAME`) and return the URL.

        card: the README; `isoenergy train` writes one beside each SAE, and `isoenergy share` takes that. Default: one
        that says what the SAE is.
        Raises InputError if the hub does not take it: no network, no token, no such organisation.
        """
        from isoenergy.sharing import upload, write_for_hub

        with tempfile.TemporaryDirectory() as temporary:
            write_for_hub(self, card, name, Path(temporary))
            return upload(Path(temporary), name, private)
