import pytest

from isoenergy.counts import counted, counted_range


@pytest.mark.parametrize(("count", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")])
def test_one_is_no_plural(count: int, said: str) -> None:
    assert counted(count, "file") == said


@pytest.mark.parametrize(
    ("fewest", "most", "said"),
    [(1, 1, "1 worker"), (1, 4, "1 to 4 workers"), (3, 3, "3 workers")],
)
def test_a_range_of_one_number_is_that_number(fewest: int, most: int, said: str) -> None:
    assert counted_range(fewest, most, "worker") == said
