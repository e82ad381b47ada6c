"""Autoencoders from elsewhere: object stores and the Hugging Face hub."""

import re
from contextlib import suppress
from pathlib import Path

from fsspec import AbstractFileSystem

from isoenergy.errors import InputError, in_brief
from isoenergy.sae.layouts.foreign_source import LAYOUTS, ForeignSource, known_layout
from isoenergy.sae.sae_config import CARD_FILE, CONFIG_FILE, FITTED_FILE, WEIGHTS_FILE
from isoenergy.storage.files import last_part, open_filesystem, without_secrets

HUB = "hf:"
HUB_FILES = (CONFIG_FILE, WEIGHTS_FILE, FITTED_FILE)
_LARGEST_TEXT = 2**20
_SHOWN = 4
_PREFIX = re.compile(r"[A-Za-z][\w-]+:")


def hub_name(name: str) -> str:
    """Return `ORG/NAME` of `ORG/NAME`, `hf:ORG/NAME` or `hf://ORG/NAME`; raises InputError for anything else."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    bare = name.removeprefix(HUB).removeprefix("//")
    with suppress(HFValidationError):
        validate_repo_id(bare)
        if "/" in bare:
            return bare
    raise InputError(
        f"{name!r} is not a name on the Hugging Face hub; expected ORG/NAME or hf:ORG/NAME, where ORG is a user or an "
        f"organisation, of letters, digits, '-', '_' and '.'"
    )


def local_copy(uri: str, temporary: Path) -> Path:
    """Return a local folder with the files of the autoencoder at `uri`: a folder, an fsspec URL, or `hf:ORG/NAME`.

    temporary: an empty folder, for what has to be fetched from an object store; the hub's client has its own cache.
    Raises InputError if it cannot be had, lacks a file, or has a configuration too large to be one; it names the
    autoencoders that are in a folder which is none itself.
    """
    if not uri.strip():
        raise InputError("the name of the autoencoder is empty; give a folder, an fsspec URL, or hf:ORG/NAME")
    if uri.startswith(HUB):
        from isoenergy.storage.hub import snapshot  # the hub's client takes a second to import

        name = hub_name(uri)
        hub_token()
        folder = snapshot(name, HUB_FILES, (WEIGHTS_FILE,))
    elif "://" in uri:
        folder = _fetched(uri, temporary)
    else:
        folder = Path(uri)
    try:
        if not folder.exists():
            libraries = f". Those of other libraries are {', '.join(f'{layout}:PLACE' for layout in LAYOUTS)}"
            raise InputError(_no_checkpoint(uri, "there is no such folder") + libraries * bool(_PREFIX.match(uri)))
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / file).is_file():
                raise InputError(_lacks(uri, file) + (_whose(folder, uri) or _those_below(uri)))
        if (folder / CONFIG_FILE).stat().st_size > _LARGEST_TEXT:
            raise InputError(_too_large(uri, CONFIG_FILE))
    except OSError as error:
        raise InputError(f"{without_secrets(uri)} cannot be read ({error})") from error
    return folder


def optional_file(uri: str, name: str, temporary: Path) -> Path | None:
    """Return a local copy of a file beside the autoencoder at `uri`; None if there is none.

    temporary: an empty folder, for what has to be fetched from an object store. Raises InputError if it cannot be had.
    """
    if ForeignSource.parse(uri) is not None:
        return None
    if uri.startswith(HUB) or "://" not in uri:
        file = local_copy(uri, temporary) / name
        return file if file.is_file() else None
    try:
        filesystem, root = open_filesystem(uri)
        filesystem.get_file(f"{root.rstrip('/')}/{name}", str(temporary / name))
    except FileNotFoundError:
        return None
    except Exception as error:  # as in `_fetched`
        raise InputError(f"{without_secrets(uri)} cannot be read ({in_brief(error)})") from error
    return temporary / name


def _fetched(uri: str, temporary: Path) -> Path:
    wanted = CONFIG_FILE
    try:
        filesystem, root = open_filesystem(uri)
        (temporary / CONFIG_FILE).write_bytes(_short_file(filesystem, root, uri, CONFIG_FILE))
        wanted = WEIGHTS_FILE
        filesystem.get_file(f"{root.rstrip('/')}/{WEIGHTS_FILE}", str(temporary / WEIGHTS_FILE))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(_lacks(uri, wanted) + _those_below(uri)) from error
    except Exception as error:  # an unknown scheme, a package that it needs, the server's refusal: many kinds
        raise InputError(f"{without_secrets(uri)} cannot be read ({in_brief(error)})") from error
    return temporary


def _short_file(filesystem: AbstractFileSystem, root: str, uri: str, name: str) -> bytes:
    with filesystem.open(f"{root.rstrip('/')}/{name}", "rb") as stream:
        data: bytes = stream.read(_LARGEST_TEXT + 1)  # not by the size, which not every server tells
    if len(data) > _LARGEST_TEXT:
        raise InputError(_too_large(uri, name))
    return data


def _lacks(uri: str, name: str) -> str:
    return _no_checkpoint(uri, f"it lacks {name}")


def _no_checkpoint(uri: str, why: str) -> str:
    return (
        f"{without_secrets(uri)} is not a checkpoint: {why}; expected {WEIGHTS_FILE} and {CONFIG_FILE}, as "
        f"`isoenergy train` writes"
    )


def _whose(folder: Path, uri: str) -> str:
    layout = known_layout(folder)
    return f". Its files are those of another library: give {layout}:{uri}" if layout else ""


def _those_below(uri: str) -> str:
    """Return which autoencoders are in a folder, as a training of several leaves them; nothing if none is seen."""
    found: list[str] = []
    with suppress(Exception):  # a server that lists nothing: the error is of what lacks
        filesystem, root = open_filesystem(uri)
        children = sorted(last_part(path) for path in filesystem.ls(root, detail=False))
        found = [name for name in children if filesystem.isfile(f"{root.rstrip('/')}/{name}/{WEIGHTS_FILE}")]
    shown = [without_secrets(f"{uri.rstrip('/')}/{name}") for name in found[:_SHOWN]]
    return f". It holds {len(found)} of them: give {' or '.join(shown)}{' …' * (len(found) > _SHOWN)}" if found else ""


def _too_large(uri: str, name: str) -> str:
    return f"{name} of {without_secrets(uri)} is larger than {_LARGEST_TEXT:,} bytes: it is not a checkpoint's"


def card_of(uri: str) -> str | None:
    """Return the card beside the autoencoder in a folder or at an fsspec URL; None if it has none.

    Raises InputError if it cannot be read, or is no text of bearable size.
    """
    try:
        filesystem, root = open_filesystem(uri)
        return _short_file(filesystem, root, uri, CARD_FILE).decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{CARD_FILE} of {without_secrets(uri)} cannot be read ({in_brief(error)})") from error


def hub_token() -> str | None:
    """Return the client's token; raises InputError if no request can carry it, which else an error would quote."""
    from huggingface_hub import get_token

    token = get_token()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(
            "the Hugging Face token has characters that no token has; set HF_TOKEN anew, or log in with `hf auth login`"
        )
    return token
