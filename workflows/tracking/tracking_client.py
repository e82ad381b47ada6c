"""The MLflow server or file that runs are tracked to, and what it takes."""

import logging
import os
import posixpath
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.tracking.sqlite_file import SCHEME, opened_alone

EXPERIMENT = "isoenergy"
_FOLDER = Path("runs")
_LONGEST_NAME = 250
_LONGEST_PARAMETER = 500
_LONGEST_TAG = 5000
_LONGEST_ERROR = 300
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or the sqlite file `runs/mlflow.db` below the working directory."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SCHEME}{_FOLDER.absolute() / 'mlflow.db'}"


def client(uri: str) -> Any:
    """Return a client; mlflow takes seconds to import, and `--help` needs none of it."""
    from mlflow import MlflowClient

    for chatty, level in (("alembic", logging.WARNING), ("mlflow", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(chatty).setLevel(level)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if uri.startswith(SCHEME):
        opened_alone(Path(uri.removeprefix(SCHEME)), lambda file: MlflowClient(f"{SCHEME}{file}").search_experiments())
    return MlflowClient(_without_password(uri))


def _without_password(uri: str) -> str:
    """Return a server's URL without its user and password, which MLflow then takes from the environment.

    In a URL they would be in every message of a request that failed.
    """
    server = urlsplit(uri)
    if server.scheme not in ("http", "https") or not server.username or not server.password:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(server.username)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(server.password)
    return without_secrets(uri)


def runs_page(uri: str) -> str:
    """Return where, below a server, the table of all runs is; the bare experiment opens a page without them."""
    return f"/#/experiments/{experiment_id(uri)}/runs?workflowType=machine_learning"


def experiment_id(uri: str) -> str:
    """Return the id of this project's experiment, which is made if it is not there.

    Raises InputError if it was deleted: MLflow keeps its name, and its runs, until somebody restores or removes it.
    """
    there = client(uri).get_experiment_by_name(EXPERIMENT)
    if there is not None:
        if there.lifecycle_stage == "deleted":
            raise InputError(
                f"the experiment {EXPERIMENT} at {without_secrets(uri)} was deleted; bring it back, with its runs, by "
                f"MLFLOW_TRACKING_URI={without_secrets(uri)} mlflow experiments restore -x {there.experiment_id}, or "
                f"set MLFLOW_TRACKING_URI to another file or server"
            )
        return str(there.experiment_id)
    # MLflow's default for sqlite is a folder below whatever directory the process happens to be in.
    file = uri.removeprefix(SCHEME)
    artifacts = None if file == uri else (Path(file).absolute().parent / "mlflow-artifacts").as_uri()
    try:
        return str(client(uri).create_experiment(EXPERIMENT, artifact_location=artifacts))
    except Exception:  # another stage may have made it since: a server's and a file's errors differ
        there = client(uri).get_experiment_by_name(EXPERIMENT)
        if there is None:
            raise
        return str(there.experiment_id)


def allowed_name(name: str) -> str:
    """Return a metric's, tag's or parameter's name as MLflow takes it: β = 1e+06, or an SAE's folder, may not be one.

    Letters other than MLflow's become `_`, and so does what would lead out of a folder of that name.
    """
    plain = posixpath.normpath(re.sub(r"[^\w\-. :/]", "_", name)).replace("../", "_/")
    return re.sub(r"^(\.\.|\.$|/+)", "_", plain)[:_LONGEST_NAME].rstrip("/")


def allowed_tags(values: Mapping[str, str]) -> dict[str, str]:
    """Return tags as MLflow takes them, without secrets."""
    return {allowed_name(name): text_without_secrets(value)[:_LONGEST_TAG] for name, value in values.items()}


def text_without_secrets(text: str) -> str:
    """Return a text without the users and passwords of the URLs in it."""
    return re.sub(r"(?<=://)[^/\s?#]*@", "", text)


def cannot_be_used(uri: str, error: Exception) -> InputError:
    """Return what the user is told when a server or file raises `error`."""
    return InputError(
        f"MLflow at {without_secrets(uri)} cannot be used ({in_brief(error)}); "
        f"set MLFLOW_TRACKING_URI to a server or a sqlite:////absolute/file.db that can"
    )


def in_brief(error: Exception) -> str:
    """Return the kind of an error and the beginning of what it says, on one line, without secrets."""
    said = " ".join(text_without_secrets(str(error)).split())
    return f"{type(error).__name__}: {textwrap.shorten(said, _LONGEST_ERROR, placeholder=' …')}"


def flat_parameters(values: Any) -> dict[str, str]:
    """Return nested settings as MLflow's parameters: `inner.name`, cut to what every server takes, without secrets."""
    return dict(_flat(values))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}{name}.")
    else:
        yield allowed_name(prefix.removesuffix(".")), without_secrets(str(value))[:_LONGEST_PARAMETER]
