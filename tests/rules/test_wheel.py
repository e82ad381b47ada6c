"""What the wheel would hold, by setuptools' own discovery: what runs needs all of it, and no more."""

from pathlib import Path

import pytest
from setuptools import Distribution
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files() -> set[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        distribution = Distribution({"script_name": "setup.py"})
        distribution.parse_config_files(["pyproject.toml"])
        distribution.set_defaults()
        command = build_py(distribution)
        command.ensure_finalized()
        modules = {source for _, _, source in command.find_all_modules()}
        data = {f"{source}/{name}" for _, source, _, names in command.data_files for name in names}
    return {Path(name).as_posix() for name in modules | data}


def below(folder: str) -> set[str]:
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


@pytest.mark.parametrize(
    "folder",
    ["isoenergy/bundled/pairs", "isoenergy/bundled/encoder", "isoenergy/report/templates", "isoenergy/explorer/page"],
)
def test_data_that_runs_need_is_there_whole(files: set[str], folder: str) -> None:
    assert below(folder)
    assert below(folder) <= files


def test_every_module_is_there_but_those_that_made_the_encoder(files: set[str]) -> None:
    code = {name for folder in ("isoenergy", "workflows", "tune") for name in below(folder) if name.endswith(".py")}
    makers = below("isoenergy/bundled/making")
    assert makers
    assert {name for name in files if name.endswith(".py")} == code - makers


def test_its_types_are_there(files: set[str]) -> None:
    assert {name for name in below("isoenergy") if name.endswith(".pyi")} <= files
    assert "isoenergy/py.typed" in files


def test_nothing_else_is(files: set[str]) -> None:
    assert {name.split("/")[0] for name in files} == {"isoenergy", "workflows", "tune"}
