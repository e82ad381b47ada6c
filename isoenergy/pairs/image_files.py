"""Files that a list names: the names are untrusted."""

import errno
import os
import posixpath
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.pairs.bounds import MAX_IMAGE_BYTES
from isoenergy.pairs.kinds import IMAGE_SUFFIXES
from isoenergy.pairs.reach import Unreachable, open_file, unreachable
from isoenergy.pairs.rejection import Reason, Rejected
from isoenergy.storage.files import open_filesystem

Image = bytes | Rejected
_READS_AT_ONCE = 16
_ZIP_READ_BYTES = 2**19  # an image, as a rule, with what comes before it
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(/|\Z)")
"""The beginning of what `normpath` makes of a URL, or a drive; a colon elsewhere is a letter, as in `12:30.jpg`."""
_OF_THE_NAME = (errno.ENAMETOOLONG, errno.ELOOP)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ImageFolder:
    """A folder or a zip of images; names are relative to it and stay within it.

    A name may not climb out of the folder. A link that lies in it is its owner's, and is followed wherever it leads, as
    those of the Hugging Face cache to `../../blobs`.
    """

    def __init__(self, filesystem: AbstractFileSystem, root: str, listed: bool = False) -> None:
        """Read from the folder or zip at `root`. listed: names are those that a listing found, not of a text."""
        self._filesystem, self._root, self._listed = filesystem, root, listed
        self._is_local = isinstance(filesystem, LocalFileSystem)
        self._is_zip = root.lower().endswith(".zip") and not filesystem.isdir(root)

    @classmethod
    def at(cls, uri: str) -> "ImageFolder":
        """Return the folder or zip at a place; raises InputError if there is none, or the zip is not readable."""
        filesystem, root = open_filesystem(uri)
        if root.lower().endswith(".zip") and filesystem.isfile(root):
            _open_zip(filesystem, root)
        elif not filesystem.isdir(root):
            raise InputError(f"{uri} is no folder and no zip of images")
        return cls(filesystem, root)

    @property
    def root(self) -> str:
        """Its path on its filesystem."""
        return self._root

    def some_name(self) -> str:
        """Return a name that is there, for people; nothing if there is none."""
        if self._is_zip:
            return next(iter(_open_zip(self._filesystem, self._root)[0].namelist()), "")
        listed = self._filesystem.ls(self._root, detail=False)
        return posixpath.basename(str(listed[0]).rstrip("/")) if listed else ""

    def fetch(self, batches: Iterable[Sequence[str | None]], most: int = MAX_IMAGE_BYTES) -> Iterator[list[Image]]:
        """Yield the contents of each batch of files, or why there are none; raises OSError if one cannot be reached.

        most: the largest content, in bytes.
        """
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            for names in batches:
                yield list(pool.map(lambda name: self._read(name, most), names))

    def fetch_named(self, name: str) -> bytes | None:
        """Return the content of the file of this name; one without an image's suffix is tried with those. None: none.

        Raises OSError if one cannot be reached.
        """
        whole = name.lower().endswith(IMAGE_SUFFIXES)
        tried = [name] if whole else [f"{name}{suffix}" for suffix in IMAGE_SUFFIXES]
        contents = (self._read(each, MAX_IMAGE_BYTES) for each in tried)
        return next((content for content in contents if isinstance(content, bytes)), None)

    def _read(self, name: str | None, most: int) -> Image:
        if not name:
            return Rejected(Reason.MISSING_IMAGE, "no file is named")
        path = name if self._listed else posixpath.normpath(name.replace("\\", "/"))
        if not self._listed and (path.startswith(("/", "../")) or path == ".." or _ELSEWHERE.match(path)):
            return Rejected(Reason.UNSAFE_PATH, f"{name!r} leaves the folder of images")
        if "\0" in path:
            return Rejected(Reason.UNSAFE_PATH, f"{name!r} has a byte in it that no file's name may have")
        try:
            return self._read_zipped(path, most) if self._is_zip else self._read_file(path, most)
        except Unreachable:
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError, UnicodeError) as error:
            if self._is_local and not os.path.exists(self._root):
                raise unreachable(self._root, error) from error
            return Rejected(Reason.MISSING_IMAGE, f"{name!r} is not there")
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_NAME:
                return Rejected(Reason.MISSING_IMAGE, f"{name[:80]!r} is not there ({error.strerror})")
            if self._is_local and isinstance(error, PermissionError):
                return Rejected(Reason.UNREADABLE_FILE, f"{name!r} may not be read")
            raise unreachable(name, error) from error

    def _read_file(self, path: str, most: int) -> Image:
        whole = f"{self._root}/{path}"
        entry = self._filesystem.info(whole)
        if entry["type"] != "file":
            return Rejected(Reason.MISSING_IMAGE, f"{path!r} is not a file")
        size = entry.get("size") or 0
        return _too_large(size, most) if size > most else self._filesystem.cat_file(whole)

    def _read_zipped(self, path: str, most: int) -> Image:
        archive, by_base_name = _open_zip(self._filesystem, self._root)
        name = path if path in archive.NameToInfo else by_base_name.get(posixpath.basename(path))
        if name is None or not f"/{name}".endswith(f"/{path}"):
            return Rejected(Reason.MISSING_IMAGE, f"{path!r} is not in the zip")
        member = archive.getinfo(name)
        if member.file_size > most:
            return _too_large(member.file_size, most)
        if member.compress_type not in _METHODS:
            return Rejected(Reason.UNREADABLE_IMAGE, f"{path!r} is compressed by a method other than deflate")
        try:
            with archive.open(member) as stream:
                return stream.read(most)
        except Unreachable:
            raise
        except Exception as error:  # zipfile raises nearly anything on hostile bytes
            return Rejected(Reason.UNREADABLE_IMAGE, f"{path!r} cannot be unzipped ({error})")


def _too_large(size: int, most: int) -> Rejected:
    return Rejected(Reason.IMAGE_TOO_LARGE, f"{size:,} bytes, at most {most:,} are read")


@lru_cache(maxsize=4)
def _open_zip(filesystem: AbstractFileSystem, path: str) -> tuple[zipfile.ZipFile, dict[str, str | None]]:
    """Open a zip once a process; COCO's have a folder in front of the names that the captions give.

    Returns it and, by base name, the one member that has it, or None where several do.
    """
    try:
        archive = zipfile.ZipFile(open_file(filesystem, path, block_size=_ZIP_READ_BYTES))
    except Unreachable:
        raise
    except Exception as error:
        raise InputError(f"{path} is not a readable zip ({error})") from error
    by_base_name: dict[str, str | None] = {}
    for name in archive.namelist():
        base = posixpath.basename(name)
        by_base_name[base] = None if base in by_base_name else name
    return archive, by_base_name
