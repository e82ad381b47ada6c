"""Which modules a module needs, read from the source: nothing is imported for it."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

_MAY_HOLD_IMPORTS = ast.stmt, ast.ExceptHandler, ast.match_case
"""No expression does, and those are most of a source."""


class SourceTree:
    """Packages and their modules, as files; each is looked at once."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        """Take where each top-level package or module lies, by its name; what is in none of them does not count."""
        self._roots = roots
        self._imports: dict[tuple[str, bool], frozenset[str]] = {}
        self._files: dict[str, Path | None] = {}

    def file(self, module: str) -> Path | None:
        """Return the file of a module, or a package's `__init__.py`; None if there is none."""
        if module not in self._files:
            self._files[module] = self._find(module)
        return self._files[module]

    def _find(self, module: str) -> Path | None:
        top, *rest = module.split(".")
        if top not in self._roots:
            return None
        path = self._roots[top].joinpath(*rest)
        possible = [path / "__init__.py", path.with_suffix(".py") if rest else path]
        return next((file for file in possible if file.is_file()), None)

    def imports(self, module: str, for_types: bool = False) -> frozenset[str]:
        """Return the modules that a module imports, wherever in it, a name of a lazy package being its module's.

        for_types: whether imports count that only a type checker follows.
        """
        if (module, for_types) not in self._imports:
            self._imports[module, for_types] = frozenset(self._find_imports(module, for_types))
        return self._imports[module, for_types]

    def _find_imports(self, module: str, for_types: bool) -> set[str]:
        file = self.file(module)
        if file is None:
            return set()
        package = module if file.name == "__init__.py" else module.rpartition(".")[0]
        found: set[str] = set()
        for base, name, typed in _imported(file.read_bytes(), package):
            if for_types or not typed:
                found.update(self._of_whole(base) if name is None else self._of_name(base, name))
        return found - {module}

    def closure(self, module: str) -> frozenset[str]:
        """Return a module, all that it imports, what those import, and the packages that they are in."""
        found: set[str] = set()
        pending = {module}
        while pending:
            each = pending.pop()
            parents = each.split(".")
            found.add(each)
            pending |= {".".join(parents[:depth]) for depth in range(1, len(parents))} | self.imports(each)
            pending -= found
        return frozenset(found)

    def offered(self, package: str) -> dict[str, str]:
        """Return the module of each name that a lazy package offers: what its stub says; nothing for other packages."""
        file = self.file(package)
        stub = file.with_suffix(".pyi") if file is not None and file.name == "__init__.py" else None
        if stub is None or not stub.is_file():
            return {}
        found: dict[str, str] = {}
        for base, name, _ in _imported(stub.read_bytes(), package):
            if name is not None:
                found[name] = next(iter(self._of_name(base, name)), base)
        return found

    def _of_name(self, base: str, name: str) -> Iterator[str]:
        """Yield the modules that `from base import name` needs."""
        if self.file(f"{base}.{name}") is not None:
            yield f"{base}.{name}"
        elif self.file(base) is not None:
            yield self.offered(base).get(name, base)

    def _of_whole(self, module: str) -> Iterator[str]:
        """Yield what `import module` may need: all that a lazy package offers."""
        if self.file(module) is not None:
            yield module
            yield from self.offered(module).values()


@cache
def _imported(source: bytes, package: str) -> tuple[tuple[str, str | None, bool], ...]:
    """Return what is imported: a module, a name in it if one is named, and whether only for types."""
    found: list[tuple[str, str | None, bool]] = []

    def walk(node: ast.AST, typed: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, None, typed) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found.extend((base, None if alias.name == "*" else alias.name, typed) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for guarded in node.body:
                walk(guarded, True)
            for other in node.orelse:
                walk(other, typed)
            return
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _MAY_HOLD_IMPORTS):
                walk(child, typed)

    walk(ast.parse(source), False)
    return tuple(found)
