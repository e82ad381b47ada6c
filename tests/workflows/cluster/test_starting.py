"""A Ray that does not start on this machine: tried again, and then in words that help."""

import logging
import os
import socket
import tempfile
from typing import Any

import pytest
import ray

from isoenergy.errors import InputError
from isoenergy.storage import s3_patience
from workflows.cluster import engine


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has joined no Ray."""
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**engine._WORKERS, s3_patience.VARIABLE: "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(engine, "_SECONDS_BETWEEN_STARTS", 0.0)


def starts(monkeypatch: pytest.MonkeyPatch, failures: int) -> list[dict[str, Any]]:
    """Have the first starts of Ray fail as they do under load; return what they are asked for."""
    asked: list[dict[str, Any]] = []

    def init(*_: str, **options: Any) -> None:
        asked.append(options)
        if len(asked) <= failures:
            raise Exception("The current node timed out during startup.\nThis could happen because …")

    monkeypatch.setattr(ray, "init", init)
    return asked


def test_a_start_under_load_is_tried_again_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = starts(monkeypatch, failures=2)
    assert engine.connect() == {"CPU": 2.0}
    assert len(asked) == 3
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("Ray did not start (The current node timed out during startup. This could happen")
    assert f" on {os.cpu_count()} CPUs); trying again" in said[0]


def test_a_start_that_never_comes_names_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = starts(monkeypatch, failures=9)
    with pytest.raises(InputError, match=r"in 3 attempts \(The current node timed out.*; load \d.* on \d+ CPUs\); end"):
        engine.connect()
    assert len(asked) == 3


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_too_deep_for_sockets_is_said_before_ray_is_asked(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = starts(monkeypatch, failures=0)
    monkeypatch.setenv(variable, "/" + "x" * 60)
    with pytest.raises(
        InputError, match=rf"{variable} is /x+, 61 bytes long, .* set RAY_TMPDIR to a folder of at most"
    ):
        engine.connect()
    assert not asked
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    engine.connect()
    assert len(asked) == 1


def test_what_ray_says_of_its_log_level_is_left_out_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def init(*_: str, **__: Any) -> None:
        os.write(2, b"before\n[2026-01-01 I 1 1] logging.cc:303: Set ray log level from environment variable\nafter\n")

    monkeypatch.setattr(ray, "init", init)
    engine.connect()
    assert capfd.readouterr().err == "before\nafter\n"


def test_what_ray_says_of_a_start_that_fails_is_logged_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def init(*_: str, **__: Any) -> None:
        os.write(2, b"services.py:1431 -- Failed to start the dashboard\n")
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", init)
    for level in (logging.INFO, logging.DEBUG):
        assert "Failed to start the dashboard" not in capfd.readouterr().err
        caplog.set_level(level, engine.__name__)
        with pytest.raises(InputError, match="in 3 attempts"):
            engine.connect()
    assert sum("Failed to start the dashboard" in record.message for record in caplog.records) == 3


def test_a_folder_that_cannot_be_written_is_said_before_ray_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = starts(monkeypatch, failures=0)
    monkeypatch.setenv("RAY_TMPDIR", "/proc/x")
    with pytest.raises(InputError, match=r"RAY_TMPDIR is /proc/x, which cannot be written .*; give one that can"):
        engine.connect()
    assert not asked
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setenv("RAY_TMPDIR", f"{folder}/new")
        engine.connect()
    assert len(asked) == 1


def test_a_cluster_that_does_not_take_this_process_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    def init(**_: Any) -> None:
        asked.append(1)
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", init)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        said = rf"RAY_ADDRESS={address} answers, .*; load \d.* on \d+ CPUs\); where much else runs.*RAY_AUTH_MODE=token"
        for load, attempts in ((0.0, 1), (1e3, 3)):
            asked.clear()
            monkeypatch.setattr(os, "getloadavg", lambda load=load: (load,) * 3)
            with pytest.raises(InputError, match=said):
                engine.connect()
            assert len(asked) == attempts
        assert sum("does not take this process (Failed" in record.message for record in caplog.records) == 2
