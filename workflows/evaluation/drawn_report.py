"""Whether a report is drawn already: beside its page is written what it was made of, and what was made."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, Self

from isoenergy.report.page.page import write_report
from isoenergy.storage.files import open_filesystem, write_atomically
from workflows.steps.step import code_version

RECORD = "made-of.json"
"""What is put behind the page's name."""
_STEPS = "steps/"
_TABLE = ".parquet"


@dataclass(frozen=True)
class Ingredients:
    """What decides all of a report whose pictures are the evaluation's own."""

    evaluation: str
    """Digest of what the `evaluation.json` says, but for which steps its last run found done: none makes another page.

    A page that is left says which ran for it.
    """
    tables: Mapping[str, str]
    """Digest of each table of the steps that it names, by its place below the evaluation."""
    code: str
    """Digest of what draws: modules and templates."""

    @classmethod
    def of(cls, evaluation: str, summary: Mapping[str, Any]) -> Self:
        """Read them; evaluation: URI of the `evaluation.json`, whose content is `summary`."""
        filesystem, file = open_filesystem(evaluation)
        root = file.rpartition("/")[0]
        tables = [
            table
            for step in sorted({text for text in _texts(summary) if text.startswith(_STEPS)})
            for table in filesystem.find(f"{root}/{step}")
            if table.endswith(_TABLE)
        ]
        graph = [{**step, "state": None} for step in summary.get("graph", ())]
        return cls(
            _digest(json.dumps({**summary, "graph": graph}, sort_keys=True).encode()),
            {table.removeprefix(f"{root}/"): _digest(filesystem.cat_file(table)) for table in tables},
            _code(),
        )


def keep_record(page: str, ingredients: Ingredients, made: Sequence[str]) -> None:
    """Write down what a page was made of; made: URIs of all files that were, itself among them."""
    filesystem, path = open_filesystem(f"{page}.{RECORD}")
    digests = {file: _digest(filesystem.cat_file(open_filesystem(file)[1])) for file in made}
    beside = "".join(page.rpartition("/")[:2])
    record = {
        "made_of": asdict(ingredients),
        "files": {file.removeprefix(beside): digest for file, digest in digests.items()},
    }
    write_atomically(filesystem, path, json.dumps(record, indent=2).encode())


def drawn_before(page: str, ingredients: Ingredients) -> list[str]:
    """Return the URIs of a report's files, page first, as `write_report` does; none if it is to be drawn.

    So it is if it was made of anything else, and if a file is gone or is not what it was.
    """
    filesystem, path = open_filesystem(f"{page}.{RECORD}")
    beside = "".join(page.rpartition("/")[:2])
    try:
        record = json.loads(filesystem.cat_file(path))
        made = {f"{beside}{name}": digest for name, digest in record["files"].items()}
        there = {file: _digest(filesystem.cat_file(open_filesystem(file)[1])) for file in made}
    except (FileNotFoundError, ValueError, KeyError):
        return []
    return list(made) if record["made_of"] == asdict(ingredients) and there == made else []


def _code() -> str:
    digest = hashlib.sha256(code_version(write_report.__module__).encode())
    for file in sorted(files("isoenergy").joinpath("report", "templates").iterdir(), key=lambda file: file.name):
        digest.update(f"{file.name}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return _texts(list(value.values()))
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
