"""The house as it is: rooms and who imports whom, read from the code and drawn where a page says `<!-- rooms -->`."""

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import networkx as nx
from mkdocs.config.defaults import MkDocsConfig

MARK = "<!-- rooms -->"
PACKAGES = ("isoenergy", "tune", "workflows")
STAGES = "stages"
BELOW_STAGES = ("arguments", "cli", "command", "option_help", "presets")
"""Modules beside the stages that rooms may import."""
_BOX, _HEIGHT, _FLOOR, _WIDTH = 128, 32, 76, 1000
_COLOURS = {"isoenergy": "#4a6fa5", "tune": "#7a4f9a", "workflows": "#b5651d"}


def on_page_markdown(markdown: str, *, config: MkDocsConfig, **_: Any) -> str:
    """Put the drawing and the table in the place of the mark."""
    if MARK not in markdown:
        return markdown
    root = Path(config.config_file_path).parent
    rooms = house(root)
    return markdown.replace(MARK, f'<div class="rooms">{drawing(rooms)}</div>\n\n{table(rooms, root)}')


def house(root: Path) -> nx.DiGraph:
    """Return the rooms, named as modules, with an arrow from each to what it imports while it runs."""
    rooms = nx.DiGraph()
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        path = file.relative_to(root).with_suffix("")
        room = _room(root, path.parts)
        rooms.add_node(room)
        for name in _imported(ast.parse(file.read_text())):
            parts = tuple(name.split("."))
            if parts[0] in PACKAGES and (other := _room(root, parts)) != room:
                rooms.add_edge(room, other)
    rooms.remove_node("isoenergy")  # offers two names, and holds nothing
    return rooms


def _room(root: Path, parts: tuple[str, ...]) -> str:
    package, inner = parts[0], parts[1] if len(parts) > 1 else "__init__"
    if package == "isoenergy" and inner != "__init__" and inner[0].islower():
        return f"{package}.{inner}"
    if package == "workflows":
        return f"{package}.{inner}" if (root / package / inner).is_dir() or inner in BELOW_STAGES else STAGES
    return package


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imported(node)


def floors(rooms: nx.DiGraph) -> list[list[str]]:
    """Return the rooms by floor: each above all that it imports; those of a circle share a floor."""
    groups = nx.condensation(rooms)
    generations = list(nx.topological_generations(groups.reverse()))
    levels = [[room for group in floor for room in sorted(groups.nodes[group]["members"])] for floor in generations]
    for _ in range(8):
        for level, beside in [*zip(levels[1:], levels, strict=False), *zip(levels[-2::-1], levels[:0:-1], strict=True)]:
            places = {room: index / max(len(beside) - 1, 1) for index, room in enumerate(beside)}
            level.sort(key=lambda room, places=places: _mean_place(rooms, room, places))
    return levels


def _mean_place(rooms: nx.DiGraph, room: str, places: dict[str, float]) -> float:
    near = [places[other] for other in {*rooms.successors(room), *rooms.predecessors(room)} & places.keys()]
    return sum(near) / len(near) if near else 0.5


def drawing(rooms: nx.DiGraph) -> str:
    """Return an SVG of the rooms, without the arrows that others imply."""
    levels = floors(rooms)
    height = len(levels) * _FLOOR
    centres = {
        room: (_WIDTH * (index + 1) / (len(level) + 1), height - (floor + 0.5) * _FLOOR)
        for floor, level in enumerate(levels)
        for index, room in enumerate(level)
    }
    groups = nx.condensation(rooms)
    group = groups.graph["mapping"]
    needed = nx.transitive_reduction(groups)
    arrows = [
        _arrow(centres[one], centres[other], circle=group[one] == group[other])
        for one, other in rooms.edges
        if group[one] == group[other] or needed.has_edge(group[one], group[other])
    ]
    boxes = [_box(room, *centre) for room, centre in centres.items()]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Rooms, each above those that it imports" '
        f'font-family="inherit" font-size="14">{"".join(arrows)}{"".join(boxes)}</svg>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float], circle: bool) -> str:
    (x, y), (u, v) = start, end
    y, v = (y, v - _FLOOR / 2) if circle else (y + _HEIGHT / 2, v - _HEIGHT / 2)
    colour = "#c62828" if circle else "currentColor"
    bend = (v - y) / 2
    path = f"M{x:.0f} {y:.0f} C{x:.0f} {y + bend:.0f} {u:.0f} {v - bend:.0f} {u:.0f} {v:.0f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity="0.35" stroke-width="1.2"/>'


def _box(room: str, x: float, y: float) -> str:
    package, _, name = room.rpartition(".")
    colour = _COLOURS.get(package or room, _COLOURS["workflows"])
    place = f'x="{x - _BOX / 2:.0f}" y="{y - _HEIGHT / 2:.0f}" width="{_BOX}" height="{_HEIGHT}"'
    return (
        f'<rect {place} rx="5" fill="{colour}"/>'
        f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle" fill="white">{escape(name)}</text>'
    )


def table(rooms: nx.DiGraph, root: Path) -> str:
    """Return every room with its purpose and all that it imports, the highest first."""
    lines = ["| room | what it is | imports |", "|---|---|---|"]
    for level in reversed(floors(rooms)):
        for room in level:
            imports = ", ".join(f"`{other.removeprefix('isoenergy.')}`" for other in sorted(rooms.successors(room)))
            lines.append(f"| `{room}` | {_purpose(room, root)} | {imports or '–'} |")
    return "\n".join(lines)


def _purpose(room: str, root: Path) -> str:
    if room == STAGES:
        return "One program a stage, and their command line: `workflows/*.py`."
    place = root / room.replace(".", "/")
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0].replace("|", "\\|")
