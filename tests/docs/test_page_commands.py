"""What the pages say is run, is run: commands and Python on bundled data, diffs on a copy of the tree."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, in_reading_order

_FAST = {page: [block for block in blocks(page) if block.mark != "run slow"] for page in PAGES}
_CODE = ("isoenergy", "tests", "tune", "workflows")


def _run(block: Block, folder: Path) -> str:
    command = {
        "bash": ["bash", "-euo", "pipefail", "-c", block.text],
        "python": [sys.executable, "-c", block.text],
        "diff": ["git", "apply", "-"],
    }[block.language]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder if (folder / "isoenergy").is_dir() else ROOT),
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        input=block.text if block.language == "diff" else None,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if _FAST[page]], ids=lambda page: page.stem)
def test_what_a_page_shows_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    diffs = [block for block in _FAST[page] if block.language == "diff"]
    if diffs:
        for name in _CODE:
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for block in [*diffs, *(block for block in _FAST[page] if block.language == "bash")]:
        _run(block, tmp_path)
    shown = [block.text for block in _FAST[page] if block.language == "python"]
    if diffs:
        _run(Block("run", "python", "\n".join(shown)), tmp_path)  # one process, as each imports torch
        return
    monkeypatch.chdir(tmp_path)
    for text in shown:
        exec(compile(text, page.name, "exec"), {"__name__": "__main__"})


@pytest.mark.ray
@pytest.mark.slow
def test_a_reader_may_type_what_the_pages_show_from_the_first_to_the_last(tmp_path: Path):
    shown = [block for page in in_reading_order() for block in blocks(page) if block.mark == "run slow"]
    assert shown
    for block in shown:
        _run(block, tmp_path)
    assert (tmp_path / "runs/first/report.html").stat().st_size > 100_000


def test_the_navigation_has_every_page():
    assert {*in_reading_order()} == {*PAGES}
