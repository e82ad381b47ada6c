import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from workflows.steps.import_closure import SourceTree

ROOT = Path(__file__).parents[2]
TOPS = ("isoenergy", "tune", "workflows")
TREE = SourceTree({top: ROOT / top for top in TOPS})
STAGES = {f"workflows.{path.stem}" for path in (ROOT / "workflows").glob("*.py") if path.stem != "__init__"}
COMMON = {
    f"workflows.{name}" for name in ("arguments", "cli", "command", "endings", "node_types", "option_help", "presets")
}
"""What is loose in `workflows` and no stage."""
CALLS_OTHERS = {"workflows.pipeline"}
"""A stage that is made of stages."""
SETTINGS = "workflows.settings"
"""The room of the stages' command lines; those of a search are `tune`'s own."""

Graph = Mapping[str, set[str]]


def modules() -> list[str]:
    files = (path.relative_to(ROOT) for top in TOPS for path in sorted((ROOT / top).rglob("*.py")))
    return [".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts) for path in files]


def is_lazy(module: str) -> bool:
    return bool(TREE.offered(module))


def imports() -> dict[str, set[str]]:
    """Who imports whom, within functions and for types too. What a lazy package offers it does not import."""
    return {module: set() if is_lazy(module) else set(TREE.imports(module, for_types=True)) for module in modules()}


def room(module: str) -> str:
    """The folder below a top-level package that a module is in, or the module, if it is in none."""
    return ".".join(module.split(".")[:2])


def between_rooms(graph: Graph) -> dict[str, set[str]]:
    rooms: dict[str, set[str]] = defaultdict(set)
    for module, others in graph.items():
        for other in others:
            if room(module) != room(other) and "." in module:
                rooms[room(module)].add(room(other))
    return rooms


def circle(graph: Graph) -> list[str]:
    """One circle, as the names along it; none if there is none."""
    done: set[str] = set()

    def search(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := search(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := search(name, []))), [])


def libraries(module: str) -> set[str]:
    """The top-level packages that a module imports, anywhere in it."""
    file = TREE.file(module)
    assert file is not None
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_the_graph_is_there() -> None:
    graph = imports()
    assert len(graph) > 300
    assert "isoenergy.store.batches" in graph["isoenergy.store.reader"]  # for types, and within a function
    assert "isoenergy.encoders.loading" in graph["workflows.extraction.extraction_stores"]  # by the package's name


def test_no_module_imports_itself_in_a_circle() -> None:
    assert circle(imports()) == []


def test_no_room_imports_itself_in_a_circle() -> None:
    assert circle(between_rooms(imports())) == []


def test_the_science_knows_no_engine_and_no_tracking() -> None:
    assert {
        m: libraries(m) & {"ray", "mlflow", "workflows", "tune"} for m in modules() if m.startswith("isoenergy")
    } == {m: set() for m in modules() if m.startswith("isoenergy")}


def test_tracking_alone_knows_mlflow() -> None:
    rooms = {room(module) for module in modules() if "mlflow" in libraries(module)}
    assert rooms == {"workflows.tracking"}


def test_rooms_do_not_know_the_stages() -> None:
    stages = STAGES - COMMON
    found = [
        (module, other)
        for module, others in imports().items()
        for other in others & stages
        if module not in CALLS_OTHERS
    ]
    assert found == []


def test_a_search_is_above_the_rooms() -> None:
    found = [
        (module, other)
        for module, others in imports().items()
        for other in others
        if other.partition(".")[0] == "tune" and module not in STAGES and not module.startswith(("tune", SETTINGS))
    ]
    assert found == []


def named(kind: str) -> Iterator[tuple[str, str]]:
    """Names of modules or of public classes, and where they are. Stages and folders go by their task's name."""
    for module in modules():
        file = TREE.file(module)
        assert file is not None
        if kind == "modules" and file.name != "__init__.py" and module not in STAGES:
            yield module.rpartition(".")[2], module
        elif kind == "classes":
            for node in ast.parse(file.read_bytes()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    yield node.name, module


@pytest.mark.parametrize("kind", ["modules", "classes"])
def test_a_name_means_one_thing(kind: str) -> None:
    places = defaultdict(list)
    for name, place in named(kind):
        places[name].append(place)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
