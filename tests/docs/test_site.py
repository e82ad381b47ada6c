"""The site: built strictly, whole, and in need of no network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path):
    names = {"index" if page.name == "README.md" else page.relative_to(ROOT / "docs").with_suffix("") for page in PAGES}
    assert not [name for name in names if not (site / f"{name}.html").is_file()]
    assert not [*site.rglob("*.py")]


def test_no_page_asks_for_anything_elsewhere(site: Path):
    asked = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(http|//)|<link[^>]*stylesheet[^>]*href=\"?(http|//)")
    assert not [page.name for page in site.rglob("*.html") if asked.search(page.read_text())]


def test_types_are_no_tags(site: Path):
    assert "fixed_size_list&lt;float16 or float&gt;[dim]" in (site / "formats.html").read_text()


def test_the_drawing_has_every_room_and_no_circle(site: Path):
    page = (site / "architecture.html").read_text()
    rooms = [path.name for path in (ROOT / "isoenergy").iterdir() if (path / "__init__.py").is_file()]
    assert len(rooms) > 15
    assert not [room for room in rooms if f">{room}</text>" not in page]
    assert "#c62828" not in page
