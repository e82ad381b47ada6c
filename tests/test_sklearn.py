"""`AlignedSAE` as scikit-learn expects it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import isoenergy
from isoenergy.sklearn import AlignedSAE
from tests.benchmarks.planted_store import planted_pairs

SMALL = {"k": 4, "expansion": 2, "epochs": 2, "batch_pairs": 20}
EXPECTED = {"check_estimators_dtypes": "its integers make a row of zeros, which has no direction and is refused"}


@parametrize_with_checks([AlignedSAE(**SMALL)], expected_failed_checks=lambda _: EXPECTED)
def test_as_scikit_learn_checks(estimator: AlignedSAE, check: object) -> None:
    check(estimator)  # type: ignore[operator]


def test_it_is_what_fit_trains() -> None:
    images, texts = planted_pairs(300, 16)
    ours = isoenergy.fit(images, texts, k=4, expansion=2, epochs=2, batch_pairs=100, beta=1e-3, progress=False)
    theirs = AlignedSAE(k=4, expansion=2, epochs=2, batch_pairs=100, beta=1e-3, modality="text").fit(images, texts)
    assert theirs.sae_.digest == ours.sae.digest
    codes = ours.encode(texts, "text")
    found = theirs.transform(texts).toarray()
    np.testing.assert_allclose(found, dense(codes.indices, codes.values, 32), atol=1e-6)
    np.testing.assert_allclose(theirs.inverse_transform(theirs.transform(texts)), ours.decode(codes), atol=1e-5)
    assert repr(theirs.atoms_) == repr(ours.atoms)
    assert theirs.get_feature_names_out().tolist() == [f"alignedsae{atom}" for atom in range(32)]


def test_codes_go_into_a_pipeline() -> None:
    images, texts = planted_pairs(200, 16)
    rows, labels = np.concatenate([images, texts]), np.repeat([0, 1], 200)
    pipeline = make_pipeline(AlignedSAE(**SMALL), LogisticRegression(max_iter=500)).fit(rows, labels)
    assert pipeline.score(rows, labels) > 0.75


def test_texts_may_be_a_table_in_another_order_of_bytes() -> None:
    images, texts = planted_pairs(100, 16)
    settings = SMALL | {"bias_atoms": "means", "random_state": None}
    usual = AlignedSAE(**SMALL | {"bias_atoms": "means"}).fit(images, texts)
    for given in (pd.DataFrame(texts), texts.astype(">f4"), texts[::-1].copy()[::-1]):
        assert AlignedSAE(**settings).fit(images, given).sae_.digest == usual.sae_.digest


def test_what_cannot_be_trained_on_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="zero"):
        AlignedSAE(**SMALL).fit(np.zeros((30, 8)), np.ones((30, 8)))


def dense(indices: np.ndarray, values: np.ndarray, atoms: int) -> np.ndarray:
    found = np.zeros((len(indices), atoms), values.dtype)
    np.add.at(found, (np.arange(len(indices))[:, None], indices), values)
    return found
