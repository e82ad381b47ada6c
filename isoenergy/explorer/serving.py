"""An exploration from places, and its page on a port: for the command line and for notebooks."""

import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette

from isoenergy.encoders.dual_encoder import DualEncoder
from isoenergy.errors import InputError
from isoenergy.explorer.asked_encoder import AskedEncoder
from isoenergy.explorer.coded_pairs import CodedPairs
from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.gallery import MOST_PAIRS, Gallery
from isoenergy.explorer.notes import Notes
from isoenergy.explorer.pictures import ImageBytes, OfSource, OfStore, Pictures
from isoenergy.explorer.taken_port import bound, reached_by
from isoenergy.explorer.web_page import Access, web_page
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.given_saes import given_saes
from isoenergy.storage.files import last_part
from isoenergy.store import EmbeddingStore
from isoenergy.store.picture_columns import given_images

Sae = SparseAutoencoder | str | Path
_CACHE = "cache"


@runtime_checkable
class FittedSaes(Protocol):
    """What `isoenergy.fit` returns."""

    @property
    def saes(self) -> Mapping[str, SparseAutoencoder]:
        """Its autoencoders, by name."""
        ...


def open_exploration(
    saes: Mapping[str, SparseAutoencoder],
    store: EmbeddingStore,
    output: Path,
    encoder: str | DualEncoder = "",
    images: str = "",
    most_pairs: int = MOST_PAIRS,
    seed: int = 0,
) -> Exploration:
    """Read a store's pairs and encode them by each autoencoder, once, as bars tell: `output` keeps that, and the notes.

    encoder: the one that made the store, or its name, if that does not say. images: a column of the store with image
    files or their URLs, or a folder or zip of image files that are named as the pairs are, in place of the store's
    source.
    Raises InputError for what cannot be explored, and for an encoder that is named and cannot be had.
    """
    notes = Notes(output)
    cache = output / _CACHE
    manifest = store.manifest
    files: ImageBytes | None = None
    if images:
        files = OfStore(given_images(store, images))
    elif manifest.source_config is not None:
        files = OfSource(manifest.source_config)
    steps = [f"{number}/{len(saes) + 2} " for number in range(1, len(saes) + 3)]
    gallery = Gallery.of(store, cache, most_pairs, seed, steps[0])
    coded = [
        CodedPairs.of(each, sae, gallery, store, cache, step)
        for (each, sae), step in zip(saes.items(), steps[1:-1], strict=True)
    ]
    asked = None  # last: it is loaded while the page is already there
    if not isinstance(encoder, str):
        asked = AskedEncoder(encoder.name, gallery.dim, load=lambda _: encoder)
    elif name := encoder or manifest.encoder:
        asked = AskedEncoder(name, gallery.dim, manifest.encoder_digest if name == manifest.encoder else "")
        if encoder:
            asked.require()  # who names one wants it; without the store's own the page is worth having
    return Exploration(
        gallery,
        coded,
        cache,
        Pictures(gallery, files, manifest.image_reading),
        notes,
        asked,
        manifest.image_reading,
        "/".join(store.uri.rstrip("/").split("/")[-2:]),
        steps[-1],
    )


def named_saes(saes: Sae | Sequence[Sae] | Mapping[str, Sae] | FittedSaes) -> dict[str, SparseAutoencoder]:
    """Return autoencoders by name: that of a mapping, or the last part of their place.

    A folder that is none but holds some stands for these. Raises InputError if there is none.
    """
    if isinstance(saes, FittedSaes):
        saes = saes.saes
    if isinstance(saes, Mapping):
        return {name: _loaded(sae) for name, sae in saes.items()}
    given = [saes] if isinstance(saes, SparseAutoencoder | str | Path) else list(saes)
    found: dict[str, SparseAutoencoder] = {}
    for sae in given:
        for each in [sae] if isinstance(sae, SparseAutoencoder) else given_saes([str(sae)]):
            name = f"beta-{each.config.beta:g}" if isinstance(each, SparseAutoencoder) else last_part(each)
            if name in found:
                name = f"{name}-{len(found) + 1}"
            found[name] = _loaded(each)
    if not found:
        raise InputError("give at least one autoencoder to explore")
    return found


def _loaded(sae: Sae) -> SparseAutoencoder:
    return sae if isinstance(sae, SparseAutoencoder) else SparseAutoencoder.load(sae)


class ServedPage:
    """A page that is served from this process; in a notebook it shows itself."""

    def __init__(self, app: Starlette, access: Access, taken: socket.socket | None = None) -> None:
        """Serve on a port that is `taken`; on a free one of the loopback if there is none."""
        self._socket, self.access = taken or bound(), access
        self.port: int = self._socket.getsockname()[1]
        token = f"?token={quote(access.token)}" if access.token else ""
        hosts = reached_by(self._socket)
        known = [host for host in hosts if access.knows(host)] or list(access.hosts[:1])
        self.urls = [f"http://{f'[{host}]' if ':' in host else host}:{self.port}/{token}" for host in known]
        """All addresses that are answered, `url` the first."""
        self.url = self.urls[0]
        self.is_open = len(hosts) > 1
        """Whether it listens on all interfaces."""
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Serve until the process is told to end."""
        self._server.run(sockets=[self._socket])

    def start(self) -> "ServedPage":
        """Serve from a thread."""
        self._thread = threading.Thread(target=self.run, daemon=True, name="explorer")
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(0.01)
        return self

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(10)
        self._socket.close()

    def __repr__(self) -> str:
        return f"explorer at {self.url}"

    def _repr_html_(self) -> str:
        return f'<iframe src="{escape(self.url)}" width="100%" height="820" style="border:0"></iframe>'


def explore(
    saes: Sae | Sequence[Sae] | Mapping[str, Sae] | FittedSaes,
    store: EmbeddingStore | str | Path,
    *,
    output: str | Path | None = None,
    encoder: str | DualEncoder = "",
    images: str = "",
    port: int = 0,
    **settings: Any,
) -> ServedPage:
    """Serve a page that shows autoencoders on a store, from this process; in a notebook it shows itself.

    saes: an autoencoder, its place, several, a mapping from names, or what `fit` returned. output: where notes and
    codes are kept; a temporary folder if there is none. encoder, images, most_pairs, seed: see `open_exploration`. It
    listens on the loopback alone, and asks for the token that is in its `url`; `close()` ends it.
    Raises InputError for what cannot be explored, and for a port that is taken.
    """
    taken = bound(port=port)  # before the work, which would be lost without it
    try:
        opened = store if isinstance(store, EmbeddingStore) else EmbeddingStore.open(str(store))
        place = Path(output) if output is not None else Path(tempfile.mkdtemp(prefix="isoenergy-explorer-"))
        exploration = open_exploration(named_saes(saes), opened, place, encoder, images, **settings)
    except BaseException:
        taken.close()
        raise
    access = Access(secrets.token_urlsafe(24))
    return ServedPage(web_page(exploration, access), access, taken).start()
