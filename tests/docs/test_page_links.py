"""What the pages name is there: files that they link to, paths and modules in their commands."""

import pkgutil
import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_QUOTED = re.compile(r"`([\w.*-]+(?:/[\w.*-]+)+/?)`")
_PATH_OF_TEST = re.compile(r"\btests/[\w./-]+\.py")
_MODULE = re.compile(r"python -m ((?:isoenergy|tests|tune|workflows)(?:\.\w+)*)")
_DOCUMENTED = re.compile(r"^::: (\S+)$", re.MULTILINE)
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_is_there(page: Path):
    text = page.read_text()
    prose = _CODE.sub("", text)
    links = [link.partition("#")[0] for link in _LINK.findall(prose) if not link.startswith(("http", "#"))]
    top = {path.name for path in ROOT.iterdir()}
    paths = [path for path in _QUOTED.findall(prose) if path.partition("/")[0] in top - {"runs", "site"}]
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [path for path in [*paths, *_PATH_OF_TEST.findall(text)] if not any(ROOT.glob(path.rstrip("/")))]
    missing += [module for module in _MODULE.findall(text) if not _is_module(module)]
    assert not missing


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file() or name == "workflows.STAGE"


def test_what_the_reference_documents_is_there():
    documented = [name for page in PAGES for name in _DOCUMENTED.findall(page.read_text())]
    for name in documented:
        pkgutil.resolve_name(name)
    measures = {f"isoenergy.metrics.{path.stem}" for path in (ROOT / "isoenergy/metrics").glob("[!_]*.py")}
    assert len(measures) > 10
    assert measures <= {*documented}


def test_the_first_page_is_one_page():
    assert len((ROOT / "README.md").read_text().split()) <= 1300
