"""Autoencoders to elsewhere: the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from isoenergy.errors import InputError, in_brief
from isoenergy.sae.fetching import HUB, hub_name, hub_token
from isoenergy.sae.model_card import PLACEHOLDER, model_card
from isoenergy.sae.sae_config import CARD_FILE, CONFIG_FILE, FITTED_FILE, WEIGHTS_FILE, SaeConfig
from isoenergy.storage.files import without_secrets

if TYPE_CHECKING:  # the hub's client takes a second to import
    from huggingface_hub.hf_api import ModelInfo

_TIMEOUT = 10.0
_UNKNOWN, _FORBIDDEN = (401,), (403, 404)


def write_card(config: SaeConfig, card: str | None, name: str, folder: Path) -> None:
    """Write into `folder` the card as the hub is to have it under `name`, which it tells to load.

    card: None for one that says what the autoencoder is, and no more.
    """
    text = model_card(config, "vision-language embeddings", {}, {}) if card is None else card
    (folder / CARD_FILE).write_bytes(text.replace(PLACEHOLDER, f"{HUB}{hub_name(name)}").encode())


def upload(folder: Path, name: str, private: bool) -> str:
    """Upload an autoencoder and its card to the Hugging Face hub as model `name`, in one commit; return its URL.

    What it carries of its train split goes too, if it is there.
    The token is the hub client's own: `hf auth login`, or HF_TOKEN. A model that is there must be an autoencoder of
    ours, and as private as `private`: nothing else is overwritten, nothing shown to more people than was asked for.
    Raises InputError if it is not, or if the hub does not take it.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    from isoenergy.storage.hub import snapshot

    repository, hub = hub_name(name), HfApi()
    url = without_secrets(f"{hub.endpoint}/{repository}")
    if hub_token() is None:
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
            [
                CommitOperationAdd(file, folder / file)
                for file in (CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, FITTED_FILE)
                if file != FITTED_FILE or (folder / file).is_file()
            ],
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
