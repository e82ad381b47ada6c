"""An autoencoder as an MLflow model: loaded, served, and free of anything pickled."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow.exceptions import MlflowException

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.settings.modalities import MODALITIES
from isoenergy.sparse_encoders import JumpReLU
from tests.sae.small_sae import CONFIG, sae
from tests.workflows.tracking.mlflow_server import wait_for
from workflows.tracking import mlflow_runs
from workflows.tracking.logged_model import log_model, logged_models, save_model

CENTRED = SaeConfig(6, 15, 4, 0.0, JumpReLU(l0=0.3), "free", "centred")
ROWS = np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32)


def trained(config: SaeConfig = CONFIG) -> SparseAutoencoder:
    """An autoencoder to which the modality matters, if it may."""
    made = sae(config=config)
    if config.input == "centred":
        made.image_mean += 0.5
    return made


@pytest.mark.parametrize("config", [CONFIG, CENTRED])
def test_a_saved_model_predicts_what_the_autoencoder_encodes(config: SaeConfig, tmp_path: Path) -> None:
    made = trained(config)
    save_model(made, tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    for modality in MODALITIES:
        with torch.no_grad():
            codes = made.encode(made.prepare(torch.from_numpy(ROWS), modality))
        predicted = model.predict(ROWS, params={"modality": modality})
        np.testing.assert_array_equal(predicted["indices"], codes.indices)
        np.testing.assert_array_equal(predicted["values"], codes.values)
        np.testing.assert_allclose(predicted["reconstruction_error"], codes.residual.square().sum(1), rtol=1e-6)
    default = model.predict(ROWS)
    np.testing.assert_array_equal(default["values"], model.predict(ROWS, params={"modality": "image"})["values"])
    differs = not np.array_equal(default["values"], model.predict(ROWS, params={"modality": "text"})["values"])
    assert differs == (config.input == "centred")
    assert SparseAutoencoder.load(tmp_path / "model").digest == made.digest


def test_its_folder_holds_plain_files_only_whatever_directory_it_is_written_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1"\n')
    (project / "uv.lock").write_text('version = 1\n[[package]]\nsource = { registry = "https://me:secret@index/" }\n')
    monkeypatch.chdir(project)
    folder = tmp_path / "model"
    save_model(sae(), folder)
    assert {file.name for file in folder.iterdir()} == {
        "MLmodel",
        "conda.yaml",
        "config.json",
        "input_example.json",
        "python_env.yaml",
        "requirements.txt",
        "sae.safetensors",
        "served_model.py",
        "serving_input_example.json",
    }
    for file in folder.iterdir():
        content = file.read_bytes()
        assert not content.startswith(b"\x80")
        assert all(word not in content for word in (b"secret", b"index-url", b"://", bytes(tmp_path)))
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in requirements] == [
        "isoenergy",
        "mlflow",
        "numpy",
        "safetensors",
        "torch",
    ]
    assert all(line.partition("==")[2] and "+" not in line for line in requirements)


@pytest.fixture
def model(tmp_path: Path) -> mlflow.pyfunc.PyFuncModel:
    save_model(sae(), tmp_path / "model")
    return mlflow.pyfunc.load_model(str(tmp_path / "model"))


def with_one(value: float) -> np.ndarray:
    rows = ROWS.copy()
    rows[3, 2] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "parameters", "words"),
    [
        (ROWS[:, :4], {}, r"\(5, 4\) does not match expected shape \(-1, 6\)"),
        (ROWS[0], {}, r"\(6,\) does not match expected shape"),
        (ROWS[:0], {}, r"expected at least one row of 6 numbers, got an array of shape \(0, 6\)"),
        (with_one(np.nan), {}, "1 of 5 rows hold NaN or infinity, the first is row 3"),
        (with_one(np.inf), {}, "1 of 5 rows hold NaN or infinity, the first is row 3"),
        (ROWS, {"modality": "audio"}, "modality must be one of image, text, got 'audio'"),
    ],
)
def test_rows_that_cannot_be_encoded_are_refused_with_what_is_wrong(
    model: mlflow.pyfunc.PyFuncModel, rows: np.ndarray, parameters: dict[str, str], words: str
) -> None:
    with pytest.raises(MlflowException, match=words):
        model.predict(rows, params=parameters)


def test_it_is_logged_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    sae(0).save(tmp_path / "0")
    sae(1).save(tmp_path / "1")
    with mlflow_runs.stage("train", {}, str(tmp_path)) as run:
        logged = [log_model(run, str(tmp_path / place)).model_id for place in ("0", "0", "1", "0")]
    assert logged[0] == logged[1] == logged[3]
    models = logged_models(run)
    assert [model.model_id for model in models] == [logged[0], logged[2]]
    assert models[0].params["atoms"] == "15"
    assert models[0].tags["digest"] == sae(0).digest
    folder = mlflow.artifacts.download_artifacts(f"models:/{logged[0]}", tracking_uri=run.uri)
    assert SparseAutoencoder.load(folder).digest == sae(0).digest
    assert mlflow.pyfunc.load_model(folder).metadata.run_id == run.id


def test_what_is_no_autoencoder_is_not_logged(tmp_path: Path) -> None:
    (tmp_path / "sae.safetensors").write_bytes(b"\x80\x04\x95pickled")
    (tmp_path / "config.json").write_text("{}")
    with mlflow_runs.stage("train", {}, str(tmp_path)) as run, pytest.raises(InputError, match="is not a checkpoint"):
        log_model(run, str(tmp_path))
    assert logged_models(run) == []


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`mlflow models serve`; the address for requests."""
    folder = tmp_path_factory.mktemp("served")
    save_model(sae(), folder / "model")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--model-uri", str(folder / "model")]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts `uvicorn` by name
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, start_new_session=True, stdout=log, stderr=log, env={**os.environ, "PATH": path}
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/ping", process)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


Ask = Callable[[Any], tuple[int, str]]


@pytest.fixture
def ask(served: str) -> Ask:
    """Send JSON; return the status and the answer."""

    def send(body: Any) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(served, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return send


@pytest.mark.slow
@pytest.mark.server
def test_a_server_answers_with_codes(ask: Ask) -> None:
    status, answer = ask({"inputs": ROWS.tolist(), "params": {"modality": "text"}})
    assert status == 200, answer
    predictions = json.loads(answer)["predictions"]
    made = sae()
    with torch.no_grad():
        codes = made.encode(made.prepare(torch.from_numpy(ROWS), "text"))
    assert predictions["indices"] == codes.indices.tolist()
    np.testing.assert_allclose(predictions["values"], codes.values, rtol=1e-6)
    np.testing.assert_allclose(predictions["reconstruction_error"], codes.residual.square().sum(1), rtol=1e-5)


@pytest.mark.server
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": ROWS[:, :4].tolist()}, "does not match expected shape (-1, 6)"),
        ({"inputs": []}, "Failed to enforce schema of data '[]' with schema '[Tensor('float32', (-1, 6))]'"),
        ({"inputs": with_one(np.nan).tolist()}, "1 of 5 rows hold NaN or infinity, the first is row 3"),
        ({"inputs": ROWS.tolist(), "params": {"modality": "audio"}}, "modality must be one of image, text"),
        ({"rows": ROWS.tolist()}, "inputs"),
    ],
)
@pytest.mark.slow
def test_a_server_says_what_is_wrong_with_a_request(ask: Ask, body: Any, words: str) -> None:
    status, answer = ask(body)
    assert status == 400
    assert words in json.loads(answer)["message"]
