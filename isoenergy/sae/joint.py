"""The joint autoencoder: a dictionary for each modality over one set of atoms, for vectors of different widths.

Atom j has a direction in each modality's space, and a row's code says which atoms it is made of there; codes of all
modalities are indexed alike, so that what compares codes (alignment, energies, μ, classes) is what it is for one shared
dictionary. What compares vectors across modalities (the gap, bridges with A = DDᵀ, interventions in one space) is not
defined: there is no one space.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.fetching import local_copy
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.sae_config import CONFIG_FILE, SaeConfig
from isoenergy.sae.weights_file import (
    UNREADABLE,
    load_weights,
    not_a_checkpoint,
    require_shapes,
    require_unit_atoms,
    save_weights,
    weights_digest,
)

_NORM_FLOOR = 1e-8


class JointAutoencoder(nn.Module):
    """A `SparseAutoencoder` for each modality, whose atoms of one number are one concept."""

    def __init__(self, config: SaeConfig, generator: torch.Generator | None = None) -> None:
        """Draw the dictionaries from `generator`, one modality's after the other; `config` has `widths`."""
        super().__init__()
        self.config = config
        self.dictionaries = [
            SparseAutoencoder(replace(config, dim=width, modalities=(name,), widths=()), generator)
            for name, width in zip(config.modalities, config.widths, strict=True)
        ]
        """The parts that have one dictionary each, in the order of the modalities."""
        self._parts = nn.ModuleList(self.dictionaries)

    def part(self, modality: str) -> SparseAutoencoder:
        """Return the part that serves a modality."""
        if modality not in self.config.modalities:
            raise ValueError(f"modality must be one of {', '.join(self.config.modalities)}, got {modality!r}")
        return self.dictionaries[self.config.modalities.index(modality)]

    @torch.no_grad()
    def start_from(self, rows: Mapping[str, Tensor]) -> None:
        """Begin with atom j in the direction of the j-th of these pairs, in each modality; atoms beyond them stay.

        rows: prepared, `(pairs, width)` by modality. Dictionaries that are drawn apart have nothing in common to align.
        """
        for part, x in zip(self.dictionaries, map(rows.__getitem__, self.config.modalities), strict=True):
            chosen = x[: self.config.atoms]
            part.dictionary[: len(chosen)] = chosen / chosen.norm(dim=1, keepdim=True).clamp_min(_NORM_FLOOR)
            part.encoder = self.config.sparse_encoder.build(part.dictionary.detach(), self.config.k)

    def project_atoms(self) -> None:
        """Rescale every atom to unit norm in each modality, unless atoms are free."""
        for part in self.dictionaries:
            part.project_atoms()

    def prepare(self, embeddings: Tensor | np.ndarray, modality: str) -> Tensor:
        """Return `(batch, width)` raw vectors of one modality as the rows that `encode` expects."""
        return self.part(modality).prepare(embeddings, modality)

    def encode(self, x: Tensor, modality: str) -> SparseCodes:
        """Encode prepared `(batch, width)` rows of one modality."""
        return self.part(modality).encode(x)

    def decode(self, codes: SparseCodes, modality: str) -> Tensor:
        """Return the `(batch, width)` sum of the codes' atoms, as one modality has them."""
        return self.part(modality).decode(codes)

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: the same for the same autoencoder, wherever it is."""
        return weights_digest(self)

    def save(self, folder: str | Path) -> None:
        """Write `sae.safetensors` and `config.json` into `folder`, which is made if need be."""
        save_weights(self, self.config, Path(folder))

    @classmethod
    def load(cls, uri: str | Path) -> Self:
        """Read what `save` wrote, from where `SparseAutoencoder.load` reads too; raises InputError as that does."""
        found = load_autoencoder(uri)
        if not isinstance(found, cls):
            raise InputError(f"{uri} has one dictionary for all modalities: SparseAutoencoder.load takes it")
        return found

    @classmethod
    def _of_folder(cls, folder: Path, config: SaeConfig) -> Self:
        shapes = {f"_parts.{number}.dictionary": [config.atoms, width] for number, width in enumerate(config.widths)}
        require_shapes(folder, shapes)
        with torch.device("meta"):
            sae = cls(config)
        load_weights(sae, folder)
        for part in sae.dictionaries:
            require_unit_atoms(part.dictionary, part.config)
        return sae


Autoencoder = SparseAutoencoder | JointAutoencoder


def build_autoencoder(config: SaeConfig, generator: torch.Generator | None = None) -> Autoencoder:
    """Return a fresh autoencoder, with one dictionary or one for each modality as `config` says."""
    return JointAutoencoder(config, generator) if config.widths else SparseAutoencoder(config, generator)


def load_autoencoder(uri: str | Path) -> Autoencoder:
    """Read an autoencoder of either kind; raises InputError as `SparseAutoencoder.load` does."""
    if ForeignSource.parse(str(uri)) is not None:
        return SparseAutoencoder.load(uri)
    with tempfile.TemporaryDirectory() as temporary:
        folder = local_copy(str(uri), Path(temporary))
        try:
            config = SaeConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text()))
            if config.widths:
                return JointAutoencoder._of_folder(folder, config)
        except UNREADABLE as error:
            raise not_a_checkpoint(str(uri), error) from error
        return SparseAutoencoder._load_folder(folder, str(uri))
