"""Places, and whole files written so that nobody ever sees half of one."""

import os
import uuid

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem


def absolute_uri(uri: str) -> str:
    """Return `uri` so that it means the same in a process with another working directory."""
    filesystem, path = fsspec.core.url_to_fs(uri)
    return path if isinstance(filesystem, LocalFileSystem) else uri


def write_atomically(filesystem: AbstractFileSystem, path: str, data: bytes) -> None:
    """Write `data` to `path`: locally temporary file, fsync, rename; on an object store one PUT."""
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
