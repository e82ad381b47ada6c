import numpy as np
import pytest
from scipy import sparse

from isoenergy.statistics import cross_products as module
from isoenergy.statistics.cross_products import cross_products

PAIRS, ATOMS = 60, 14


def codes(seed: int) -> sparse.csr_array:
    """Return codes of 3 atoms a pair, the last of which none fires; atoms repeat in pairs, and some values are 0."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=3 * PAIRS) * (generator.random(3 * PAIRS) > 0.1)
    atoms = generator.integers(ATOMS - 1, size=3 * PAIRS).astype(np.int32)
    return sparse.csr_array((values, atoms, np.arange(PAIRS + 1) * 3), (PAIRS, ATOMS))


@pytest.mark.parametrize("entries_a_product", [0, 100])
def test_products_are_those_of_the_matrices(entries_a_product: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ENTRIES_A_PRODUCT", entries_a_product)
    image, text = codes(0), codes(1)
    found = cross_products(image, text)
    np.testing.assert_allclose(found.toarray(), image.toarray().T @ text.toarray(), atol=1e-14)
    assert found.has_canonical_format
    assert (found.data != 0).all()


def test_sums_are_made_in_the_order_of_pairs() -> None:
    image = sparse.csr_array(np.array([[1e16, 0], [1, 0], [-1e16, 0]]))
    text = sparse.csr_array(np.ones((3, 2)))
    assert cross_products(image, text).toarray().tolist() == [[0, 0], [0, 0]]
    assert cross_products(image[[0, 2, 1]], text).toarray().tolist() == [[1, 1], [0, 0]]
    assert cross_products(image[:0], text[:0]).nnz == 0
