"""SAEs of other libraries in an evaluation: read once, and written beside its steps as this program's own."""

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.calibration import calibrate, lacks_threshold
from isoenergy.sae.joint import Autoencoder, load_autoencoder
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.storage.files import open_filesystem, write_atomically
from isoenergy.store import EmbeddingStore

_LOG = logging.getLogger("workflows.evaluate")
_FOLDER = "saes"
_PAIRS_A_BATCH, _BATCHES = 1024, 16
_DIGITS = 6


def load_all(uris: Sequence[str], output: str, store: EmbeddingStore, dry_run: bool) -> dict[str, Autoencoder]:
    """Return the autoencoders by where the evaluation's steps find them: a foreign one in a copy, below `output`.

    Nothing is written if dry.
    """
    found: dict[str, Autoencoder] = {}
    for uri in uris:
        sae = calibrated(load_autoencoder(uri), uri, store)
        foreign = ForeignSource.parse(uri)
        if foreign is not None:
            assert isinstance(sae, SparseAutoencoder)
            uri = f"{output}/{_FOLDER}/{_name(foreign, uri)}"
            if not dry_run:
                _write(sae, uri)
        found[uri] = sae
    return found


def calibrated(sae: Autoencoder, uri: str, store: EmbeddingStore) -> Autoencoder:
    """Return an autoencoder; a BatchTopK that has no threshold gets one from the store's train split, with a warning.

    Raises InputError if the store has no pairs to find a threshold on.
    """
    if not isinstance(sae, SparseAutoencoder) or not lacks_threshold(sae):
        return sae
    if not store.pairs_in("train"):
        raise InputError(f"{uri} has no threshold, and {store.uri} has no train split to find one on")
    batches = store.batches("train", min(_PAIRS_A_BATCH, store.pairs_in("train")), seed=0)
    pairs = [both for both in islice(batches.epoch(0), _BATCHES)]
    sides = zip(sae.config.modalities, zip(*pairs, strict=True), strict=True)
    rows = torch.cat([sae.prepare(torch.cat(parts), name) for name, parts in sides])
    threshold = calibrate(sae, rows)
    _LOG.warning(
        "%s: its files have no threshold; with %.6g, %d atoms fire a row on average over %d rows of %s",
        uri,
        threshold,
        sae.config.k,
        len(rows),
        store.uri,
    )
    return sae


def _name(foreign: ForeignSource, uri: str) -> str:
    """Return the layout, the last part of the URI and what tells it from another."""
    last = foreign.uri.rstrip("/").rsplit("/", 1)[-1]
    return f"{foreign.layout}-{last}-{hashlib.sha256(uri.encode()).hexdigest()[:_DIGITS]}"


def _write(sae: SparseAutoencoder, uri: str) -> None:
    filesystem, root = open_filesystem(uri)
    filesystem.makedirs(root, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        sae.save(temporary)
        for file in sorted(Path(temporary).iterdir()):
            write_atomically(filesystem, f"{root}/{file.name}", file.read_bytes())
