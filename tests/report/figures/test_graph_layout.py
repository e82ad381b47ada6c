import random
from itertools import combinations

import pytest

from isoenergy.report.figures.graph_layout import Place, columns_of, direct_inputs, order_rows, with_passages


def laid_out(inputs: dict[str, list[str]]) -> dict[str, Place]:
    direct = direct_inputs({name: {"inputs": needed} for name, needed in inputs.items()})
    columns = columns_of(direct)
    boxes = {name: Place("one", columns[name], {"name": name}) for name in inputs}
    order_rows({"one": with_passages(boxes, direct)})
    return boxes


def crossings(places: list[Place]) -> int:
    arrows = [(place, after) for place in places for after in place.after]
    return sum(
        (a.row - c.row) * (b.row - d.row) < 0 for (a, b), (c, d) in combinations(arrows, 2) if a.column == c.column
    )


@pytest.mark.parametrize("seed", range(10))
def test_a_tree_has_no_crossing_in_whatever_order_it_comes(seed: int) -> None:
    tree = {
        "root": [],
        **{f"{a}": ["root"] for a in range(3)},
        **{f"{a}{b}": [f"{a}"] for a in range(3) for b in range(3)},
    }
    names = list(tree)
    random.Random(seed).shuffle(names)
    assert crossings(list(laid_out({name: tree[name] for name in names}).values())) == 0


def test_no_two_places_of_a_column_are_in_one_row() -> None:
    boxes = laid_out({"a": [], "b": ["a"], "c": ["b"], "d": ["c", "a2"], "a2": [], "e": ["a2", "c"], "f": ["a2"]})
    places = {id(place): place for box in boxes.values() for place in (box, *box.after, *box.before)}.values()
    assert len(places) > len(boxes)
    assert len({(place.column, place.row) for place in places}) == len(places)


def test_a_step_is_to_the_right_of_all_that_it_needs() -> None:
    boxes = laid_out({"end": ["a", "c"], "c": ["b"], "b": ["a"], "a": []})
    assert {name: place.column for name, place in boxes.items()} == {"a": 0, "b": 1, "c": 2, "end": 3}
    assert [place.node["name"] for place in boxes["end"].before if place.node] == ["c"]
