"""The notebook runs from its beginning to its end, and shows what it shows in the repository."""

import json
from pathlib import Path

import pytest

from tests.docs.notebooks import executed

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "first_look.ipynb"


def kinds(notebook: dict) -> list[list[str]]:
    """What each cell's outputs are of."""
    return [
        [kind for output in cell.get("outputs", []) for kind in output.get("data", {"text": None})]
        for cell in notebook["cells"]
    ]


def test_it_runs_and_shows_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept = json.loads(NOTEBOOK.read_text())
    found = executed(kept)
    assert kinds(found) == kinds(kept)
    assert sum(shown.count("image/png") for shown in kinds(found)) == 4
    assert not list(tmp_path.iterdir())


def test_a_cell_that_fails_is_named() -> None:
    cells = [{"cell_type": "code", "source": ["one = 1\n", "one"]}, {"cell_type": "code", "source": ["one / 0"]}]
    with pytest.raises(ZeroDivisionError) as failed:
        executed({"cells": cells})
    assert failed.traceback[-1].frame.code.raw.co_filename == "cell 2"
