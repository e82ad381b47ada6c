import numpy as np
import pytest
import torch

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.statistics.top_entries import TopPairs

ATOMS, COUNT = 12, 3


def random_codes(rows: int, k: int = 4, seed: int = 0) -> SparseCodes:
    """Atoms repeat in a row, values tie, and some are below 0."""
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(0, ATOMS, (rows, k), generator=generator, dtype=torch.int32)
    values = torch.randint(-2, 6, (rows, k), generator=generator) / 4
    return SparseCodes(indices, values, torch.zeros(rows, 1))


def as_lists(tops: TopPairs) -> list[tuple[int, int, float]]:
    return list(zip(tops.atoms.tolist(), tops.pairs.tolist(), tops.values.tolist(), strict=True))


def test_they_are_those_of_the_dense_codes() -> None:
    dense = random_codes(200).to_dense(ATOMS).numpy()
    expected = []
    for atom in range(ATOMS):
        order = np.argsort(-dense[:, atom], kind="stable")[:COUNT]
        expected += [(atom, 7 + int(row), float(dense[row, atom])) for row in order if dense[row, atom] > 0]
    assert as_lists(TopPairs.of(random_codes(200), 7, COUNT)) == expected


def test_parts_merge_into_the_whole() -> None:
    codes = random_codes(301, seed=1)
    whole = TopPairs.of(codes, 0, COUNT)
    merged = TopPairs.none()
    for start in range(0, 301, 100):
        merged = merged.merge(TopPairs.of(codes.rows(slice(start, start + 100)), start, COUNT), COUNT)
    assert as_lists(merged) == as_lists(whole)


def test_more_rows_than_are_sorted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = random_codes(100, seed=2)
    whole = TopPairs.of(codes, 0, COUNT)
    monkeypatch.setattr("isoenergy.statistics.top_entries._ROWS_AT_ONCE", 7)
    assert as_lists(TopPairs.of(codes, 0, COUNT)) == as_lists(whole)


def test_an_atom_that_never_fires_has_none() -> None:
    codes = SparseCodes(torch.tensor([[3, 3]]), torch.tensor([[0.5, -0.5]]), torch.zeros(1, 1))
    assert as_lists(TopPairs.of(codes, 0, COUNT)) == []
