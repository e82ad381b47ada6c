"""The folder that Ray's own libraries ask for: nothing in it is needed, as what counts is kept by the stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from isoenergy.storage.files import open_filesystem


@contextmanager
def ray_storage(uri: str) -> Iterator[tuple[Any, str]]:
    """Lend a filesystem and a path on it, and remove what lies there at the end, whatever it was.

    But not when the process is told to stop: a storage that does not answer would keep it. The next run removes it.
    """
    filesystem, root = open_filesystem(uri)
    told_to_stop = False
    try:
        yield filesystem, root
    except KeyboardInterrupt:
        told_to_stop = True
        raise
    finally:
        if not told_to_stop and filesystem.exists(root):
            filesystem.rm(root, recursive=True)
