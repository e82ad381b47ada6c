"""One run at a time for one output."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem


@contextmanager
def alone_in(output: str) -> Iterator[None]:
    """Keep a second run out of a local output for as long as this process lives; an object store has no locks."""
    filesystem, root = open_filesystem(output)
    if not isinstance(filesystem, LocalFileSystem):
        yield
        return
    with open(f"{root}/.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another run is at work in {output}; wait for it, or give another --output") from error
        yield
