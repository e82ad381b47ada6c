"""Models in transformers' format, their files and weights, read without a pickle and without code of their own."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.utils import logging

from isoenergy.errors import InputError, in_brief
from isoenergy.storage import hub

CONFIG = ("config.json",)
PREPROCESSING = ("preprocessor_config.json", "processor_config.json")
SAFELY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""What every `from_pretrained` is given."""
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_EVERYTHING = ("*.json", "*.txt", "*.jinja", "*.model", "model*.safetensors")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True)
class ModelFiles:
    """A model in transformers' format, wherever it lies."""

    name: str
    """Of the encoder."""
    source: str
    """Absolute path of a folder, or an id on the hub."""

    def folder(self, patterns: tuple[str, ...], needed: tuple[str, ...]) -> Path:
        """Return a folder with the files that match `patterns`, of which one of `needed` is there.

        Raises InputError if there is none.
        """
        folder = Path(self.source)
        if not folder.is_absolute():
            return hub.snapshot(self.source, patterns, needed)
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}")
        if not any((folder / name).is_file() for name in needed):
            raise InputError(f"{folder} has no {' or '.join(needed)}")
        return folder

    def weights_folder(self) -> Path:
        """Return a folder with everything, the weights as safetensors.

        Raises InputError if there is none.
        """
        try:
            return self.folder(_EVERYTHING, _WEIGHTS)
        except hub.AbsentError:
            revision = hub.conversion(self.source)
            if revision is None:
                raise
            return hub.snapshot(self.source, _EVERYTHING, _WEIGHTS, revision)

    def network(self, kind: Any, folder: Path, config: PreTrainedConfig) -> Any:
        """Return the model in float32; kind: transformers' class for its kind of model.

        Raises InputError if the weights in `folder` cannot be read, or are not all those of `config`.
        """
        try:
            with _quietly():
                network, info = kind.from_pretrained(
                    folder,
                    config=config,
                    dtype=torch.float32,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,  # to be told of them
                    output_loading_info=True,
                    **SAFELY,
                )
        except Exception as error:  # OSError, RuntimeError, SafetensorError and more
            raise InputError(f"the weights of {self.name} cannot be loaded ({in_brief(error)})") from error
        wrong = {f"{kind} {sorted(map(str, info[kind]))[:3]}" for kind in info if info[kind]}
        if wrong:
            raise InputError(f"the weights of {self.name} are not those of its config.json: {'; '.join(sorted(wrong))}")
        return network


def absolute_folder_or_id(source: str) -> str:
    """Return an id on the hub as it is, and the path of a folder from the root."""
    if _HUB_ID.fullmatch(source) and not Path(source).is_dir():
        return source
    return str(Path(source).expanduser().absolute())


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep a bar for a load of seconds, and a table of what the error says, out of the log."""
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()
