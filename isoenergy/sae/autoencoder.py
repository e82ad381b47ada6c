"""The sparse autoencoder: a dictionary and the encoder that chooses its atoms; save, load, share."""

import json
import math
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, get_args, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from isoenergy.codes.numpy_codes import NumpyCodes
from isoenergy.codes.sparse_codes import Codes, SparseCodes
from isoenergy.errors import InputError
from isoenergy.pursuit import gram_matrix, plan_pursuit, screen_gram_matrix
from isoenergy.pursuit.checks import check_finite, working_dtype
from isoenergy.sae.fetching import local_copy
from isoenergy.sae.layouts import saelens
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.layouts.reading import read_foreign
from isoenergy.sae.layouts.weights import ForeignWeights
from isoenergy.sae.sae_config import CONFIG_FILE, SaeConfig
from isoenergy.sae.sharing import upload, write_card
from isoenergy.sae.weights_file import (
    UNREADABLE,
    assign_weights,
    load_weights,
    not_a_checkpoint,
    require_shapes,
    require_unit_atoms,
    save_weights,
    weights_digest,
)
from isoenergy.settings.float_arrays import as_float_array
from isoenergy.sparse_encoders import MatchingPursuit

if TYPE_CHECKING:
    from PIL import Image

    from isoenergy.encoders.dual_encoder import DualEncoder

Layout = Literal["isoenergy", "saelens"]
Rows = TypeVar("Rows", Tensor, np.ndarray)
_NORM_FLOOR = 1e-8


class SparseAutoencoder(nn.Module):
    """A learned dictionary `(atoms, dim)` float32, and an encoder; a row is rebuilt as the sum of its code's atoms.

    With Matching Pursuit, the default, there are no weights beside the dictionary, and no bias (paper 1.3).
    """

    def __init__(self, config: SaeConfig, generator: torch.Generator | None = None) -> None:
        """Draw a Xavier-uniform dictionary from `generator`; project its atoms to unit norm, unless they are free."""
        super().__init__()
        self.config = config
        self.dictionary = nn.Parameter(torch.empty(config.atoms, config.dim))
        nn.init.xavier_uniform_(self.dictionary, generator=generator)
        if config.atom_norm == "unit" and not self.dictionary.is_meta:  # a norm there imports sympy, for over a second
            with torch.no_grad():
                self.dictionary.div_(self.dictionary.norm(dim=1, keepdim=True) + _NORM_FLOOR)
        self.encoder = config.sparse_encoder.build(self.dictionary.detach(), config.k)
        if config.input == "centred":
            for modality in config.modalities:
                self.register_buffer(f"{modality}_mean", torch.zeros(config.dim))
        if config.decoder_bias:
            self.register_buffer("decoder_bias", torch.zeros(config.dim))

    def __repr__(self) -> str:
        config = self.config
        norms = "" if config.atom_norm == "unit" else ", free norms"
        return f"SparseAutoencoder(dim {config.dim}, {config.atoms} atoms, k {config.k}, β {config.beta:g}{norms})"

    def __getattr__(self, name: str) -> Any:
        if name == "atoms":
            raise AttributeError(
                "an autoencoder knows no pairs that its atoms could be described by: isoenergy.describe_atoms(sae, "
                "images, texts, captions) returns their table; sae.config.atoms is how many there are"
            )
        return super().__getattr__(name)

    @property
    def dictionaries(self) -> "list[SparseAutoencoder]":
        """The parts that have one dictionary each, and the modalities that it serves in their config: itself alone."""
        return [self]

    def part(self, modality: str) -> "SparseAutoencoder":
        """Return the part that serves a modality."""
        del modality
        return self

    @torch.no_grad()
    def project_atoms(self) -> None:
        """Rescale every atom to unit norm, in place and without gradient, unless atoms are free.

        The trainer calls it after each step.
        """
        if self.config.atom_norm == "unit":
            learned = self.dictionary[self.config.frozen_count :]
            learned.div_(learned.norm(dim=1, keepdim=True) + _NORM_FLOOR)

    @torch.no_grad()
    def start_bias_atoms(self, means: Mapping[str, Tensor]) -> None:
        """Let the bias atoms, if there are any, begin as the directions of the modalities' means.

        means: `(dim,)` mean of each modality's unit rows, by name.
        Raises InputError if one is 0: without a cone there is no direction.
        """
        for number, modality in enumerate(self.config.modalities[: self.config.bias_count]):
            length = means[modality].norm()
            if not length > _NORM_FLOOR:
                raise InputError(f"the mean of {modality} is 0: there is no direction for its bias atom; give none")
            self.dictionary[number] = (means[modality] / length).to(self.dictionary)

    def hold_frozen_atoms(self) -> None:
        """Take the gradient of the atoms that training leaves as they are; the trainer calls it in each step."""
        if self.config.frozen_count and self.dictionary.grad is not None:
            self.dictionary.grad[: self.config.frozen_count] = 0

    def prepare(self, embeddings: Tensor | np.ndarray, modality: str) -> Tensor:
        """Return `(batch, dim)` raw embeddings of one modality as the rows that `encode` expects: see `Input`.

        embeddings: floats of any precision, an array as well as a tensor; the rows have the dictionary's.
        Rows of zeros stay such, with a warning: they have no direction. Raises ValueError for another width or type,
        for rows too large to be normalised, or for a modality that the autoencoder was not trained on.
        """
        if modality not in self.config.modalities:
            raise ValueError(f"modality must be {' or '.join(self.config.modalities)}, got {modality!r}")
        rows = self._as_rows(embeddings, "embeddings")
        if self.config.input != "raw":
            if not self.training:  # where batches have been looked at
                _require_norms(rows)
            rows = normalize(rows, dim=1)
        origin = self._origin(modality)
        return rows if origin is None else rows - origin

    def restore(self, rows: Tensor, modality: str) -> Tensor:
        """Return `(batch, dim)` rebuilt rows with what `prepare` subtracted: the modality's mean, the decoder's bias.

        They are embeddings of unit norm, approximately, or those given if the input is raw.
        """
        origin = self._origin(modality)
        return rows if origin is None else rows + origin

    def _origin(self, modality: str) -> Tensor | None:
        """What `prepare` subtracts of rows of a modality, `(dim,)`."""
        names = [f"{modality}_mean"] * (self.config.input == "centred") + ["decoder_bias"] * self.config.decoder_bias
        found: Tensor | None = None
        for name in names:
            part: Tensor = getattr(self, name)
            found = part if found is None else found + part
        return found

    def forward(self, x: Tensor, gram: Tensor | None = None) -> Codes:
        """Encode prepared `(batch, dim)` rows, for training; the reconstruction is `x - codes.residual`."""
        codes: Codes = self.encoder(x, self.dictionary, gram)
        return codes

    @overload
    def encode(self, x: Tensor, modality: str | None = None, *, gram: Tensor | None = None) -> SparseCodes: ...

    @overload
    def encode(self, x: np.ndarray, modality: str | None = None, *, gram: Tensor | None = None) -> NumpyCodes: ...

    def encode(
        self, x: Tensor | np.ndarray, modality: str | None = None, *, gram: Tensor | None = None
    ) -> SparseCodes | NumpyCodes:
        """Encode `(batch, dim)` rows; codes of an array are arrays, without gradient, and those of a tensor tensors.

        modality: what raw embeddings are of: they are prepared. None: the rows are as `prepare` returns them, or in any
        precision.
        gram: that of `gram_of_frozen`, which many batches may share.
        Raises ValueError, naming argument and rows, for another width, for what is not finite, or for a stale `gram`.
        """
        rows = self._as_rows(x, "x") if modality is None else self.prepare(x, modality)
        if self.training:  # the encoder takes rows of training as looked at
            check_finite(rows, "x")
        as_arrays = not isinstance(x, Tensor)
        with torch.no_grad() if as_arrays else nullcontext():
            codes: Codes = self(rows, gram)
            found = codes.to_sparse()
        return found.numpy() if as_arrays else found

    def _as_rows(self, x: Tensor | np.ndarray, name: str) -> Tensor:
        rows = x if isinstance(x, Tensor) else torch.from_numpy(as_float_array(x))
        if rows.layout != torch.strided:
            raise ValueError(f"{name} must be a dense tensor, got {rows.layout}; give {name}.to_dense()")
        if rows.ndim != 2 or rows.shape[1] != self.config.dim or not rows.is_floating_point():
            raise ValueError(
                f"{name} must be floats of shape (batch, {self.config.dim}), got {rows.dtype} of {tuple(rows.shape)}"
            )
        return rows.to(self.dictionary.dtype)

    def gram_of_frozen(self, rows: int) -> Tensor | None:
        """Return the Gram matrix, to encode `rows` rows in batches while the dictionary stays; None if none pays."""
        if not isinstance(self.config.sparse_encoder, MatchingPursuit):
            return None
        its, atoms = self.config, self.dictionary
        plan = plan_pursuit(rows, its.dim, its.atoms, its.k, atoms.device, working_dtype(atoms))
        if plan.form == "residual":
            return None
        return screen_gram_matrix(atoms) if plan.form == "screen" else gram_matrix(atoms)

    @overload
    def decode(self, codes: SparseCodes) -> Tensor: ...

    @overload
    def decode(self, codes: NumpyCodes) -> np.ndarray: ...

    def decode(self, codes: SparseCodes | NumpyCodes) -> Tensor | np.ndarray:
        """Return the `(batch, dim)` sum of the codes' atoms, an array of arrays; it is of prepared rows."""
        if isinstance(codes, NumpyCodes):
            tensors = (torch.from_numpy(x) for x in (codes.indices, codes.values, codes.residual))
            with torch.no_grad():
                return self.decode(SparseCodes(*tensors)).cpu().numpy()
        return nn.functional.embedding_bag(codes.indices, self.dictionary, per_sample_weights=codes.values, mode="sum")

    @torch.no_grad()
    def top_atoms(
        self, text_or_image: "str | Image.Image", encoder: "DualEncoder", count: int = 10
    ) -> list[tuple[int, float]]:
        """Return the strongest atoms of a text or a picture, with their coefficients, the largest first.

        encoder: of the model whose embeddings it was trained on, as `isoenergy.encoders.load_encoder` returns it.
        Raises ValueError for anything else.
        """
        if not hasattr(encoder, "encode_texts"):
            raise ValueError(
                f"encoder must be what isoenergy.encoders.load_encoder returns, got {encoder!r:.100}"
                f"{f'; give load_encoder({encoder!r:.100})' if isinstance(encoder, str) else ''}"
            )
        if isinstance(text_or_image, str):
            modality, rows = "text", encoder.encode_texts([text_or_image])
        else:
            modality, rows = "image", encoder.encode_images([text_or_image])
        codes = self.encode(self.prepare(rows.to(self.dictionary.device), modality))
        both = zip(codes.indices[0].tolist(), codes.merged_values()[0].tolist(), strict=True)
        return sorted(((atom, value) for atom, value in both if value), key=lambda pair: -abs(pair[1]))[:count]

    @overload
    def without(self, codes: SparseCodes, atoms: Sequence[int]) -> SparseCodes: ...

    @overload
    def without(self, codes: NumpyCodes, atoms: Sequence[int]) -> NumpyCodes: ...

    def without(self, codes: SparseCodes | NumpyCodes, atoms: Sequence[int]) -> SparseCodes | NumpyCodes:
        """Return the codes, of tensors or of arrays, with the coefficients of some atoms set to 0.

        Raises ValueError for one that is not there, and for what is no list of numbers.
        """
        if not isinstance(atoms, Iterable):
            raise ValueError(f"atoms must be numbers of atoms, such as [{atoms!r}], got {atoms!r}")
        keep = np.ones(self.config.atoms, bool)
        keep[[self._atom(atom) for atom in atoms]] = False
        return codes.keep(keep)

    def steer(self, rows: Rows, atom: int, strength: float) -> Rows:
        """Return `(batch, dim)` rows moved along an atom's direction: `strength` is what its coefficient gains.

        rows: as `prepare` returns them, or rebuilt; an array of an array. Raises ValueError for an atom that is not
        there, and for a strength that is not finite.
        """
        if not math.isfinite(strength):
            raise ValueError(f"strength must be finite, got {strength}")
        direction = self.dictionary[self._atom(atom)].detach()
        if isinstance(rows, Tensor):
            return rows + strength * direction.to(rows)
        return rows + strength * direction.cpu().numpy().astype(rows.dtype)

    def _atom(self, atom: Any) -> int:
        is_truth = getattr(atom, "dtype", type(atom)) in (bool, np.bool_, torch.bool)
        is_number = hasattr(atom, "__index__") and not is_truth
        with suppress(TypeError):  # a float in a tensor or an array
            if is_number and 0 <= index(atom) < self.config.atoms:
                return index(atom)
        mask = "; codes.keep takes a mask" if is_truth else ""
        raise ValueError(f"atoms are numbered from 0 to {self.config.atoms - 1}, got {atom!r}{mask}")

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: the same for the same autoencoder, wherever it is."""
        return weights_digest(self)

    def save(self, folder: str | Path, layout: Layout = "isoenergy") -> None:
        """Write `sae.safetensors` and `config.json` into `folder`, which is made if need be.

        layout: saelens writes `sae_weights.safetensors` and `cfg.json`, which `SAE.load_from_disk` of SAELens 6 reads;
        it is to be given rows as `prepare` returns them, before the decoder's bias is subtracted. Raises InputError
        for what SAELens does not have.
        """
        if layout == "saelens":
            saelens.write(self.config, self.state_dict(), Path(folder))
        elif layout == "isoenergy":
            save_weights(self, self.config, Path(folder))
        else:
            raise InputError(f"layout must be {' or '.join(get_args(Layout))}, got {layout!r}")

    @classmethod
    def load(cls, uri: str | Path) -> Self:
        """Read what `save` wrote: from a folder, `s3://…` or another fsspec URL, or the hub: `hf:ORG/NAME`.

        `saelens:PLACE`, `dictionary-learning:PLACE`, `sparsify:PLACE` and `overcomplete:FILE?kind=KIND&k=K` are those
        libraries' files, in such places too; `?input=normalised` says that rows of unit norm are meant. They take rows
        of two modalities, image and text. Nothing is unpickled.
        Raises InputError if there is nothing, a file is missing or unreadable, or the two files disagree.
        """
        foreign = ForeignSource.parse(str(uri))
        if foreign is not None:
            return cls._of_weights(read_foreign(foreign), foreign)
        with tempfile.TemporaryDirectory() as temporary:
            return cls._load_folder(local_copy(str(uri), Path(temporary)), str(uri))

    @classmethod
    def _of_weights(cls, weights: ForeignWeights, source: ForeignSource) -> Self:
        with torch.device("meta"):
            sae = cls(weights.config)
        try:
            assign_weights(sae, weights.tensors, str(source))
        except RuntimeError as error:
            raise InputError(f"{source} has weights of shapes that do not fit together ({error})") from error
        require_unit_atoms(sae.dictionary, sae.config)
        return sae

    @classmethod
    def _load_folder(cls, folder: Path, uri: str) -> Self:
        try:
            config = SaeConfig.from_dict(json.loads((folder / CONFIG_FILE).read_text()))
            if config.widths:
                raise InputError("it has a dictionary for each modality: JointAutoencoder.load takes it")
            require_shapes(folder, {"dictionary": [config.atoms, config.dim]})
            with torch.device("meta"):
                sae = cls(config)
            load_weights(sae, folder)
            require_unit_atoms(sae.dictionary, sae.config)
        except UNREADABLE as error:
            raise not_a_checkpoint(uri, error) from error
        return sae

    def push_to_hub(self, name: str, card: str | None = None, private: bool = True) -> str:
        """Upload to the Hugging Face hub as `name` (`ORG/NAME`) and return the URL.

        card: the README; `isoenergy train` writes one beside each SAE, and `isoenergy share` takes that. Default: one
        that says what the SAE is.
        Raises InputError if the hub does not take it: no network, no token, no such organisation.
        """
        with tempfile.TemporaryDirectory() as temporary:
            self.save(Path(temporary))
            write_card(self.config, card, name, Path(temporary))
            return upload(Path(temporary), name, private)


def _require_norms(rows: Tensor) -> None:
    """Raise ValueError, naming the first, if rows have a norm that the precision cannot hold; warn of zeros."""
    if rows.is_meta:
        return
    norms = rows.norm(dim=1)
    if (zero := norms == 0).any():
        first = zero.nonzero()[:5, 0].tolist()
        warnings.warn(
            f"embeddings are zero in rows {first}{' …' * (len(first) == 5)}: so are their codes", stacklevel=3
        )
    if not (beyond := norms.isinf()).any():
        return
    first = (beyond & rows.isfinite().all(dim=1)).nonzero()[:5, 0].tolist()
    if first:
        raise ValueError(f"embeddings are too large to be normalised in rows {first}{' …' * (len(first) == 5)}")
