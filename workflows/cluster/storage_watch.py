"""Whether the storage of a run answers, asked by the driver: what workers wait for on other nodes nobody would read."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fsspec.implementations.local import LocalFileSystem

from isoenergy.storage.files import open_filesystem

_SECONDS_BETWEEN_QUESTIONS = 3.0


@contextmanager
def storage_watched(uri: str) -> Iterator[None]:
    """Ask an object store for `uri` now and then, as long as the body runs; what its filesystem waits for is said."""
    filesystem, root = open_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        yield
        return
    ended = threading.Event()

    def ask() -> None:
        with suppress(OSError):  # the workers will have met it too
            while not ended.wait(_SECONDS_BETWEEN_QUESTIONS):
                filesystem.isdir(root)

    threading.Thread(target=ask, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
