"""Which SAEs a command line means: those that it names, and those in the folders that it names."""

import json
from collections.abc import Sequence

from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.sae.fetching import HUB
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.sae_config import CONFIG_FILE, WEIGHTS_FILE
from isoenergy.storage.files import last_part, open_filesystem

DONE_FILE = "done.json"
"""What `isoenergy train` leaves in its output when it has ended: the SAEs' names, in their order."""


def given_saes(uris: Sequence[str]) -> tuple[str, ...]:
    """Return the URIs of SAEs: a folder that is none itself stands for those in it, in the order of their training.

    In the order of their names, if `isoenergy train` did not make them together.
    """
    return tuple(dict.fromkeys(sae for uri in uris for sae in _given(uri)))


def require_no_saes(uri: str) -> None:
    """Raise InputError if SAEs lie where a store, or vectors, should; files of a URL are not listed for it."""
    if "://" in uri and uri.startswith("http"):
        return
    saes = [last_part(sae) for sae in given_saes([uri]) if _is_sae(*open_filesystem(sae))]
    if saes:
        raise InputError(
            f"{uri} holds SAEs ({', '.join(saes[:3])}{' …' * (len(saes) > 3)}) and no store; give the store that "
            "`isoenergy embed` or `isoenergy import` has made as --store"
        )


def _given(uri: str) -> list[str]:
    if uri.startswith(HUB) or ForeignSource.parse(uri) is not None:
        return [uri]
    filesystem, root = open_filesystem(uri)
    if not filesystem.isdir(root) or filesystem.exists(f"{root}/{CONFIG_FILE}"):
        return [uri]
    children = {last_part(path) for path in filesystem.ls(root, detail=False)}
    first = [name for name in _trained_together(filesystem, root) if name in children]
    there = [*first, *sorted(children - set(first))]
    saes = [name for name in there if _is_sae(filesystem, f"{root}/{name}")]
    return [f"{uri.rstrip('/')}/{name}" for name in saes] or [uri]


def _trained_together(filesystem: AbstractFileSystem, root: str) -> list[str]:
    try:
        names: list[str] = json.loads(filesystem.cat_file(f"{root}/{DONE_FILE}"))["saes"]
    except FileNotFoundError:
        return []
    return names


def _is_sae(filesystem: AbstractFileSystem, folder: str) -> bool:
    return all(filesystem.exists(f"{folder}/{file}") for file in (CONFIG_FILE, WEIGHTS_FILE))
