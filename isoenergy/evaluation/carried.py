"""What an SAE carries of the store that it was trained on: the sums that `fit` makes there, in one file beside it.

With them an evaluation on another store needs the first one no more. The file holds sums of codes and of embeddings, no
row of either; the matrices are float32, the rest as `fit` sums it, and of the atoms' cross moments the strongest alone:
those that the Σ-bridge may keep.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file
from scipy import sparse

from isoenergy.errors import InputError
from isoenergy.evaluation.fit import (
    AGREEMENT_FILE,
    MOMENTS_FILE,
    SHUFFLED_FILE,
    STATISTICS_FILE,
    FitConfig,
    fit,
    spread_fit,
)
from isoenergy.evaluation.measured_rows import NOT_IDENTITY, Inputs, Result, SaeReference
from isoenergy.sae.fetching import optional_file
from isoenergy.sae.sae_config import FITTED_FILE
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore

FIT_PAIRS = 20_000
"""Pairs of the train split that are fitted on."""
_CROSS_SHARE = 0.005
"""Of all atoms² cross moments, the largest that are carried; the Σ-bridge keeps a thousandth."""
_ORIGINAL = "original"

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Carried:
    """Where the sums come from that an SAE carries."""

    store: str
    """Fingerprint."""
    pairs: int


@dataclass(frozen=True)
class CarriedConfig:
    """Sums that an SAE carries, in place of fitting."""

    uri: str = field(metadata=NOT_IDENTITY)
    carried: Carried
    sae: SaeReference | None = None
    """None: those of the embeddings; else those of what it rebuilds."""


def write_carried(store: EmbeddingStore, saes: Mapping[Path, SaeReference], most_pairs: int = FIT_PAIRS) -> None:
    """Fit on the train split, the embeddings once and what each SAE rebuilds of them, and write it to its folder.

    saes: by folder. As an evaluation on the store would fit, on `most_pairs` pairs from all over it.
    """
    config = spread_fit(store, "train", most_pairs)
    with tempfile.TemporaryDirectory() as temporary:
        pairs = fit(config, {}, Path(temporary))["pairs"]
        original = _named(_ORIGINAL, _single(load_file(Path(temporary, MOMENTS_FILE))))
    for folder, sae in saes.items():
        arrays = original | _of_rebuilt(replace(config, sae=sae))
        save_file(arrays, folder / FITTED_FILE, {"store": store.fingerprint, "pairs": str(pairs)})


def _of_rebuilt(config: FitConfig) -> Arrays:
    """Fit on what an SAE rebuilds, and return what is carried of it."""
    with tempfile.TemporaryDirectory() as temporary:
        rebuilt = Path(temporary)
        fit(config, {}, rebuilt)
        statistics = ConceptStatistics.load(rebuilt / STATISTICS_FILE)
        statistics.cross = strongest(statistics.cross)
        statistics.save(rebuilt / STATISTICS_FILE)
        arrays = _named(MOMENTS_FILE, _single(load_file(rebuilt / MOMENTS_FILE)))
        for name in (STATISTICS_FILE, AGREEMENT_FILE, SHUFFLED_FILE):
            arrays |= _named(name, load_file(rebuilt / name))
    return arrays


def carried_by(uri: str) -> Carried | None:
    """Return where the sums come from that the SAE at `uri` carries; None if it carries none.

    Raises InputError if the file is not what it should be.
    """
    with tempfile.TemporaryDirectory() as temporary:
        file = optional_file(uri, FITTED_FILE, Path(temporary))
        if file is None:
            return None
        try:
            with safe_open(file, framework="numpy") as opened:
                said = opened.metadata() or {}
            return Carried(said["store"], int(said["pairs"]))
        except (SafetensorError, KeyError, ValueError) as error:
            raise InputError(
                f"{FITTED_FILE} of {uri} cannot be read ({error}); remove it, or train again: without it an "
                f"evaluation fits on the store that is measured"
            ) from error


def take_carried(config: CarriedConfig, inputs: Inputs, output: Path) -> Result:
    """Write what an SAE carries as `fit` would have."""
    del inputs
    with tempfile.TemporaryDirectory() as temporary:
        file = optional_file(config.uri, FITTED_FILE, Path(temporary))
        if file is None:
            raise InputError(f"{config.uri} carries no {FITTED_FILE} any more; start the evaluation again")
        arrays = load_file(file)
    for kind, name in (
        ((_ORIGINAL, MOMENTS_FILE),)
        if config.sae is None
        else tuple((name, name) for name in (MOMENTS_FILE, STATISTICS_FILE, AGREEMENT_FILE, SHUFFLED_FILE))
    ):
        chosen = {key.removeprefix(f"{kind}/"): array for key, array in arrays.items() if key.startswith(f"{kind}/")}
        save_file({key: _double(array) for key, array in chosen.items()}, output / name)
    return {"pairs": config.carried.pairs, "split": "train"}


def strongest(cross: sparse.csr_array) -> sparse.csr_array:
    """Return `(atoms, atoms)` cross moments without all but the largest; equal ones at the edge stay."""
    most = int(_CROSS_SHARE * cross.shape[0] * cross.shape[1])
    if cross.nnz <= most:
        return cross
    least = np.partition(np.abs(cross.data), -most)[-most]
    kept = cross.copy()
    kept.data[np.abs(kept.data) < least] = 0
    kept.eliminate_zeros()
    return kept


def _named(kind: str, arrays: Arrays) -> Arrays:
    return {f"{kind}/{key}": array for key, array in arrays.items()}


def _single(arrays: Arrays) -> Arrays:
    """Matrices as float32."""
    return {key: array.astype(np.float32) if array.ndim == 2 else array for key, array in arrays.items()}


def _double(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return array.astype(np.float64) if array.dtype == np.float32 else array
