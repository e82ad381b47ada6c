"""What Ray keeps to itself is used in one module, which says for which version and what to do where it moves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("isoenergy", "workflows", "tune")
ALLOWED = Path("workflows/cluster/ray_internals.py")
INTERNAL = ("ray.core", "ray.dashboard", "ray.autoscaler", "ray.experimental", "ray.train.v2")
"""Without an underscore, and yet not in Ray's documentation."""


def internals(source: str) -> list[str]:
    """What of Ray's own a module imports or reaches for, by whatever name."""
    tree = ast.parse(source)
    meanings: dict[str, str] = {}
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
            meanings |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
            meanings |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def meaning(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return meanings.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{meaning(node.value)}.{node.attr}"
        return meaning(node.func) if isinstance(node, ast.Call) else ""

    used |= {meaning(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return sorted(name for name in used if is_internal(name))


def is_internal(name: str) -> bool:
    parts = name.split(".")
    if parts[0] != "ray":
        return False
    return any(part.startswith("_") for part in parts) or name.startswith(tuple(f"{module}." for module in INTERNAL))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from ray._private import ray_constants", ["ray._private.ray_constants"]),
        ("def f():\n    from ray._raylet import GcsClient", ["ray._raylet.GcsClient"]),
        (
            "import ray\nray._private.state.actors()",
            ["ray._private", "ray._private.state", "ray._private.state.actors"],
        ),
        ("from ray import tune as t\nt.Tuner()._local", ["ray.tune.Tuner._local"]),
        ("import ray.dashboard.utils", ["ray.dashboard.utils"]),
        ("from ray.train.v2._internal import x", ["ray.train.v2._internal.x"]),
        ("import ray.train\nray.train.report({})\nself._ray = ray.get", []),
        ("from workflows.ray_x import _y", []),
    ],
)
def test_the_rule_sees(source: str, found: list[str]) -> None:
    assert internals(source) == found


def test_one_module_knows_ray_from_inside() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 100
    found = {str(path.relative_to(ROOT)): internals(path.read_text()) for path in files}
    assert found.pop(str(ALLOWED)), "the rule sees nothing"
    assert {name: used for name, used in found.items() if used} == {}
