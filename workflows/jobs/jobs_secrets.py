"""What of this shell's environment a job may have; and no secrets, as everyone who sees the dashboard sees jobs."""

import os
import re
from collections.abc import Sequence

from isoenergy.errors import InputError

_PASSED_ON = ("MLFLOW_TRACKING_URI", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH(?!OR|_MODE)|COOKIE|SIGNATURE", re.IGNORECASE)
_SECRET_IN_URL = re.compile(
    r"://[^/\s?#]*@|[?&](x-amz-[a-z-]*|sig|signature|[a-z_-]*(token|key|secret|password|credential)[a-z_-]*)=",
    re.IGNORECASE,
)
_SECRET_ITSELF = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|\b(hf_|gh[pousr]_)[A-Za-z0-9]{20,}|\bAWS_SECRET\w*=")
_SHORTEST_SECRET = 8
_INSTEAD = (
    "everyone who sees the dashboard sees it. Give it to the cluster's nodes instead: a role of the machine, or the "
    "environment that `ray start` runs in"
)


def require_no_secrets(arguments: Sequence[str]) -> None:
    """Raise InputError if a command line holds a secret; the message does not repeat it."""
    for place, argument in enumerate(arguments):
        what = f"argument {place + 1}"
        if option := re.fullmatch(r"(--[\w.-]+)=.*", argument, re.DOTALL):
            what = option[1]
        elif place and arguments[place - 1].startswith("--"):
            what = arguments[place - 1]
        _require_no_secret(what, argument)


def job_environment(names: Sequence[str]) -> dict[str, str]:
    """Return the variables that a job gets from here: those that say where storage and MLflow are, and `names`.

    names: NAME, with the value that it has here, or NAME=VALUE. Raises InputError for a secret, saying what to do.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    for given in names:
        name, has_value, value = given.partition("=")
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise InputError("--env must be NAME or NAME=VALUE, with letters, digits and _ in the name")
        if _SECRET_NAME.search(name):
            raise InputError(f"{name} looks like a secret, and a job's environment is no place for one: {_INSTEAD}")
        if not has_value and name not in os.environ:
            raise InputError(f"--env {name} is to pass on what it is here, and it is not set; set it, or give a value")
        environment[name] = value if has_value else os.environ[name]
    for name, value in environment.items():
        _require_no_secret(name, value)
    return environment


def _require_no_secret(what: str, value: str) -> None:
    if _SECRET_IN_URL.search(value) or _SECRET_ITSELF.search(value):
        raise InputError(f"{what} holds a user, a password or a key, and {_INSTEAD}; a URL is given without them")
    for name, secret in os.environ.items():
        is_secret = _SECRET_NAME.search(name) and len(secret) >= _SHORTEST_SECRET and not os.path.isabs(secret)
        if is_secret and secret in value:
            raise InputError(f"{what} holds the value of {name}, and {_INSTEAD}")
