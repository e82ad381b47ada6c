"""Files of a run wherever they lie: in a folder or on an object store."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem, write_atomically
from workflows.tracking.mlflow_runs import Run


def require_writable(output: str) -> None:
    """Raise InputError if no file can be written below the folder or fsspec URL `output`; leave it as it was."""
    filesystem, path = open_filesystem(f"{output}/.writable")
    folder = path.rpartition("/")[0]
    is_new = isinstance(filesystem, LocalFileSystem) and not filesystem.exists(folder)
    try:
        write_atomically(filesystem, path, b"")
        filesystem.rm_file(path)
        if is_new:
            filesystem.rmdir(folder)
    except OSError as error:
        raise InputError(f"{output} cannot be written ({error}); give an output folder that can") from error


def write_files(files: Mapping[str, bytes], output: str, run: Run) -> None:
    """Write files by name into the folder or fsspec URL `output`, each whole or not at all, and log them."""
    for name, data in files.items():
        filesystem, path = open_filesystem(f"{output}/{name}")
        write_atomically(filesystem, path, data)
        log_file(run, f"{output}/{name}")


def log_file(run: Run, uri: str, folder: str | None = None) -> None:
    """Log the file at a path or fsspec URL as an artifact of an MLflow run, which takes them from the disk."""
    filesystem, path = open_filesystem(uri)
    if isinstance(filesystem, LocalFileSystem):
        run.artifact(Path(path), folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, path.rsplit("/", 1)[-1])
        copy.write_bytes(filesystem.cat_file(path))
        run.artifact(copy, folder)
