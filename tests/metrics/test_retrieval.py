import pytest
import torch

from isoenergy.metrics import retrieval
from isoenergy.metrics.retrieval import recall_at


def by_sorting(queries: torch.Tensor, gallery: torch.Tensor, rank: int) -> float:
    cosine = torch.nn.functional.cosine_similarity(queries[:, None], gallery[None], dim=2)
    nearest = cosine.argsort(dim=1, descending=True)[:, :rank]
    return float((nearest == torch.arange(len(queries))[:, None]).any(1).double().mean())


@pytest.mark.parametrize("block_entries", [1, 100, 10**9])
def test_agrees_with_sorting_in_any_block_size(block_entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_BLOCK_ENTRIES", block_entries)
    queries = torch.randn(37, 6, generator=torch.Generator().manual_seed(0))
    gallery = queries + 0.8 * torch.randn(37, 6, generator=torch.Generator().manual_seed(1))
    found = recall_at(queries, gallery, (1, 3, 37))
    assert found == pytest.approx({1: by_sorting(queries, gallery, 1), 3: by_sorting(queries, gallery, 3), 37: 1.0})


def test_ties_count_as_chance() -> None:
    assert recall_at(torch.zeros(4, 2), torch.randn(4, 2), (1, 3)) == pytest.approx({1: 0.25, 3: 0.75})
    twice = torch.eye(3)[[0, 0, 1, 2]]
    assert recall_at(twice, twice, (1, 2)) == pytest.approx({1: 0.75, 2: 1.0})


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="pair up"):
        recall_at(torch.zeros(2, 3), torch.zeros(3, 3), (1,))
