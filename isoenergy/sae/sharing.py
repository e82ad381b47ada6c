"""Autoencoders from elsewhere and to elsewhere: object stores and the Hugging Face hub."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fsspec import AbstractFileSystem

from isoenergy.encoders.messages import in_brief
from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, SparseAutoencoder
from isoenergy.sae.model_card import PLACEHOLDER, model_card
from isoenergy.storage.files import open_filesystem, without_secrets

if TYPE_CHECKING:  # the hub's client takes a second to import
    from huggingface_hub.hf_api import ModelInfo

HUB = "hf:"
_LARGEST_TEXT = 2**20
_TIMEOUT = 10.0
_UNKNOWN, _FORBIDDEN = (401,), (403, 404)


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


def local_copy(place: str, temporary: Path) -> Path:
    """Return a local folder with the files of the autoencoder at `place`: a folder, an fsspec URL, or `hf:ORG/NAME`.

    temporary: an empty folder, for what has to be fetched from an object store; the hub's client has its own cache.
    Raises InputError if it cannot be had, lacks a file, or has a configuration too large to be one.
    """
    if place.startswith(HUB):
        from isoenergy.encoders.hub import snapshot

        name = hub_name(place)
        _token()
        folder = snapshot(name, (CONFIG_FILE, WEIGHTS_FILE), (WEIGHTS_FILE,))
    elif "://" in place:
        folder = _fetched(place, temporary)
    else:
        folder = Path(place)
    try:
        for file in (CONFIG_FILE, WEIGHTS_FILE):
            if not (folder / file).is_file():
                raise InputError(_lacks(place, file))
        if (folder / CONFIG_FILE).stat().st_size > _LARGEST_TEXT:
            raise InputError(_too_large(place, CONFIG_FILE))
    except OSError as error:
        raise InputError(f"{without_secrets(place)} cannot be read ({error})") from error
    return folder


def _fetched(place: str, temporary: Path) -> Path:
    wanted = CONFIG_FILE
    try:
        filesystem, root = open_filesystem(place)
        (temporary / CONFIG_FILE).write_bytes(_short_file(filesystem, root, place, CONFIG_FILE))
        wanted = WEIGHTS_FILE
        filesystem.get_file(f"{root.rstrip('/')}/{WEIGHTS_FILE}", str(temporary / WEIGHTS_FILE))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(_lacks(place, wanted)) from error
    except Exception as error:  # an unknown scheme, a package that it needs, the server's refusal: many kinds
        raise InputError(f"{without_secrets(place)} cannot be read ({in_brief(error)})") from error
    return temporary


def _short_file(filesystem: AbstractFileSystem, root: str, place: str, name: str) -> bytes:
    with filesystem.open(f"{root.rstrip('/')}/{name}", "rb") as stream:
        data = stream.read(_LARGEST_TEXT + 1)  # not by the size, which not every server tells
    if len(data) > _LARGEST_TEXT:
        raise InputError(_too_large(place, name))
    return data


def _lacks(place: str, name: str) -> str:
    return (
        f"{without_secrets(place)} is not a checkpoint: it lacks {name}; expected {WEIGHTS_FILE} and {CONFIG_FILE}, as "
        f"`isoenergy train` writes"
    )


def _too_large(place: str, name: str) -> str:
    return f"{name} of {without_secrets(place)} is larger than {_LARGEST_TEXT:,} bytes: it is not a checkpoint's"


def card_of(place: str) -> str | None:
    """Return the card beside the autoencoder in a folder or at an fsspec URL; None if it has none.

    Raises InputError if it cannot be read, or is no text of bearable size.
    """
    try:
        filesystem, root = open_filesystem(place)
        return _short_file(filesystem, root, place, CARD_FILE).decode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{CARD_FILE} of {without_secrets(place)} cannot be read ({in_brief(error)})") from error


def write_for_hub(sae: SparseAutoencoder, card: str | None, name: str, folder: Path) -> None:
    """Write into `folder` the three files as the hub is to have them under `name`, which the card tells to load.

    card: None for one that says what the autoencoder is, and no more.
    """
    sae.save(folder)
    text = model_card(sae.config, "vision-language embeddings", {}, {}) if card is None else card
    (folder / CARD_FILE).write_bytes(text.replace(PLACEHOLDER, f"{HUB}{hub_name(name)}").encode())


def upload(folder: Path, name: str, private: bool) -> str:
    """Upload what `write_for_hub` wrote to the Hugging Face hub as model `name`, in one commit; return its URL.

    The token is the hub client's own: `hf auth login`, or HF_TOKEN. A model that is there must be an autoencoder of
    ours, and as private as `private`: nothing else is overwritten, nothing shown to more people than was asked for.
    Raises InputError if it is not, or if the hub does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    from isoenergy.encoders.hub import snapshot

    repository, hub = hub_name(name), HfApi()
    url = without_secrets(f"{hub.endpoint}/{repository}")
    if _token() is None:
        raise InputError(
            f"{repository} cannot be uploaded: no token for {without_secrets(hub.endpoint)}; log in with "
            f"`hf auth login`, or set HF_TOKEN to one with the right to write"
        )
    try:
        try:
            _require_room(hub.model_info(repository, timeout=_TIMEOUT), private, url)
        except RepositoryNotFoundError:
            hub.create_repo(repository, private=private, exist_ok=True)
        hub.create_commit(
            repository,
            [CommitOperationAdd(file, folder / file) for file in (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE)],
            commit_message="A sparse autoencoder by isoenergy",
        )
    except InputError:
        raise
    except Exception as error:  # no network, no such organisation, a token that only reads, the hub's 5xx
        raise InputError(
            f"{repository} could not be uploaded to the Hugging Face hub: {_advice(error, repository, hub.endpoint)} "
            f"({in_brief(error)})"
        ) from error
    snapshot.cache_clear()  # else this process goes on with what was there before
    return url


def _token() -> str | None:
    """Return the client's token; raises InputError if no request can carry it, which else an error would quote."""
    from huggingface_hub import get_token

    token = get_token()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(
            "the Hugging Face token has characters that no token has; set HF_TOKEN anew, or log in with `hf auth login`"
        )
    return token


def _require_room(info: "ModelInfo", private: bool, url: str) -> None:
    """Raise InputError unless the model that is there may be replaced."""
    files = {file.rfilename for file in info.siblings or []} - {".gitattributes"}
    if files and WEIGHTS_FILE not in files:
        raise InputError(
            f"{url} holds something else already ({', '.join(sorted(files)[:3])}, no {WEIGHTS_FILE}): give another name"
        )
    if bool(info.private) != private:
        there, asked = ("private", "public") if info.private else ("public", "private")
        raise InputError(
            f"{url} is there already, and is {there} where {asked} was asked for: ask for --{there}, give another "
            f"name, or make it {asked} in its settings first"
        )


def _advice(error: Exception, repository: str, endpoint: str) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _UNKNOWN:
        return "it does not accept the token; log in anew with `hf auth login`, or set HF_TOKEN to another"
    if status in _FORBIDDEN:
        return (
            f"{repository.partition('/')[0]} must be your user name or an organisation of yours, and the token needs "
            f"the right to write there: see {without_secrets(endpoint)}/settings/tokens"
        )
    if status == 400 or isinstance(error, ValueError):
        return f"it does not take the files; look at the front matter of {CARD_FILE}"
    if status is not None:
        return "it is not well or busy; run the same command again later"
    return "check the network and HF_ENDPOINT"
