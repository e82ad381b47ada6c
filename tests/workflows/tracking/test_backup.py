"""Backing up MLflow's database while it is written to."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from workflows.tracking.backup import back_up


def runs(file: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("SELECT id FROM runs ORDER BY id").fetchall()


def test_a_copy_is_whole_though_a_transaction_is_open(tmp_path: Path) -> None:
    database, copy = tmp_path / "mlflow.db", tmp_path / "copies" / "mlflow.db"
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE runs (id INTEGER)")
        writer.executemany("INSERT INTO runs VALUES (?)", [(n,) for n in range(1000)])
        writer.commit()
        writer.execute("INSERT INTO runs VALUES (1000)")  # in the log beside the file, and not committed
        back_up(database, str(copy))
        assert runs(copy) == [(n,) for n in range(1000)]
        writer.commit()
        back_up(database, str(copy))
    assert runs(copy) == [(n,) for n in range(1001)]
    assert [path.name for path in copy.parent.iterdir()] == ["mlflow.db"]


def test_what_is_no_database_is_said_and_the_last_copy_stays(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("the last one")
    (tmp_path / "notes.txt").write_text("words " * 1000)
    for wrong in ("notes.txt", "missing.db"):
        with pytest.raises(InputError, match=f"{wrong} cannot be backed up"):
            back_up(tmp_path / wrong, str(copy))
    assert copy.read_text() == "the last one"
    assert not (tmp_path / "missing.db").exists()
