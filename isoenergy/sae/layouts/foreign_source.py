"""Where an autoencoder of another library is: `LAYOUT:PLACE`, or with what its files do not say, `…?name=value&…`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl

from isoenergy.errors import InputError, in_brief
from isoenergy.storage.files import open_filesystem, without_secrets

LAYOUTS = ("saelens", "overcomplete", "dictionary-learning", "sparsify")
_KNOWN_BY = {
    "saelens": ("sae_weights.safetensors",),
    "dictionary-learning": ("ae.pt",),
    "sparsify": ("cfg.json", "sae.safetensors"),
}
"""Files by which a library's folder is known, in the order in which they decide."""
_HUB = "hf:"


@dataclass(frozen=True)
class ForeignSource:
    """Files of another library."""

    layout: str
    uri: str
    """A folder or a file, an fsspec URL, or `hf:ORG/NAME` with folders behind it."""
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what the text says; None for one of this program's own files."""
        layout, _, rest = text.partition(":")
        if layout not in LAYOUTS or rest.startswith("//"):
            return None
        uri, _, query = rest.partition("?")
        if not uri:
            raise InputError(f"{text!r} names no folder; expected {layout}:FOLDER, {layout}:s3://… or {layout}:hf:NAME")
        return cls(layout, uri, _options(query))

    def __str__(self) -> str:
        return f"{self.layout}:{without_secrets(self.uri)}"

    def require_options(self, *known: str, kind: str = "") -> None:
        """Raise InputError for an option that this layout, or a kind of its SAEs, does not have."""
        if unknown := [name for name in self.options if name not in known]:
            raise InputError(
                f"{self} has no option {unknown[0]}, given as {self.options[unknown[0]]!r}; {self.layout} has "
                f"{', '.join(known)}{f' where kind is {kind}' if kind else ''}"
            )

    def files(self, names: tuple[str, ...], temporary: Path) -> Path:
        """Return a local folder with these files of it; `temporary` is an empty one, for those from a URL.

        Raises InputError if they cannot be had.
        """
        try:
            folder = self._local(names, temporary)
        except InputError:
            raise
        except FileNotFoundError as error:
            raise InputError(self._lacks(names)) from error
        except Exception as error:  # an unknown scheme, a package that it needs, the server's refusal: many kinds
            raise InputError(f"{self} cannot be read ({in_brief(error)})") from error
        if not all((folder / name).is_file() for name in names):
            raise InputError(self._lacks(names))
        return folder

    def _local(self, names: tuple[str, ...], temporary: Path) -> Path:
        if self.uri.startswith(_HUB):
            from isoenergy.storage.hub import snapshot  # the hub's client takes a second to import

            organisation, _, rest = self.uri.removeprefix(_HUB).removeprefix("//").partition("/")
            model, *inside = rest.split("/")
            if not (organisation and model):
                raise InputError(f"{self} is no name on the hub; expected {self.layout}:hf:ORG/NAME or …/NAME/FOLDER")
            wanted = tuple("/".join([*inside, name]) for name in names)
            return snapshot(f"{organisation}/{model}", wanted, wanted[-1:]).joinpath(*inside)
        if "://" not in self.uri:
            return Path(self.uri)
        filesystem, root = open_filesystem(self.uri)
        for name in names:
            filesystem.get_file(f"{root.rstrip('/')}/{name}", str(temporary / name))
        return temporary

    def _lacks(self, names: tuple[str, ...]) -> str:
        wanted = f"{self} is no SAE that {self.layout} wrote: expected {' and '.join(names)} there"
        whose = known_layout(Path(self.uri))
        return wanted if whose in ("", self.layout) else f"{wanted}; its files are those of {whose}: give {whose}:PLACE"


def known_layout(folder: Path) -> str:
    """Return which library's files lie in a local folder, by their names; empty if it cannot be told."""
    there = (layout for layout, files in _KNOWN_BY.items() if all((folder / file).is_file() for file in files))
    return next(there, "")


def _options(query: str) -> dict[str, str]:
    """Return what stands behind `?`; raises InputError for what is no option, and for one that is given twice."""
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError as error:
        raise InputError(f"options must be NAME=VALUE, with & between, got {query!r}") from error
    if twice := [name for name, _ in given if [other for other, _ in given].count(name) > 1]:
        raise InputError(f"{twice[0]} is given more than once in {query!r}; give one")
    return dict(given)
