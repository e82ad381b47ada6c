"""The sparse autoencoder: a dictionary and its Matching Pursuit; save and load."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isoenergy.codes import SparseCodes
from isoenergy.errors import InputError
from isoenergy.pursuit import gram_matrix, matching_pursuit, plan_pursuit

WEIGHTS_FILE = "sae.safetensors"
CONFIG_FILE = "config.json"
_NORM_FLOOR = 1e-8


@dataclass(frozen=True)
class SaeConfig:
    """What a sparse autoencoder is, apart from its weights."""

    dim: int
    """Width of the embeddings."""
    atoms: int
    """Size of the dictionary."""
    k: int
    """Rounds of Matching Pursuit, hence the most atoms in a row's code."""
    beta: float
    """Weight of the alignment term that it was trained with; 0 for a standard SAE."""

    def __post_init__(self) -> None:
        for name in ("dim", "atoms", "k"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.beta >= 0:
            raise InputError(f"beta must be 0 or more, got {self.beta}")


class SparseAutoencoder(nn.Module):
    """Matching Pursuit over a learned dictionary of unit-norm atoms: no encoder weights, no bias (paper 1.3).

    It expects rows of unit L2 norm. `dictionary` is `(atoms, dim)` float32.
    """

    def __init__(self, config: SaeConfig, generator: torch.Generator | None = None) -> None:
        """Draw a Xavier-uniform dictionary from `generator` and project its atoms to unit norm."""
        super().__init__()
        self.config = config
        self.dictionary = nn.Parameter(torch.empty(config.atoms, config.dim))
        nn.init.xavier_uniform_(self.dictionary, generator=generator)
        self.project_atoms()

    @torch.no_grad()
    def project_atoms(self) -> None:
        """Rescale every atom to unit norm, in place and without gradient; the trainer calls it before each forward."""
        self.dictionary.div_(self.dictionary.norm(dim=1, keepdim=True) + _NORM_FLOOR)

    def encode(self, x: Tensor, gram: Tensor | None = None) -> SparseCodes:
        """Encode `(batch, dim)` rows. With `gram_of_frozen` of this SAE, many batches share one Gram matrix."""
        return matching_pursuit(x, self.dictionary, self.config.k, gram=gram)

    def gram_of_frozen(self, rows: int) -> Tensor | None:
        """Return the Gram matrix, to encode `rows` rows in batches while the dictionary stays; None if none pays."""
        plan = plan_pursuit(rows, self.config.dim, self.config.atoms, self.config.k, self.dictionary.device)
        return None if plan.form == "residual" else gram_matrix(self.dictionary)

    def decode(self, codes: SparseCodes) -> Tensor:
        """Return the `(batch, dim)` sum of the codes' atoms."""
        return nn.functional.embedding_bag(codes.indices, self.dictionary, per_sample_weights=codes.values, mode="sum")

    def forward(self, x: Tensor) -> SparseCodes:
        """Encode; the reconstruction is `x - codes.residual`."""
        return self.encode(x)

    def save(self, folder: Path) -> None:
        """Write `sae.safetensors` and `config.json` into `folder`, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"dictionary": self.dictionary.detach().cpu().contiguous()}, folder / WEIGHTS_FILE)
        (folder / CONFIG_FILE).write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises InputError if a file is missing or unreadable, or the two files disagree.
        """
        try:
            config = SaeConfig(**json.loads((folder / CONFIG_FILE).read_text()))
            weights = load_file(folder / WEIGHTS_FILE)
            sae = cls(config)
            sae.load_state_dict(weights)
        except (OSError, TypeError, ValueError, SafetensorError, RuntimeError, InputError) as error:
            raise InputError(
                f"{folder} is not a checkpoint ({error}); expected a folder with {WEIGHTS_FILE} and {CONFIG_FILE}, "
                f"as `isoenergy train` writes"
            ) from error
        return sae
