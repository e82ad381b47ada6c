"""Training in a notebook: arrays, or a store, in; sparse autoencoders out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from isoenergy.atom_table import AtomTable, StrongestPairs, as_texts, table_of_sums
from isoenergy.codes.numpy_codes import NumpyCodes
from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.errors import InputError, in_brief
from isoenergy.evaluation.embeddings import row_labels
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.statistics.pair_agreement import PairAgreement
from isoenergy.store import EmbeddingStore, PairBatches
from isoenergy.store.given_pairs import GivenPairs
from isoenergy.store.vector_sources import holds_vectors
from isoenergy.training.trainer import Metrics, SaveCheckpoint, Trainer
from isoenergy.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from PIL import Image

    from isoenergy.encoders.dual_encoder import DualEncoder
    from isoenergy.explorer.serving import ServedPage

Rows = Tensor | np.ndarray
SameRows = TypeVar("SameRows", Tensor, np.ndarray)

_LARGEST_BATCH = 512
LEAST_PAIRS = 2
"""One alone has nothing to differ from."""
_ONE_ALONE = (
    "one modality alone, which has nothing to align, is for `isoenergy train --beta 0`, or "
    "isoenergy.sklearn.AlignedSAE().fit(images)"
)
_NOT_IN_A_NOTEBOOK = ("null", "checkpoint_every")


@dataclass(frozen=True)
class Fit:
    """What `fit` returns: it encodes and decodes as the most aligned of its autoencoders does."""

    saes: Mapping[str, SparseAutoencoder]
    """By name, such as `beta-0.0004`; with several seeds, `beta-0.0004-seed-1`."""
    history: list[dict[str, float]]
    """Of each report: `step`, and the metrics of every autoencoder by `name/metric`."""
    config: TrainingConfig
    statistics: ConceptStatistics
    """Of all training pairs, also those that fill no batch, coded by `sae` at the end: its atoms' energies, classes."""
    agreement: PairAgreement
    """Of the same: what an atom's two coefficients have to do with each other."""
    strongest: StrongestPairs | None = None
    """Of the same: which fire each atom most; None if there are no captions."""

    @property
    def sae(self) -> SparseAutoencoder:
        """The autoencoder of the largest β, and of the first seed."""
        return _most_aligned(self.saes)

    @overload
    def encode(self, x: Tensor, modality: str) -> SparseCodes: ...

    @overload
    def encode(self, x: np.ndarray, modality: str) -> NumpyCodes: ...

    def encode(self, x: Rows, modality: str) -> SparseCodes | NumpyCodes:
        """Return the codes of `(batch, dim)` raw embeddings of a modality; see `SparseAutoencoder.encode`."""
        return self.sae.encode(x, modality)

    @overload
    def decode(self, codes: SparseCodes) -> Tensor: ...

    @overload
    def decode(self, codes: NumpyCodes) -> np.ndarray: ...

    def decode(self, codes: SparseCodes | NumpyCodes) -> Rows:
        """Return the `(batch, dim)` rows that codes rebuild."""
        return self.sae.decode(codes)

    @property
    def atoms(self) -> AtomTable:
        """What the training pairs show of each atom of `sae`: with captions, a label and examples too."""
        return table_of_sums(self.statistics, self.agreement, self.strongest, self.sae.config.modalities)

    def top_atoms(
        self, text_or_image: "str | Image.Image", encoder: "DualEncoder | str", count: int = 10
    ) -> list[tuple[int, float]]:
        """Return the strongest atoms of a text or a picture; see `SparseAutoencoder.top_atoms`.

        encoder: or a name that `isoenergy.encoders.load_encoder` takes; it is loaded at each call.
        """
        if isinstance(encoder, str):
            from isoenergy.encoders import load_encoder  # with models that take seconds to import

            encoder = load_encoder(encoder)
        return self.sae.top_atoms(text_or_image, encoder, count)

    @overload
    def without(self, codes: SparseCodes, atoms: Sequence[int]) -> SparseCodes: ...

    @overload
    def without(self, codes: NumpyCodes, atoms: Sequence[int]) -> NumpyCodes: ...

    def without(self, codes: SparseCodes | NumpyCodes, atoms: Sequence[int]) -> SparseCodes | NumpyCodes:
        """Return codes with some atoms' coefficients set to 0; see `SparseAutoencoder.without`."""
        return self.sae.without(codes, atoms)

    def steer(self, rows: SameRows, atom: int, strength: float) -> SameRows:
        """Return `(batch, dim)` rows moved along an atom's direction; see `SparseAutoencoder.steer`."""
        return self.sae.steer(rows, atom, strength)

    def save(self, folder: str | Path) -> None:
        """Write each autoencoder into a folder of its name below `folder`, as `isoenergy train` does."""
        for name, sae in self.saes.items():
            sae.save(Path(folder) / name)

    def explore(self, store: EmbeddingStore | str | Path, **settings: Any) -> "ServedPage":
        """Serve a live page of the autoencoders on a store; see `isoenergy.explore` for the settings."""
        from isoenergy.explorer.serving import explore  # needs the extras `encoders` and `explorer`

        return explore(self.saes, store, **settings)

    def __repr__(self) -> str:
        sae = self.sae
        betas = ", ".join(f"{each.config.beta:g}" for each in self.saes.values())
        return f"Fit(dim {sae.config.dim}, {sae.config.atoms} atoms, k {sae.config.k}, β {betas}, {self.steps} steps)"

    @property
    def steps(self) -> int:
        """Steps that were trained."""
        return int(self.history[-1]["step"])


def fit(
    images: Rows | EmbeddingStore | str | Path,
    texts: Rows | None = None,
    *,
    k: int = 20,
    expansion: int = 8,
    beta: float | Sequence[float] | np.ndarray = 4e-4,
    batch_pairs: int | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    start_from: SparseAutoencoder | Fit | None = None,
    captions: Sequence[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Fit:
    """Train sparse autoencoders on embeddings of images and texts, and return them.

    images, texts: `(pairs, dim)` raw embeddings, row i of one with row i of the other; or, in place of both, an
    embedding store, or a path or URL of one or of what `isoenergy import` takes (`.npz`, clip-retrieval's folders, …),
    whose train split is taken. k: rounds of Matching Pursuit. expansion: atoms, in
    multiples of the width. beta: the alignment's weight (0: a standard SAE), or several: an SAE each, on the same
    batches. batch_pairs: pairs a step; 512, or as many as there are; pairs that fill no batch are left out of an epoch,
    others in each. seed: of the start and the order of the data. device: the GPU, if torch finds one. start_from: an
    autoencoder of the same width, atoms and kind, whose weights all begin with in place of a random start. captions: of
    the pairs of two arrays, for what `Fit.atoms` says; a store has its own. settings: others of `TrainingConfig`, such
    as `epochs`, `learning_rate`, `bias_atoms="means"`, `revival`.

    Raises InputError, naming argument, row and remedy, for what cannot be trained on.
    """
    given = isinstance(images, EmbeddingStore | str | Path)
    if given == (texts is not None):
        raise InputError(
            f"give images and texts as two arrays, or an embedding store, or a path, in place of both; {_ONE_ALONE}"
        )
    known = {each.name for each in fields(TrainingConfig)} - set(_NOT_IN_A_NOTEBOOK)
    if unknown := sorted(set(settings) - known):
        raise InputError(f"fit has no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    store = None
    texts_of_pairs = None
    if given:
        if captions is not None:
            raise InputError("captions are of two arrays, and a store or files have their own; leave captions out")
        if isinstance(images, str | Path) and holds_vectors(str(images)):
            images, texts, texts_of_pairs = _of_files(images)
        else:
            store = images if isinstance(images, EmbeddingStore) else EmbeddingStore.open(str(images))
            texts_of_pairs = store.captions("train")
    elif captions is not None:
        texts_of_pairs = _captions(captions, len(images))  # type: ignore[arg-type]  # no store
    pairs = len(images) if store is None else store.pairs_in("train")  # type: ignore[arg-type]
    if pairs < LEAST_PAIRS:
        raise InputError(
            f"{'the train split' if given else 'images and texts'} must hold {LEAST_PAIRS} pairs or more to train on, "
            f"got {pairs}"
        )
    if batch_pairs is None:
        batch_pairs = max(1, min(_LARGEST_BATCH, pairs))
    config = TrainingConfig(beta=_betas(beta), k=k, expansion=expansion, batch_pairs=batch_pairs, seed=seed, **settings)
    if store is not None:
        batches = store.batches("train", batch_pairs, seed)
    else:
        batches = PairBatches.of_arrays(images, texts, batch_pairs, seed)  # type: ignore[arg-type]  # both are arrays
    _require_one_space(config, batches.widths)
    trainer = Trainer(config, batches, batches.widths[0], _device(device), means=_means(config, batches))
    if start_from is not None:
        _start_from(trainer, start_from.sae if isinstance(start_from, Fit) else start_from)
    history: list[dict[str, float]] = []
    with tqdm(total=trainer.steps, desc="fit", unit=" steps", disable=not progress) as bar:

        def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
            del save
            if not history or history[-1]["step"] < step:
                history.append({"step": step, **metrics})
            bar.update(step - bar.n)

        trainer.run(report)
    saes = {}
    for name, sae in zip(trainer.group.names, trainer.group.saes, strict=True):
        assert isinstance(sae, SparseAutoencoder)  # rows of one width
        saes[name] = sae.cpu().requires_grad_(False).eval()
    return Fit(saes, history, config, *_sums(_most_aligned(saes), batches, texts_of_pairs))


def _of_files(place: str | Path) -> tuple[np.ndarray, np.ndarray, pa.ChunkedArray | None]:
    """Return the images, texts and captions of files of vectors."""
    found = GivenPairs.of_files(str(place), "train")
    if len(found.arrays) == 1:
        raise InputError(f"fit trains on pairs, and {place} holds one modality; {_ONE_ALONE}")
    return *found.two("fit"), found.captions


def _captions(given: Sequence[str], pairs: int) -> pa.ChunkedArray:
    if len(given) != pairs:
        raise InputError(f"captions must be as many as the pairs, {pairs}, got {len(given)}")
    return as_texts(given)


def _betas(given: Any) -> tuple[float, ...]:
    if isinstance(given, str):
        raise InputError(
            f"beta must be one or more numbers, got {given!r}; `isoenergy train --beta auto` looks for one"
        )
    return tuple(np.atleast_1d(given).tolist())


def _device(given: str | torch.device | None) -> torch.device:
    if given is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=given).device
    except (AssertionError, RuntimeError) as error:  # without CUDA, or without a device of that name
        raise InputError(f"device {given} cannot be used ({in_brief(error)}); leave it out, or give cpu") from error


def _require_one_space(config: TrainingConfig, widths: Sequence[int]) -> None:
    if len(widths) == 1:
        raise InputError(f"fit trains on pairs, and the store holds one modality; {_ONE_ALONE}")
    if len(set(widths)) > 1 or config.dictionaries == "own":
        raise InputError(
            f"fit trains one dictionary for images and texts of one width, and widths are "
            f"{' and '.join(map(str, widths))}, dictionaries {config.dictionaries}; "
            f"isoenergy.training.Trainer trains one for each, and so does `isoenergy train --dictionaries own`"
        )


def require_autoencoder(name: str, given: Any) -> None:
    """Raise InputError, naming the argument, for what is no autoencoder with one dictionary."""
    if not isinstance(given, SparseAutoencoder):
        raise InputError(
            f"{name} must be a SparseAutoencoder, or what fit returned, got a {type(given).__name__}; "
            f"isoenergy.SparseAutoencoder.load reads one from a folder or from the hub"
        )


def _start_from(trainer: Trainer, start: SparseAutoencoder) -> None:
    require_autoencoder("start_from", start)
    for sae in trainer.group.saes:
        ours, theirs = ({k: tuple(w.shape) for k, w in each.state_dict().items()} for each in (sae, start))
        if ours != theirs:
            raise InputError(
                f"start_from has weights {theirs}, and what is to be trained {ours}; give the same settings"
            )
        sae.load_state_dict(start.state_dict())


def _most_aligned(saes: Mapping[str, SparseAutoencoder]) -> SparseAutoencoder:
    return max(saes.values(), key=lambda sae: sae.config.beta)


def _sums(
    sae: SparseAutoencoder, batches: PairBatches, captions: pa.ChunkedArray | None
) -> tuple[ConceptStatistics, PairAgreement, StrongestPairs | None]:
    strongest = None if captions is None else StrongestPairs(captions)
    statistics, agreement = ConceptStatistics.zeros(sae.config.atoms), PairAgreement.zeros(sae.config.atoms)
    pairs = batches.order.pairs
    gram = sae.gram_of_frozen(2 * pairs)
    for start in range(0, pairs, batches.batch_pairs):
        rows = batches.rows.take(np.arange(start, min(start + batches.batch_pairs, pairs)))
        both = zip(rows.values(), sae.config.modalities, strict=True)
        image_codes, text_codes = (sae.encode(sae.prepare(side, modality), gram=gram) for side, modality in both)
        statistics.update(image_codes, text_codes)
        agreement.update(image_codes, text_codes, row_labels(next(iter(rows.values())).cpu().numpy()))
        if strongest is not None:
            strongest.update((image_codes, text_codes), start)
    return statistics, agreement, strongest


def _means(config: TrainingConfig, batches: PairBatches) -> dict[str, Tensor] | None:
    """Mean unit row of each modality, where the training asks for it."""
    if config.input != "centred" and config.bias_atoms != "means":
        return None
    rows = batches.rows.take(np.arange(batches.order.pairs))
    return {name: normalize(part.float(), dim=1).mean(0) for name, part in rows.items()}
