"""Pairs from a COCO captions file and a folder or zip of its images."""

import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa
from fsspec import AbstractFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.beside import Beside
from isoenergy.pairs.formats.json_rows import parsed
from isoenergy.pairs.formats.listed import Listing, among, fetched, printable, raw_text, read_listed
from isoenergy.pairs.image_files import ImageFolder
from isoenergy.pairs.places import absolute_source
from isoenergy.pairs.source import Format, PairUnit, RawPairs, cut
from isoenergy.pairs.source_files import source_files
from isoenergy.storage.files import file_digest

SUFFIX = ".json"
_INT64 = range(-(2**63), 2**63)
_NUMBER = re.compile(r"[0-9]+")


class CocoPairs:
    """`annotations` with captions and the `images` that they are of; each caption is its own pair; see `PairSource`.

    A pair's key is the id of its image, `#` and that of its annotation, so that all captions of an image are in its
    split; an annotation whose id is no number, or that is of no image, has its own id for a key. `image_id` and
    `file_name` pass through.
    """

    format: ClassVar[Format] = "coco"
    keys_may_repeat = True
    passed_through = pa.schema([("image_id", pa.int64()), ("file_name", pa.string())])

    def __init__(self, uri: str, images: str) -> None:
        """Read the captions; `images` is the folder or zip of the images.

        Raises InputError if either is not there or not what it should be.
        """
        self.uri = absolute_source(uri)
        self._filesystem, self._root, self.files, others = source_files(uri, (SUFFIX,))
        self.beside = Beside.of(self.files, others)
        if len(self.files) > 1:
            raise InputError(f"{uri} holds {len(self.files)} {SUFFIX} files, such as {self.files[0]}; give one of them")
        listing = self._listing(self.files[0])
        if not images:
            raise InputError(f"{uri} names image files: say where they lie with --images FOLDER or --images FILE.zip")
        self._images = ImageFolder.at(images)
        self._rows = len(listing)
        if all(caption is None for caption in listing.captions):
            raise InputError(f"{uri} holds no pairs: none of its annotations has a caption; give a captions file")

    def file_digest(self, file: str) -> str:
        """Return a digest of the file's size and both its ends."""
        return file_digest(self._filesystem, self._path(file))

    def listed_tags(self) -> dict[str, str]:
        """Return none: there are few files."""
        return {}

    def units(self, rows_per_unit: int) -> list[PairUnit]:
        """Cut the annotations into units, in their order."""
        return cut(self.files[0], self._rows, rows_per_unit)

    def keys(self, file: str) -> pa.ChunkedArray:
        """Return the keys of all annotations."""
        return pa.chunked_array([pa.array(self._listing(file).keys, pa.binary())])

    def read(self, unit: PairUnit, rows_per_batch: int, rows: Collection[int] | None = None) -> Iterator[RawPairs]:
        """Yield the unit's pairs in order."""
        return read_listed(self._listing(unit.file), self._rows, self._images.fetch, unit, rows_per_batch, rows)

    def images(self, file: str, rows: Sequence[int]) -> dict[int, bytes | None]:
        """Return the images of some annotations, by their number."""
        return fetched(among(self._listing(file).names, rows), self._images.fetch)

    def annotations(self) -> Listing:
        """Return all annotations with the names of their images, which are not read."""
        return self._listing(self.files[0])

    def _listing(self, file: str) -> Listing:
        return _listing(self._filesystem, self._path(file), self.file_digest(file))

    def _path(self, file: str) -> str:
        return f"{self._root}/{file}"


@lru_cache(maxsize=2)
def _listing(filesystem: AbstractFileSystem, path: str, digest: str) -> Listing:
    del digest  # so that a file that is written again is read again
    text = filesystem.cat_file(path).decode("utf-8-sig", "surrogateescape")
    try:
        content = parsed(text)
        images = {entry["id"]: entry["file_name"] for entry in content["images"] if _is_image(entry)}
        annotations = [entry if isinstance(entry, dict) else {} for entry in content["annotations"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path} is not a COCO captions file ({type(error).__name__}: {error}); expected `images` with id and "
            f"file_name, and `annotations` with id, image_id and caption"
        ) from error
    ids = [entry.get("image_id") for entry in annotations]
    names = [images.get(i) if _is_id(i) else None for i in ids]
    columns = [
        pa.array([i if _is_id(i) and isinstance(i, int) and i in _INT64 else None for i in ids], pa.int64()),
        pa.array([None if name is None else printable(name) for name in names], pa.string()),
    ]
    return Listing(
        keys=[raw_text(_key(entry.get("id"), entry.get("image_id"))) for entry in annotations],
        names=names,
        captions=[raw_text(_text(entry.get("caption"))) for entry in annotations],
        rejections={},
        passed_through=pa.table(columns, CocoPairs.passed_through),
    )


def _is_image(entry: Any) -> bool:
    return isinstance(entry, dict) and _is_id(entry.get("id")) and isinstance(entry.get("file_name"), str)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _key(annotation: Any, image: Any) -> str | None:
    """Return a pair's key, of which `split_of_pair` leaves out the annotation's id, if that is a number."""
    own, of_image = _id(annotation), _id(image)
    return own if own is None or of_image is None or not _NUMBER.fullmatch(own) else f"{of_image}#{own}"


def _id(value: Any) -> str | None:
    return str(value) if _is_id(value) else None
