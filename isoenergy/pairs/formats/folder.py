"""Pairs from folders of images, each with a text file of the same name beside it."""

import hashlib
import os
import posixpath
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.bounds import MAX_CAPTION_BYTES
from isoenergy.pairs.formats.listed import among, fetched, printable, require_same_length, with_images
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.kinds import HEAD_BYTES, IMAGE_SUFFIXES, image_kind, role_of, stem_of
from isoenergy.pairs.places import absolute_source, place_of, require_utf8
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.pairs.source import Format, PairUnit, RawPairs, cut


def has_sidecars(files: Sequence[str]) -> bool:
    """Return whether any file of a folder, as a rule an image, has a caption beside it."""
    stems = {name for file in files if role_of(file) != "caption" for name in (file, _stem(file), stem_of(file))}
    return any(role_of(file) == "caption" and {_stem(file), stem_of(file)} & stems for file in files)


class FolderPairs:
    """Images with sidecar captions, `a.jpg` and `a.txt`, in a folder and those below it; see `PairSource`.

    A pair is an image, and its key the image's path; a text without an image is none. Every folder is a file of the
    source, so that new folders may be added. Where image files are named or matched by a glob, these alone are pairs.
    """

    format: ClassVar[Format] = "folder"
    keys_may_repeat = False
    passed_through = pa.schema([("path", pa.string())])

    def __init__(self, uri: str) -> None:
        """List the images. Raises InputError if there are none, or none has a caption."""
        place = place_of(uri)
        self._filesystem, self._root, found = place.filesystem, place.root, place.named + place.found
        self.uri = absolute_source(uri)
        self._opened = uuid.uuid4().hex
        self._only: dict[str, frozenset[str]] = {}
        names: dict[str, list[str]] = {}
        for path in found:
            names.setdefault(posixpath.dirname(path) or ".", []).append(posixpath.basename(path))
        if place.named or place.matched:
            pairs = {file: self._chosen(file, frozenset(some)) for file, some in names.items()}
        else:
            pairs = {file: self._paired(file, some) for file, some in names.items()}
        images = [_joined(file, name) for file, captions in pairs.items() for name in captions]
        captions = {_joined(file, name) for file, some in pairs.items() for name in some.values() if name}
        if not captions:
            raise InputError(
                f"{uri} holds {len(images)} images ({', '.join(IMAGE_SUFFIXES)}), none with a caption beside it; "
                f"expected a.txt for a.jpg. If a list has the captions, give the list: a .csv, .tsv or .jsonl, or "
                f"COCO's .json with --images"
            )
        self._rows = {file: len(some) for file, some in sorted(pairs.items()) if some}
        self.files = list(self._rows)
        require_utf8(uri, self.files)
        others = sorted({posixpath.normpath(path) for path in found} - {*images, *captions})
        self.beside = Beside.of([*images, *self.files], others)
        self._images = ImageFolder(self._filesystem, self._root, listed=True)

    def file_digest(self, file: str) -> str:
        """Return a digest of the names and sizes of what is in the folder."""
        return self._listed(file).digest

    def listed_tags(self) -> dict[str, str]:
        """Return none: there are few files."""
        return {}

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut every folder into units, in the order of the names."""
        return [unit for file, rows in self._rows.items() for unit in cut(file, rows, rows_per_unit)]

    def keys(self, file: str) -> pa.ChunkedArray:
        """Never asked: paths cannot repeat."""
        raise NotImplementedError

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's pairs in order."""
        listed = self._listed(unit.file)
        require_same_length(unit.file, self._rows[unit.file], len(listed.images))
        wanted = unit.chosen(rows, len(listed.images) if unit.stop is None else unit.stop)
        batches = (wanted[first : first + rows_per_batch] for first in range(0, len(wanted), rows_per_batch))
        return with_images((self._captioned(unit.file, listed, batch) for batch in batches), self._images.fetch)

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some pairs of one folder, by their place in the order of names."""
        return fetched(among([_joined(file, name) for name in self._listed(file).images], rows), self._images.fetch)

    def _captioned(self, file: str, listed: "_Listed", rows: Sequence[int]) -> tuple[RawPairs, list[str]]:
        """Return pairs without their images, and the paths of these."""
        names = [listed.images[row] for row in rows]
        sidecars = [listed.captions[name] for name in names]
        paths = [None if name is None else _joined(file, name) for name in sidecars]
        (texts,) = self._images.fetch([paths], MAX_CAPTION_BYTES)
        images = [_joined(file, name) for name in names]
        raw = RawPairs(
            rows=list(rows),
            keys=[path.encode("utf-8", "surrogateescape") for path in images],
            images=[None] * len(rows),
            captions=[None if isinstance(text, Rejected) else text for text in texts],
            rejections=[_why_none(text) if path else None for path, text in zip(paths, texts, strict=True)],
            passed_through=pa.table([pa.array([printable(path) for path in images])], self.passed_through),
        )
        return raw, images

    def _listed(self, file: str) -> "_Listed":
        return _list_folder(self._filesystem, self._folder(file), self._opened, self._only.get(file))

    def _chosen(self, file: str, names: frozenset[str]) -> dict[str, str | None]:
        """Return the captions of the images among some names, and remember these unless they are all of the folder."""
        captions = _list_folder(self._filesystem, self._folder(file), self._opened, None).captions
        if not captions.keys() <= names:
            self._only[file] = names.intersection(captions)
        return self._listed(file).captions

    def _paired(self, file: str, names: Sequence[str]) -> dict[str, str | None]:
        return _paired(self._filesystem, self._folder(file), names)

    def _folder(self, file: str) -> str:
        return self._root if file == "." else f"{self._root}/{file}"


@dataclass(frozen=True)
class _Listed:
    """What is in one folder."""

    images: list[str]
    """Names, sorted."""
    captions: dict[str, str | None]
    """The name of the caption of each image."""
    digest: str


@lru_cache(maxsize=4)
def _list_folder(filesystem: AbstractFileSystem, folder: str, opened: str, only: frozenset[str] | None) -> _Listed:
    """List a folder once a process for each source that was `opened`.

    only: the images to take, if not all.
    """
    del opened
    found = filesystem.ls(folder, detail=True)
    is_local = isinstance(filesystem, LocalFileSystem)
    files = [e for e in found if not (os.path.isdir(e["name"]) if is_local else e["type"] == "directory")]
    sizes = {posixpath.basename(entry["name"]): entry["size"] for entry in files}
    names = sorted(name for name in sizes if name and not name.startswith("."))
    captions = _paired(filesystem, folder, names)
    if only is not None:
        captions = {image: caption for image, caption in captions.items() if image in only}
        names = sorted({*captions, *filter(None, captions.values())})
    listing = "\n".join(f"{name}\0{sizes[name]}" for name in names)
    digest = hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()
    return _Listed(list(captions), captions, digest)


def _paired(filesystem: AbstractFileSystem, folder: str, names: Sequence[str]) -> dict[str, str | None]:
    """Return the caption of each image among a folder's files, by the images' names, sorted.

    `a.jpg` has that in `a.txt`, `a.jpg.txt` or `a.caption.txt`. A file of no usual suffix that has one is an image if
    its first bytes say so.
    """
    captions = sorted((name for name in names if role_of(name) == "caption"), reverse=True)
    exact = {_stem(name): name for name in captions}
    by_stem = {stem_of(name): name for name in captions}
    found: dict[str, str | None] = {}
    for name in names:
        if role_of(name) == "image":
            found[name] = exact.get(_stem(name)) or exact.get(name) or by_stem.get(stem_of(name))
    left = exact.keys() - {_stem(name) for name in found.values() if name}
    for name in names:
        if role_of(name) is None and (stem := next((s for s in (_stem(name), name) if s in left), None)):
            head = filesystem.cat_file(f"{folder}/{name}", start=0, end=HEAD_BYTES)
            if image_kind(head) is not None:
                found[name] = exact[stem]
    return dict(sorted(found.items()))


def _why_none(caption: bytes | Rejected) -> Rejected | None:
    if not isinstance(caption, Rejected):
        return None
    of_captions = {Reason.IMAGE_TOO_LARGE: Reason.CAPTION_TOO_LONG, Reason.MISSING_IMAGE: Reason.MISSING_CAPTION}
    return Rejected(of_captions.get(caption.reason, caption.reason), caption.detail)


def _joined(folder: str, name: str) -> str:
    return posixpath.normpath(f"{folder}/{name}")


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]
