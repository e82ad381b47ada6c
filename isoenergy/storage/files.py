"""Places, what tells one file from another, and whole files written so that nobody ever sees half of one."""

import hashlib
import os
import uuid
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

_END_BYTES = 64 * 2**10


def open_filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem that `uri` is on, and its path there.

    S3 is looked for at AWS_ENDPOINT_URL, also by the processes that the filesystem is sent to, and tried again where
    that may help; see `isoenergy.storage.s3`.
    """
    if not uri.startswith(("s3://", "s3a://")):
        filesystem, path = fsspec.core.url_to_fs(uri)
        return filesystem, path
    from isoenergy.storage.s3 import RetryingS3FileSystem  # half a second, for those alone who need it

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return RetryingS3FileSystem(endpoint_url=endpoint), RetryingS3FileSystem._strip_protocol(uri)


def absolute_uri(uri: str) -> str:
    """Return `uri` so that it means the same in a process with another working directory."""
    filesystem, path = open_filesystem(uri)
    return path if isinstance(filesystem, LocalFileSystem) else uri


def without_secrets(uri: str) -> str:
    """Return the URI fit to be printed and kept: without user, password and query; anything else as it is.

    Of a list with `::` between its parts, each of them.
    """
    if "::" in uri:
        return "::".join(map(without_secrets, uri.split("::")))
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return uri
    rest = rest.partition("?")[0] if scheme in ("http", "https") else rest
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def last_part(uri: str) -> str:
    """Return the name of a file or folder at a path or URI."""
    return uri.rstrip("/").rpartition("/")[2]


def file_digest(filesystem: AbstractFileSystem, path: str) -> str:
    """Return a digest of the file's size and of its first and last 64 KiB: it changes when the file is rewritten."""
    return _content_digest(filesystem, path, filesystem.size(path))


def tagged_digest(filesystem: AbstractFileSystem, path: str) -> str:
    """Return `file_digest`, and on an object store behind it what a listing says of the file: see `object_tag`."""
    entry = filesystem.info(path)
    return f"{_content_digest(filesystem, path, entry['size'])} {object_tag(entry)}".rstrip()


def object_tag(entry: Mapping[str, Any]) -> str:
    """Return size and ETag, as an object store lists them: whoever lists many files need not open one. Else nothing."""
    tag = str(entry.get("ETag") or "").strip('"')
    return f"{entry['size']}-{tag}" if tag else ""


def listed_version(entry: Mapping[str, Any]) -> str:
    """Return what an entry of fsspec's detailed listing says that changes when the file is written again.

    Its size, with the object store's ETag, or when it was written; the size alone where a filesystem has neither.
    """
    tags = (entry.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "updated", "created"))
    tag = next((str(tag).strip('"') for tag in tags if tag), "")
    return f"{entry['size']} {tag}".rstrip()


def write_atomically(filesystem: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write `data` to `path`: locally temporary file, fsync, rename; on an object store one PUT.

    S3 takes 100 MiB and more in parts, which are an object only once the upload is completed.
    """
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(path, data)
        return
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _content_digest(filesystem: AbstractFileSystem, path: str, size: int) -> str:
    digest = hashlib.sha256(f"{size}".encode())
    if size:
        for start in (0, max(0, size - _END_BYTES)):
            digest.update(filesystem.cat_file(path, start=start, end=min(size, start + _END_BYTES)))
    return digest.hexdigest()
