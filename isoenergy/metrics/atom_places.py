"""Atoms in two dimensions, by PCA and by UMAP.

UMAP is written out here, for some thousands of atoms: the reference implementation compiles for half a minute in every
process that uses it. Neighbours are exact, and its objective is minimised over all edges at once by Adam.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from isoenergy.adam import Adam
from isoenergy.metrics.gram_panels import row_panels, unit_rows

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating]

FEWEST_ATOMS = 8
"""Fewer have no neighbourhoods to speak of."""
_NEIGHBOURS = 15
"""The atom itself among them."""
_A, _B = 1.577, 0.895
"""1 / (1 + a d^2b) is near 1 up to a distance of 0.1 and then falls as e^-d: UMAP's defaults."""
_REPULSIONS = 5.0
"""Strangers that an atom is pushed off for each neighbour that it is pulled to."""
_STRANGERS = 256
"""Drawn at each step, the same for all atoms."""
_STEPS = 200
_LEARNING_RATE = 0.4
_NEAR = 1e-3


def principal_places(atoms: Rows) -> tuple[Floats, float]:
    """Return `(atoms, 2)` places along the two principal axes, and the share of the variance that they explain.

    atoms: `(atoms, dim)`. An axis that there is not is 0; each points to where its largest entry is positive.
    """
    places = np.zeros((len(atoms), 2))
    if not len(atoms):
        return places, float("nan")
    centred = np.asarray(atoms, np.float64) - atoms.mean(0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, :-3:-1]
    axes *= np.sign(axes[np.abs(axes).argmax(0), range(axes.shape[1])])
    places[:, : axes.shape[1]] = centred @ axes
    total = values.sum()
    return places, float(values[-2:].sum() / total) if total > 0 else float("nan")


def umap_places(atoms: Rows, seed: int) -> Floats:
    """Return `(atoms, 2)` places by UMAP (McInnes, Healy & Melville 2018), cosine distance; NaN of fewer than 8 atoms.

    atoms: `(atoms, dim)`. It starts from the principal axes. Near atoms come to lie near each other; the distances
    between groups mean little. Time and memory grow with atoms · 256, the search for neighbours with atoms².
    """
    if len(atoms) < FEWEST_ATOMS:
        return np.full((len(atoms), 2), np.nan)
    edges = sparse.triu(neighbour_graph(atoms)).tocoo()
    weights = torch.from_numpy(edges.data).float()
    first, second = (torch.from_numpy(side.astype(np.int64)) for side in edges.coords)
    degree = torch.zeros(len(atoms)).index_add(0, first, weights).index_add(0, second, weights)
    generator = torch.Generator().manual_seed(seed)
    start = torch.from_numpy(principal_places(atoms)[0]).float()
    start = 10 * start / start.abs().max().clamp(min=1e-12)
    places = start + 1e-2 * torch.randn(start.shape, generator=generator)
    optimiser = Adam([places], _LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, _STEPS)
    strangers = min(_STRANGERS, len(atoms))
    for _ in range(_STEPS):
        chosen = torch.randperm(len(atoms), generator=generator)[:strangers]
        places.grad = _pulls(places, first, second, weights) - _pushes(places, chosen, degree / strangers)
        optimiser.step()
        schedule.step()
    return places.double().numpy()


def neighbour_graph(atoms: Rows) -> sparse.csr_array:
    """Return UMAP's `(atoms, atoms)` symmetric graph: how surely two atoms are neighbours, in (0, 1].

    Distances of an atom to its 14 neighbours, less that to the nearest, are scaled so that their weights e^-d add up
    to log₂ 15; an edge is there if either end says so.
    """
    unit, count = unit_rows(atoms), len(atoms)
    others = min(_NEIGHBOURS, count) - 1
    nearest = np.zeros((count, others), np.int64)
    distances = np.zeros((count, others))
    for rows in row_panels(count):
        cosines = unit[rows] @ unit.T
        cosines[np.arange(len(cosines)), np.arange(count)[rows]] = -np.inf
        nearest[rows] = np.argpartition(-cosines, others - 1, axis=1)[:, :others]
        distances[rows] = np.maximum(1 - np.take_along_axis(cosines, nearest[rows], axis=1), 0)
    beyond = distances - distances.min(1, keepdims=True)
    weights = np.exp(-beyond / _widths(beyond, math.log2(others + 1))[:, None])
    directed = sparse.csr_array((weights.ravel(), nearest.ravel(), np.arange(count + 1) * others), (count, count))
    return (directed + directed.T - directed.multiply(directed.T)).tocsr()


def _widths(beyond: Floats, wanted: float) -> Floats:
    """Return `(atoms,)` widths at which the sums of e^(-distance / width) are `wanted`, by bisection."""
    low, high = np.zeros(len(beyond)), np.full(len(beyond), 1e3)
    for _ in range(64):
        middle = (low + high) / 2
        wide = np.exp(-beyond / middle[:, None]).sum(1) > wanted
        low, high = np.where(wide, low, middle), np.where(wide, middle, high)
    widths: Floats = np.maximum(high, 1e-6)
    return widths


def _pulls(places: Tensor, first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """`(atoms, 2)` gradient of 2 Σ w log(1 + a s^b) over edges, s the squared distance of their ends."""
    apart = places[first] - places[second]
    squares = apart.square().sum(1) + _NEAR
    near = _A * squares**_B
    pull = (4 * _B * weights * near / (squares * (1 + near))).unsqueeze(1) * apart
    return torch.zeros_like(places).index_add(0, first, pull).index_add(0, second, -pull)


def _pushes(places: Tensor, strangers: Tensor, weights: Tensor) -> Tensor:
    """`(atoms, 2)` gradient of -5 Σ w log(1 + 1 / (a s^b)) over all atoms and strangers.

    Written out, as that of the pulls is: what autograd keeps of atoms · strangers is most of the time.
    """
    others = places[strangers]
    (x, y), (its_x, its_y) = places.T, others.T
    squares = (x[:, None] - its_x).square() + (y[:, None] - its_y).square() + _NEAR
    push = (2 * _B * _REPULSIONS * weights).unsqueeze(1) / (squares * (1 + _A * squares**_B))
    of_atoms: Tensor = push.sum(1, keepdim=True) * places - push @ others
    return of_atoms.index_add(0, strangers, push.sum(0).unsqueeze(1) * others - push.T @ places)
