import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from isoenergy.metrics.atom_places import FEWEST_ATOMS, neighbour_graph, principal_places, umap_places


def groups(of: int, count: int = 4, dim: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Atoms around `count` directions, and which of them each is around."""
    generator = np.random.default_rng(0)
    centres = np.linalg.qr(generator.normal(size=(dim, dim)))[0][:count]
    label = np.repeat(np.arange(count), of)
    atoms = centres[label] + 0.1 * generator.normal(size=(len(label), dim))
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True), label


def test_principal_places_are_those_of_two_planted_axes() -> None:
    generator = np.random.default_rng(0)
    wide, narrow = 3 * generator.normal(size=200), generator.normal(size=200)
    axes = np.linalg.qr(generator.normal(size=(8, 8)))[0][:2]
    places, explained = principal_places(wide[:, None] * axes[0] + narrow[:, None] * axes[1] + 7)
    assert explained == pytest.approx(1)
    assert abs(np.corrcoef(places[:, 0], wide)[0, 1]) > 0.99
    assert abs(np.corrcoef(places[:, 1], narrow)[0, 1]) > 0.99


def test_one_atom_and_none_have_places() -> None:
    for count in (0, 1):
        places, explained = principal_places(np.ones((count, 4)))
        assert places.shape == (count, 2)
        assert not places.any()
        assert np.isnan(explained)
        assert umap_places(np.ones((count, 4)), 0).shape == (count, 2)


def test_umap_keeps_groups_together_and_neighbourhoods_whole() -> None:
    atoms, label = groups(30)
    places = umap_places(atoms, 0)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argsort(axis=1)[:, :10]
    assert (label[nearest] == label[:, None]).mean() > 0.98
    assert trustworthiness(atoms, places, n_neighbors=10, metric="cosine") > 0.85


def test_umap_follows_from_its_seed() -> None:
    atoms, _ = groups(10)
    np.testing.assert_array_equal(umap_places(atoms, 1), umap_places(atoms, 1))
    assert not np.array_equal(umap_places(atoms, 1), umap_places(atoms, 2))


def test_weights_to_neighbours_add_up_to_the_logarithm_of_their_number() -> None:
    atoms, _ = groups(20)
    graph = neighbour_graph(atoms)
    assert abs(graph - graph.T).max() < 1e-12
    assert graph.max() == pytest.approx(1)  # the nearest is surely a neighbour
    directed = np.log2(15)  # of each atom; the union of both ends adds what only the other says
    sums = np.asarray(graph.sum(axis=1)).ravel()
    assert (sums > directed - 1e-6).all()
    assert not graph.diagonal().any()


@pytest.mark.parametrize("count", [FEWEST_ATOMS, 9, 15, 16])
def test_few_atoms_have_fewer_neighbours(count: int) -> None:
    assert np.isfinite(umap_places(groups(count, 1)[0], 0)).all()


def test_too_few_atoms_are_nowhere_and_equal_ones_somewhere() -> None:
    assert np.isnan(umap_places(np.eye(FEWEST_ATOMS - 1), 0)).all()
    assert np.isfinite(umap_places(np.ones((20, 4)), 0)).all()
