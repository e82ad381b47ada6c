"""The sqlite file of runs: made by one and whole, however many begin at once; broken or deleted, it says what to do."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from isoenergy.errors import InputError
from workflows.tracking.sqlite_file import opened_alone
from workflows.tracking.tracking_client import EXPERIMENT, client, experiment_id

PROGRAM = "import sys; from workflows.tracking.tracking_client import experiment_id; print(experiment_id(sys.argv[1]))"


@pytest.mark.slow
def test_four_programs_that_begin_at_once_share_a_new_file(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    command = [sys.executable, "-c", PROGRAM, uri]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    printed = [program.communicate() for program in programs]
    assert [program.returncode for program in programs] == [0] * 4, printed
    assert len({out for out, _ in printed}) == 1
    assert [each.name for each in MlflowClient(uri).search_experiments()] == [EXPERIMENT, "Default"]


def test_a_file_that_was_half_made_says_how_to_go_on(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('90e64c465722')")
        connection.execute("CREATE TABLE _alembic_tmp_metrics (key VARCHAR(250) NOT NULL)")
        connection.execute("CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO runs VALUES ('a'), ('b')")
    connection.close()
    with pytest.raises(
        InputError, match=rf"{file} is broken: .*mv {file} {file}.broken; 2 runs stay .*sqlite3 {file}.broken"
    ):
        client(f"sqlite:///{file}")
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    connection.close()


def test_a_file_that_is_no_database_is_one_sentence_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_text("notes of mine " * 100)
    with pytest.raises(InputError, match=rf"^{file} is no sqlite database, .*MLFLOW_TRACKING_URI") as refused:
        client(f"sqlite:///{file}")
    assert "sqlalche" not in str(refused.value)
    assert file.read_text().startswith("notes of mine")


def test_making_a_file_that_is_stopped_leaves_none(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"

    def half(new: Path) -> None:
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("CREATE TABLE secrets (secret_id VARCHAR(36) NOT NULL)")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened_alone(file, half)
    assert not file.exists()
    assert client(f"sqlite:///{file}").search_experiments()


@pytest.mark.parametrize("statement", ["CREATE TABLE secrets (secret_id INT)", "CREATE INDEX i ON runs (run_uuid)"])
def test_a_file_whose_making_was_cut_short_says_how_to_go_on(statement: str, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"

    def migrate(there: Path) -> None:
        with closing(sqlite3.connect(there)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS runs (run_uuid VARCHAR(32) NOT NULL)")
            connection.execute(statement)

    migrate(file)
    with pytest.raises(InputError, match=rf"{file} is broken: .*mv {file} {file}.broken; no run is in it"):
        opened_alone(file, migrate)


def test_an_experiment_that_was_deleted_is_named(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    number = experiment_id(uri)
    client(uri).delete_experiment(number)
    with pytest.raises(InputError, match=f"was deleted; .* mlflow experiments restore -x {number}"):
        experiment_id(uri)
    client(uri).restore_experiment(number)
    assert experiment_id(uri) == number
