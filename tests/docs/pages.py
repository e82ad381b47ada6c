"""The README and the pages of docs/, as their tests read them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^<!-- (run|run slow|apply) -->\n```(bash|python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code that its page says is run, or a diff that it says applies."""

    mark: Literal["run", "run slow", "apply"]
    language: Literal["bash", "python", "diff"]
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the marked blocks of a page, in order."""
    text = page.read_text()
    found = [Block(*match.groups()) for match in _BLOCK.finditer(text)]
    marks = len(re.findall(r"^<!-- (?:run|apply)", text, re.MULTILINE))
    assert len(found) == marks, f"{page.name} has {marks} marks, and {len(found)} blocks that follow one"
    return found


def in_reading_order() -> list[Path]:
    """Return the pages in the order of the site's navigation."""
    lines = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    names = [name for entry in yaml.safe_load(lines) for name in _leaves(entry)]
    return [ROOT / "README.md" if name == "index.md" else ROOT / "docs" / name for name in names]


def _leaves(entry: object) -> list[str]:
    if isinstance(entry, dict):
        return [leaf for value in entry.values() for leaf in _leaves(value)]
    if isinstance(entry, list):
        return [leaf for value in entry for leaf in _leaves(value)]
    return [str(entry)]
