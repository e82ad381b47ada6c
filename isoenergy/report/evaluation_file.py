"""`evaluation.json`, as whoever shows an evaluation reads it."""

from typing import Any

from isoenergy.errors import InputError
from isoenergy.storage import strict_json
from isoenergy.storage.files import open_filesystem, without_secrets

EVALUATION_FILE = "evaluation.json"


def evaluation_uri(given: str) -> str:
    """Return where the `evaluation.json` is that is given: itself, or the folder that it lies in."""
    return given if given.endswith(".json") else f"{given.rstrip('/')}/{EVALUATION_FILE}"


def read_evaluation(evaluation: str) -> dict[str, Any]:
    """Return what an `evaluation.json` holds, a path or an fsspec URL.

    Raises InputError if there is no such file, or if it is another.
    """
    filesystem, file = open_filesystem(evaluation)
    given = without_secrets(evaluation)
    try:
        summary = strict_json.loads(filesystem.cat_file(file).decode())
    except InputError:  # the storage does not answer
        raise
    except FileNotFoundError as error:
        raise InputError(f"there is no {given}; run `isoenergy evaluate` first and give its evaluation.json") from error
    except OSError as error:
        raise InputError(f"{given} cannot be read ({error.strerror or error}); give an evaluation.json") from error
    except ValueError:  # no JSON
        summary = None
    store = summary.get("store") if isinstance(summary, dict) else None
    if not (isinstance(store, dict) and {"uri", "fingerprint"} <= store.keys() and "saes" in summary):
        raise InputError(f"{given} is no evaluation.json of `isoenergy evaluate`; give one that it wrote")
    found: dict[str, Any] = summary
    return found
