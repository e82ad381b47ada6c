import pytest

from workflows.evaluation.spoken_steps import spoken
from workflows.steps.step_progress import _in_brief


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("embeddings/search", "nearest neighbours of embeddings"),
        ("beta-0-39cb7b/geometry", "gap of SAE"),
        ("beta-0.001-seed-2-39cb7b/codes/00012", "codes of SAE-A β 0.001, seed 2, part 12"),
        ("null-beta-1e-05-39cb7b/fit", "classes of the atoms of the null of SAE-A β 1e-05"),
        ("beta-0.001-39cb7b/zero-shot/base", "zero shot base of SAE-A β 0.001"),
        ("my-own-39cb7b/atom-map", "map of the atoms of my-own"),
        ("stability/beta-0-39cb7b~beta-0.001-39cb7c", "stability of SAE and SAE-A β 0.001"),
        ("total", "total"),
    ],
)
def test_steps_by_names_that_a_person_reads(step: str, said: str) -> None:
    assert spoken(step) == said


def test_a_long_name_keeps_what_is_done() -> None:
    steps = ["null-beta-0.001-seed-1-39cb7b/search/00002", "beta-0-39cb7b/fit"]
    assert (
        _in_brief(map(spoken, steps)) == "nearest neighbours of the null of SAE-A β 0.001…, classes of the atoms of SAE"
    )
    assert _in_brief([f"{'a' * 60}-1a2b3c/waits"]).endswith("a-1a2b3c/waits")
