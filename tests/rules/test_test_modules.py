"""What tests share lies in conftest (fixtures) and in modules that are no tests, so that each file can go alone."""

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))


def imported(source: str) -> set[str]:
    """The modules that a module takes names from or imports, wherever it does."""
    nodes = list(ast.walk(ast.parse(source)))
    taken = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return taken | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def taken_from_tests(source: str) -> set[str]:
    last = {module: module.rpartition(".")[2] for module in imported(source) if module.startswith("tests.")}
    return {module for module, name in last.items() if name.startswith("test_") or name == "conftest"}


def test_no_test_takes_from_another() -> None:
    assert {str(file): taken for file in FILES if (taken := taken_from_tests(file.read_text()))} == {}


def test_what_takes_from_a_test_would_be_found() -> None:
    assert taken_from_tests("from tests.store.test_store import unit") == {"tests.store.test_store"}
    assert taken_from_tests("def f():\n    import tests.conftest") == {"tests.conftest"}
    assert taken_from_tests("from tests.store.stores import write_store\nimport test_it") == set()


def test_no_two_test_modules_have_one_name() -> None:
    """pytest collects none of the second."""
    counts = Counter(file.name for file in FILES if file.name.startswith("test_"))
    assert [name for name, count in counts.items() if count > 1] == []


def test_collecting_imports_no_open_clip() -> None:
    """It costs each process of a run some seconds: tests import it where they need it."""
    heavy = {"open_clip", "isoenergy.encoders.open_clip_encoder"}
    collected = [file for file in FILES if "benchmarks" not in file.parts]
    found = {str(file): taken for file in collected if (taken := imported_at_once(file.read_text()) & heavy)}
    assert found == {}
    assert imported_at_once("from open_clip.transform import a\ndef f():\n    import b") == {
        "open_clip.transform",
        "open_clip",
    }


def imported_at_once(source: str) -> set[str]:
    """The modules that importing a module imports, and the packages that they are of."""
    modules = imported("\n".join(ast.unparse(node) for node in ast.parse(source).body if _is_import(node)))
    return modules | {module.partition(".")[0] for module in modules}


def _is_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)
