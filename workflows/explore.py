"""`isoenergy explore`: a live page on autoencoders and a store."""

import logging
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from isoenergy.storage.files import without_secrets
from workflows.command import run_command
from workflows.settings.explore_settings import ExploreConfig, parse

if TYPE_CHECKING:
    from isoenergy.explorer.serving import ServedPage
    from isoenergy.explorer.web_page import Access

_LOG = logging.getLogger("workflows.explore")  # `python -m` calls the module otherwise
_NO_TOKEN = "none"


def run(config: ExploreConfig) -> "ServedPage":
    """Take the port, read, and encode what is not encoded yet; return the page, which is not served yet."""
    from isoenergy.explorer.taken_port import bound

    taken = bound(config.host, config.port)  # before the work, which would be lost without it
    _LOG.info("explore: opening %s", without_secrets(config.store))
    from isoenergy.explorer.serving import ServedPage, named_saes, open_exploration  # seconds, as torch comes along
    from isoenergy.explorer.web_page import web_page
    from isoenergy.store import EmbeddingStore
    from isoenergy.store.vector_sources import holds_vectors

    uri = config.store
    if holds_vectors(uri):
        from workflows.training.vector_stores import store_of  # starts Ray for large ones

        uri = store_of(uri, config.modalities, config.output)
    if config.encoder:
        _LOG.info("reading the pairs, then loading %s …", config.encoder)
    exploration = open_exploration(
        named_saes(config.saes),
        EmbeddingStore.open(uri),
        Path(config.output),
        config.encoder,
        config.images,
        config.most_pairs,
        config.seed,
    )
    access = access_of(config)
    return ServedPage(web_page(exploration, access), access, taken)


def access_of(config: ExploreConfig) -> "Access":
    """Return who may ask."""
    from isoenergy.explorer.web_page import LOOPBACK, Access

    token = "" if config.token == _NO_TOKEN else config.token or secrets.token_urlsafe(24)
    named = tuple(name.strip().lower() for name in config.hosts.split(",") if name.strip())
    return Access(token, named or (LOOPBACK if config.host in LOOPBACK else ()), config.read_only)


def start(config: ExploreConfig) -> None:
    """Serve until the command is stopped."""
    page = run(config)
    print("explorer   " + "\n           ".join(page.urls), flush=True)
    if page.is_open:
        who = "has the token of these addresses" if page.access.token else "reaches this machine"
        _LOG.warning("it listens on all interfaces, over plain HTTP: whoever %s may look", who)
    _LOG.info("Ctrl+C ends it; notes and codes are kept in %s", config.output)
    with suppress(KeyboardInterrupt):  # a server that is told to end has done its work
        page.run()
    print("isoenergy: stopped", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
