"""`python -m workflows.tracking.backup DATABASE PLACE`: a whole copy of the sqlite file of a running MLflow server."""

import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from isoenergy.errors import InputError
from isoenergy.storage.files import open_filesystem, write_atomically
from workflows.command import run_command


def back_up(database: Path, uri: str) -> None:
    """Copy a database while others write to it, to a path or fsspec URL where the last copy is replaced whole.

    sqlite's own backup: a plain copy of a file that is being written may be half of two states. Raises InputError if
    there is no such database.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / database.name
        try:
            with (
                closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
                closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.Error as error:
            raise InputError(f"{database} cannot be backed up ({error}); give the file of a sqlite database") from error
        filesystem, path = open_filesystem(uri)
        write_atomically(filesystem, path, copy.read_bytes())


def main() -> None:
    """Back up what the command line names."""
    if len(sys.argv) != 3:
        raise InputError("give DATABASE, the path of a sqlite file, and PLACE, a path or URL of the copy")
    back_up(Path(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    run_command(main)
