"""Files of models on the Hugging Face hub, or of its cache where the hub is out of reach."""

from functools import lru_cache
from pathlib import Path

from huggingface_hub import HfApi, constants, scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound, HFValidationError, RepositoryNotFoundError

from isoenergy.errors import InputError, in_brief

_TIMEOUT = 10.0
_CONVERTER = "SFconvertbot"
_CONVERSION = "Adding `safetensors` variant of this model"


class AbsentError(InputError):
    """The model is there, or its cache is, but not the files that are needed."""


@lru_cache
def snapshot(model: str, patterns: tuple[str, ...], needed: tuple[str, ...], revision: str = "main") -> Path:
    """Return a local folder with the files of `model` that match `patterns`, fetched if need be.

    One request, given up after ten seconds, tells whether the hub can be reached; where it cannot, the cache must hold
    the files. A process asks once for the same files, so they are the same all along.

    needed: names of which at least one must be there.
    Raises InputError if neither the hub nor the cache has the model; AbsentError if it has none of the needed files.
    """
    try:
        info = HfApi().model_info(model, revision=revision, timeout=_TIMEOUT)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"{model} is neither a folder nor a model on the Hugging Face hub, or a private one (`hf auth login`)"
        ) from error
    except Exception as error:  # no network, no name server, a proxy's page, the hub's 5xx, HF_HUB_OFFLINE
        return _cached(model, patterns, needed, revision, in_brief(error))
    if not {file.rfilename for file in info.siblings or []} & set(needed):
        raise AbsentError(f"{model} on the Hugging Face hub has no {' or '.join(needed)}")
    try:
        return Path(HfApi().snapshot_download(model, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:
        raise InputError(
            f"{model} could not be fetched from the Hugging Face hub ({in_brief(error)}); what has come is kept, run "
            f"the same command again"
        ) from error


def conversion(model: str) -> str | None:
    """Return the revision in which the hub's own bot proposes safetensors for a model that has none, if it does."""
    try:
        proposals = HfApi().get_repo_discussions(model, author=_CONVERTER, discussion_type="pull_request")
        # anyone may propose a change of that title: only the bot's counts
        found = [p.git_reference for p in proposals if (p.author, p.title) == (_CONVERTER, _CONVERSION)]
    except Exception:  # as above
        found = [revision for revision in _cached_revisions(model) if revision.startswith("refs/pr/")]
    return found[0] if found else None


def _cached(model: str, patterns: tuple[str, ...], needed: tuple[str, ...], revision: str, why: str) -> Path:
    unreachable = (
        f"the Hugging Face hub could not be reached: one request, given up after {_TIMEOUT:.0f} s at most ({why}). "
        f"Connect this machine, set HF_ENDPOINT to a mirror, or give a local folder, hf:FOLDER, open_clip:FOLDER or "
        f"vlm:FOLDER@LAYER"
    )
    if revision not in _cached_revisions(model):
        raise InputError(f"{model} is no folder here, is not in the Hugging Face cache, and {unreachable}")
    try:
        folder = snapshot_download(model, revision=revision, allow_patterns=list(patterns), local_files_only=True)
    except Exception as error:
        raise AbsentError(f"the cache holds only a part of {model}, and {unreachable}") from error
    if not any((Path(folder) / name).is_file() for name in needed):
        raise AbsentError(f"the cache has no {' or '.join(needed)} of {model}, and {unreachable}")
    return Path(folder)


def _cached_revisions(model: str) -> list[str]:
    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return []
    return [ref for repo in repositories if repo.repo_id == model for ref in repo.refs if repo.repo_type == "model"]
