"""Directions of import: workflows and tune import isoenergy; tune imports workflows, but no stage; two stages tune."""

import ast
from pathlib import Path

import pytest

from workflows.cli import STAGES

ROOT = Path(__file__).parents[2]
FORBIDDEN = {"isoenergy": {"ray", "mlflow", "workflows", "tune"}, "workflows": {"tune"}}
STAGES_THAT_TUNE = {"tune.py", "pipeline.py"}


def imported_modules(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def imported_packages(file: Path) -> set[str]:
    return {module.split(".")[0] for module in imported_modules(file)}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_layer_imports_nothing_above_it(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        if package == "workflows" and file.name in STAGES_THAT_TUNE:
            continue
        assert not imported_packages(file) & FORBIDDEN[package], file


def test_the_search_imports_no_stage() -> None:
    stages = {f"workflows.{name}" for name in STAGES}
    for file in sorted((ROOT / "tune").rglob("*.py")):
        assert not imported_modules(file) & stages, file


def test_the_rule_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    from ray.data import range\n")
    assert imported_packages(file) == {"ray"}
