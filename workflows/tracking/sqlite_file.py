"""A sqlite file that runs are tracked to: one process makes it, whole; one that was half made says what to do."""

import fcntl
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from isoenergy.counts import counted
from isoenergy.errors import InputError

SCHEME = "sqlite:///"
_CUT_SHORT = "duplicate column name", "already exists", "no such index"
_NO_DATABASE = "file is not a database"
_opened: set[Path] = set()


def opened_alone(file: Path, open_file: Callable[[Path], Any]) -> None:
    """Have MLflow make or migrate a database while no other stage of this program does; once a process and file.

    Two of MLflow's migrations that run at once, and one that is stopped, break a new file for good (its tables are
    changed without transactions): it is made under another name, and gets its own when it is whole. The lock is a file
    beside the database; it is waited for, and free as soon as its holder is gone. open_file: makes or migrates a file.

    Raises InputError if the file has been broken in this way before, or is none of sqlite's.
    """
    if file in _opened and file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{file}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            new = Path(f"{file}.new")
            new.unlink(missing_ok=True)  # of a process that was stopped
            open_file(new)
            os.replace(new, file)
        try:
            open_file(file)
        except Exception as error:  # SQLAlchemy's and alembic's own kinds
            if _NO_DATABASE in str(error):
                raise InputError(
                    f"{file} is no sqlite database, so MLflow cannot keep runs there; give another file in "
                    f"MLFLOW_TRACKING_URI, or move it aside"
                ) from error
            if _is_half_made(file, error):
                raise InputError(_half_made(file)) from error
            raise
    _opened.add(file)


def _is_half_made(file: Path, error: Exception) -> bool:
    """Return whether a migration has begun that never came to its end; none is at work, as the caller has the lock."""
    left = _rows(file, "SELECT name FROM sqlite_master WHERE name LIKE '\\_alembic\\_tmp%' ESCAPE '\\'")
    return bool(left) or any(said in str(error) for said in _CUT_SHORT)


def _half_made(file: Path) -> str:
    runs = _rows(file, "SELECT count(*) FROM runs")
    kept = "no run is in it"
    if runs and runs[0][0]:
        kept = (
            f"{counted(runs[0][0], 'run')} stay in the copy, where `sqlite3 {file}.broken .dump` shows what they hold"
        )
    return (
        f"{file} is broken: it was half made, and MLflow cannot go on with it. Move it aside "
        f"(mv {file} {file}.broken; {kept}; artifacts are in files of their own) and run the same command again: a new "
        f"one is made"
    )


def _rows(file: Path, query: str) -> list[Any]:
    """Return a query's rows; none where the file is no database or lacks the table."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.Error:
        return []
