"""Linear ways to close the modality gap, as baselines for removing unimodal atoms (paper 4.1 and 7).

All are fitted on the moments of pairs, so their cost does not depend on rows, and they can be fitted on training pairs
and applied to others. None re-normalises: compare the rows by cosine.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from isoenergy.compiling.products import product
from isoenergy.errors import InputError
from isoenergy.statistics.pair_moments import PairMoments

Floats = npt.NDArray[np.float64]

RIDGE = 1.0
"""Times the mean variance is added to every direction's: those below the mean, mostly noise, are hardly blown up.

Retrieval of held-out bundled training pairs by CCA and CORAL was best here, and above that of centring; at 0.001, more
usual where only numerical trouble is feared, it was clearly below: no baseline to win against.
"""


@dataclass(frozen=True)
class Affine:
    """The map x → x · matrix + offset."""

    matrix: Tensor | None = None
    """`(dim, out)`; None: the identity."""
    offset: Tensor | None = None
    """`(out,)`; None: nothing is added."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Map `(n, dim)` rows to `(n, out)`, in their precision, float32 at least."""
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        if self.matrix is not None:
            rows = product(rows, self.matrix.to(rows).T.contiguous())
        return rows if self.offset is None else rows + self.offset.to(rows)


@dataclass(frozen=True)
class GapClosing:
    """A map for each modality."""

    image: Affine
    text: Affine

    def __call__(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Map `(n, dim)` images and `(m, dim)` texts."""
        return self.image(images), self.text(texts)


def centring(moments: PairMoments) -> GapClosing:
    """Subtract each modality's mean ("center" in paper 4.1).

    GR-CLIP (arXiv 2507.19054) does this to unit rows, with the means of a calibration set, and brings them to unit norm
    again; I0T_post (arXiv 2412.14384; `remove_artifact_features` of its code) too, with the means of what is measured.
    The last step changes no cosine, but a difference in means.
    """
    return GapClosing(_shift(-moments.image_mean), _shift(-moments.text_mean))


def without_own_mean(moments: PairMoments) -> GapClosing:
    """Project each modality onto the complement of its own mean's direction: x − (x · u) u, u = mean / ‖mean‖.

    What centring takes from every row alike, this takes as far as a row has it. A mean of zero changes nothing.
    """
    return GapClosing(*(_complement(mean) for mean in (moments.image_mean, moments.text_mean)))


def standardisation(moments: PairMoments) -> GapClosing:
    """Bring each coordinate of each modality to mean 0 and one variance, that of the modality's mean coordinate.

    The batch normalisation that I0T_async (arXiv 2412.14384) puts behind each encoder, before it is trained: its
    learned scale and shift are left out, and one factor a modality, which no cosine sees, keeps the rows' size. Only
    the code of I0T_post could be read, see `centring`; the paper's own formulas could not.
    A coordinate without variance becomes 0.
    """
    return GapClosing(
        *(
            _centred(np.diag(_inverse_spreads(np.diag(covariance).copy())), mean)
            for covariance, mean in (
                (moments.image_covariance, moments.image_mean),
                (moments.text_covariance, moments.text_mean),
            )
        )
    )


def midpoint_shift(moments: PairMoments, step: float = 1.0) -> GapClosing:
    """Move both modalities along the gap vector (Liang et al. 2022; "shift" in paper 4.1).

    step: share of the gap that is closed. At 1 the means meet at the midpoint, at 0 nothing moves, at 2 they have
    changed places; a negative step widens the gap.
    """
    return GapClosing(_shift(-step * moments.gap / 2), _shift(step * moments.gap / 2))


def random_shift(moments: PairMoments, seed: int) -> GapClosing:
    """Subtract each modality's mean and add one random unit vector, the same for both ("rand" in paper 4.1).

    In the paper's demo "rand" is a copy of "shift" (paper 5.3, 11); this is what its text says.
    The common vector raises all cosines, so that transport costs fall for that reason alone.
    """
    common = np.random.default_rng(seed).standard_normal(moments.dim)
    common /= np.linalg.norm(common)
    return GapClosing(_shift(common - moments.image_mean), _shift(common - moments.text_mean))


def without_gap_dimensions(moments: PairMoments, k: int) -> GapClosing:
    """Zero the `k` coordinates in which the means differ most, in both modalities (Schrodi et al. 2025).

    k: in [0, dim - 1]; InputError if not.
    """
    if not 0 <= k < moments.dim:
        raise InputError(
            f"cannot remove {k} gap dimensions of {moments.dim}: give a number from 0 to {moments.dim - 1}"
        )
    kept = np.ones(moments.dim)
    kept[np.argsort(-np.abs(moments.gap), kind="stable")[:k]] = 0
    return _same(np.diag(kept))


def without_gap_direction(moments: PairMoments) -> GapClosing:
    """Project both modalities onto the complement of the gap vector; with no gap nothing changes."""
    both = _complement(moments.gap)
    return GapClosing(both, both)


def canonical_correlation(moments: PairMoments, rank: int, ridge: float = RIDGE, power: float = 1.0) -> GapClosing:
    """Map both modalities to their `rank` most correlated pairs of directions (CCA; Hotelling 1936, Gong et al. 2014).

    Rows are centred and whitened; then direction i of either modality is scaled by ρᵢ to the `power`, ρᵢ its canonical
    correlation, in descending order: at 0 noise counts like signal, 1/2 is the posterior mean of the shared latent
    variable (Bach & Jordan 2005), more trusts the strongest directions more.
    rank: in [1, dim]; InputError if not. ridge: see `whitening`; with it the ρ are those of the ridged problem.
    """
    if not 1 <= rank <= moments.dim:
        raise InputError(f"a canonical correlation of rank {rank}: {moments.dim} dimensions have 1 to {moments.dim}")
    image, text = (_root(each, ridge, -0.5) for each in (moments.image_covariance, moments.text_covariance))
    left, correlations, right = np.linalg.svd(image @ moments.cross_covariance @ text)
    scale = correlations[:rank] ** power
    return GapClosing(
        _centred(image @ left[:, :rank] * scale, moments.image_mean),
        _centred(text @ right[:rank].T * scale, moments.text_mean),
    )


def whitening(moments: PairMoments, ridge: float = RIDGE) -> GapClosing:
    """Centre each modality and bring its covariance towards the identity, turning it as little as possible (ZCA).

    ridge: times the mean eigenvalue is added to every eigenvalue: at 0 the covariance is the identity and directions
    without variance become 0; a large one only centres. InputError if negative.
    """
    return GapClosing(
        _centred(_root(moments.image_covariance, ridge, -0.5), moments.image_mean),
        _centred(_root(moments.text_covariance, ridge, -0.5), moments.text_mean),
    )


def coral(moments: PairMoments, ridge: float = RIDGE) -> GapClosing:
    """Give images the texts' mean and covariance; texts stay as they are (CORAL; Sun et al. 2016).

    ridge: as for `whitening`, in both covariances: modalities with one covariance are only shifted.
    """
    matrix = _root(moments.image_covariance, ridge, -0.5) @ _root(moments.text_covariance, ridge, 0.5)
    return GapClosing(_centred(matrix, moments.image_mean, moments.text_mean), Affine())


def _root(covariance: Floats, ridge: float, power: float) -> Floats:
    """Power of a covariance matrix with a ridge; directions without variance stay at 0."""
    if not 0 <= ridge < np.inf:
        raise InputError(f"a ridge of {ridge}: give 0 or more, in units of the mean variance")
    values, vectors = np.linalg.eigh(covariance)
    values = values + ridge * values.mean()
    rounding = len(values) * np.finfo(np.float64).eps * values.max(initial=0)
    powers = np.where(values > rounding, values, 1) ** power * (values > rounding)
    root: Floats = (vectors * powers) @ vectors.T
    return root


def _inverse_spreads(variances: Floats) -> Floats:
    """`(dim,)` √(mean variance) / standard deviation; 0 where nothing varies."""
    rounding = len(variances) * np.finfo(np.float64).eps * variances.max(initial=0)
    varies = variances > rounding
    found: Floats = np.sqrt(variances.mean() / np.where(varies, variances, 1)) * varies
    return found


def _complement(vector: Floats) -> Affine:
    """Projection onto what is orthogonal to a vector; the identity if that is zero."""
    norm = np.linalg.norm(vector)
    direction = vector / norm if norm > 0 else vector
    return Affine(_single(np.eye(len(vector)) - np.outer(direction, direction)))


def _shift(offset: Floats) -> Affine:
    return Affine(None, _single(offset))


def _centred(matrix: Floats, mean: Floats, target: Floats | None = None) -> Affine:
    """Map of x - mean, moved to `target`."""
    offset = -mean @ matrix
    return Affine(_single(matrix), _single(offset if target is None else offset + target))


def _same(matrix: Floats) -> GapClosing:
    both = Affine(_single(matrix))
    return GapClosing(both, both)


def _single(array: Floats) -> Tensor:
    return torch.from_numpy(array).float()
