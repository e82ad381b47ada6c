"""The extract of the bundled arena in docs/arena.md says what its tables say."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
Cells = dict[str, dict[str, str]]


def cells_of(page: str) -> Cells:
    """Return the cells of all tables of methods, by method and measure, without marks of baselines and winners."""
    found: Cells = {}
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        head, _, *rows = ([cell.strip(" †★") for cell in line.strip("|\n").split("|")] for line in block.splitlines())
        if head[0] == "":
            for method, *cells in rows:
                found.setdefault(method, {}).update(zip(head[1:], cells, strict=True))
    return found


def test_the_extract_has_the_cells_of_the_tables() -> None:
    extract = cells_of((DOCS / "arena.md").read_text())
    tables = cells_of((DOCS / "arena/bundled.md").read_text())
    assert len(extract) == 18
    for method, cells in extract.items():
        assert cells == {measure: tables[method].get(measure, "").replace("–", "") for measure in cells}, method
