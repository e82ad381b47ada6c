"""An aligned sparse autoencoder as scikit-learn has its transformers: `fit`, `transform`, `inverse_transform`."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from isoenergy.errors import InputError
from isoenergy.fitting import LEAST_PAIRS, fit
from isoenergy.statistics.concept_statistics import merged_code_matrix

Floats = npt.NDArray[np.floating]


class AlignedSAE(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """`isoenergy.fit` and its first autoencoder.

    transform returns `(rows, atoms)` codes, a CSR matrix; inverse_transform what they rebuild, rows of unit norm
    approximately. Both are of one modality, `modality`: image or text. random_state: the seed; None counts as 0.
    """

    def __init__(
        self,
        k: int = 20,
        expansion: int = 8,
        beta: float = 4e-4,
        epochs: int = 5,
        batch_pairs: int | None = None,
        modality: str = "image",
        bias_atoms: str = "none",
        random_state: int | None = 0,
    ) -> None:
        self.k = k
        self.expansion = expansion
        self.beta = beta
        self.epochs = epochs
        self.batch_pairs = batch_pairs
        self.modality = modality
        self.bias_atoms = bias_atoms
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train.

        X: `(pairs, dim)` raw embeddings, of images. y: those of texts, row i of one with row i of the other; without
        them, or with labels, which are of one dimension, X is trained on alone, and there is no alignment: β counts as
        0. k is at most the number of atoms. Raises ValueError for what cannot be trained on.
        """
        X = validate_data(self, X, dtype=(np.float64, np.float32), ensure_min_samples=LEAST_PAIRS)
        texts = X if y is None else check_array(y, dtype=None, ensure_2d=False, input_name="y")
        paired = texts is not X and texts.ndim == 2
        texts = texts if paired else X
        atoms = self.expansion * X.shape[1]
        try:
            found = fit(
                X,
                texts,
                k=min(self.k, atoms),
                expansion=self.expansion,
                beta=self.beta if paired else 0.0,
                epochs=self.epochs,
                batch_pairs=None if self.batch_pairs is None else min(self.batch_pairs, len(X)),
                bias_atoms=self.bias_atoms,
                seed=0 if self.random_state is None else self.random_state,
                progress=False,
            )
        except InputError as error:
            raise ValueError(str(error)) from error
        self.sae_ = found.sae
        self.atoms_ = found.atoms
        self.components_ = self.sae_.dictionary.detach().numpy()
        return self

    def transform(self, X: Any) -> sparse.csr_matrix:
        """Return the `(rows, atoms)` codes of raw embeddings of `modality`."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        with torch.no_grad():
            codes = self.sae_.encode(self.sae_.prepare(X, self.modality))
        return sparse.csr_matrix(merged_code_matrix(codes, self.sae_.config.atoms)).astype(X.dtype)

    def inverse_transform(self, X: Any) -> Floats:
        """Return the `(rows, dim)` embeddings that codes rebuild."""
        check_is_fitted(self)
        codes = check_array(X, accept_sparse="csr", dtype=(np.float64, np.float32))
        rebuilt = np.asarray(codes @ self.components_.astype(codes.dtype))
        restored: Floats = self.sae_.restore(torch.from_numpy(rebuilt), self.modality).numpy()
        return restored

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)
