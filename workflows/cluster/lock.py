"""One run at a time for one output."""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem


@contextmanager
def alone_in(*outputs: str) -> Iterator[bool]:
    """Keep a second run out of local outputs for as long as this process lives; yield whether none can be there.

    An object store has no locks, nor has every file system: no one is kept out there. Raises InputError if another run
    is at work.
    """
    locked = True
    with ExitStack() as files:
        for output in outputs:
            filesystem, root = open_filesystem(output)
            if not isinstance(filesystem, LocalFileSystem):
                locked = False
                continue
            try:
                filesystem.makedirs(root, exist_ok=True)
                file = files.enter_context(open(f"{root}/.lock", "w"))
            except OSError as error:
                raise InputError(f"{output} cannot be written ({error}); give another --output") from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"another run is at work in {output}; wait for it, or give another --output"
                raise InputError(message) from error
            except OSError:
                locked = False
        yield locked
