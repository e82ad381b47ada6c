"""An SAE carries what was fitted on its own store: an evaluation elsewhere is the one that has both stores."""

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from isoenergy.errors import InputError
from isoenergy.evaluation.carried import Carried, carried_by, strongest, write_carried
from isoenergy.evaluation.measured_rows import SaeReference
from isoenergy.metrics.bridges import sigma_bridge
from isoenergy.sae.sae_config import FITTED_FILE, SaeConfig
from isoenergy.statistics.concept_statistics import ConceptStatistics, ModalityStatistics
from isoenergy.store import EmbeddingStore
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae
from tests.metrics.cases import random_dictionary

DIM, PAIRS, TRAIN = 8, 300, 200
SMALL = {"sample": 60, "in_batches": 60, "queries": 40}


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The store that the SAE was trained on."""
    images, texts = shifted_pairs(PAIRS, DIM, seed=1)
    return write_pairs(tmp_path / "there", images + np.eye(DIM)[1], texts, train=TRAIN)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The store that is measured."""
    return write_pairs(tmp_path / "here", *shifted_pairs(PAIRS, DIM, seed=2), train=TRAIN)


@pytest.fixture
def sae(tmp_path: Path, there: Path) -> Path:
    folder = write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=16, k=4, beta=0.0))
    write_carried(EmbeddingStore.open(str(there)), {folder: SaeReference(str(folder), "")})
    return folder


def numbers(values: object, prefix: str = "") -> dict[str, float]:
    if isinstance(values, dict):
        return {name: x for key, part in values.items() for name, x in numbers(part, f"{prefix}{key}/").items()}
    return {prefix: values} if isinstance(values, int | float) else {}


def test_what_is_carried_stands_for_the_store_itself(here: Path, there: Path, sae: Path, tmp_path: Path) -> None:
    assert carried_by(str(sae)) == Carried(EmbeddingStore.open(str(there)).fingerprint, TRAIN)
    carried = evaluated(here, [sae], tmp_path / "carried", **SMALL)
    fitted = evaluated(here, [sae], tmp_path / "fitted", fit_store=str(there), **SMALL)
    for name in ("original", "transfer", "fitted_on"):
        assert numbers(dict(enumerate(carried[name])) if name == "transfer" else carried[name]) == pytest.approx(
            numbers(dict(enumerate(fitted[name])) if name == "transfer" else fitted[name]), abs=1e-4, nan_ok=True
        )
    results = (numbers(found["saes"][0]["results"]) for found in (carried, fitted))
    assert next(results) == pytest.approx(next(results), abs=1e-4, nan_ok=True)
    assert {row["embeddings"] for row in carried["transfer"]} >= {"centred", "bimodal"}


def test_all_pairs_of_another_store_are_measured_and_none_of_its_own(
    here: Path, there: Path, sae: Path, tmp_path: Path
) -> None:
    found = evaluated(here, [sae], tmp_path / "out", split="all", **SMALL)
    assert found["pairs"]["pairs"] == PAIRS
    assert found["fitted_on"] == {"pairs": TRAIN, "split": "train"}
    with pytest.raises(InputError, match="--split all measures on the pairs too"):
        evaluated(there, [sae], tmp_path / "own", split="all", **SMALL)


def test_where_nothing_or_nothing_common_is_carried_the_measured_store_is_fitted_on_and_that_is_said(
    here: Path, there: Path, sae: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = evaluated(there, [sae], tmp_path / "own", **SMALL)
    assert own["transfer"] == []  # it is the store that is measured
    assert "fitted on" not in caplog.text
    other = write_sae(tmp_path / "other", SaeConfig(dim=DIM, atoms=16, k=4, beta=0.0), seed=1)
    found = evaluated(here, [sae, other], tmp_path / "out", **SMALL)
    assert found["transfer"] == []
    assert f"fitted on {here} itself: {other} carries no {FITTED_FILE}" in caplog.text
    write_carried(EmbeddingStore.open(str(here)), {other: SaeReference(str(other), "")})
    assert evaluated(here, [sae, other], tmp_path / "out", **SMALL)["transfer"] == []
    assert "itself: the SAEs were trained on different stores" in caplog.text


def test_a_spoilt_file_is_said_to_be_one(here: Path, sae: Path, tmp_path: Path) -> None:
    (sae / FITTED_FILE).write_bytes(b"spoilt")
    with pytest.raises(InputError, match=f"{FITTED_FILE} of .*sae cannot be read"):
        evaluated(here, [sae], tmp_path / "out", **SMALL)


def test_the_strongest_cross_moments_are_all_that_the_bridge_keeps() -> None:
    atoms, generator = 120, np.random.default_rng(0)
    dense = generator.normal(size=(atoms, atoms)) ** 3
    known = ModalityStatistics(50, *(np.ones(atoms) for _ in range(4)))
    dictionary = random_dictionary(0, atoms, 12)
    whole, carried = (
        sigma_bridge(ConceptStatistics(known, known, cross), dictionary).toarray()
        for cross in (sparse.csr_array(dense), strongest(sparse.csr_array(dense)))
    )
    np.testing.assert_array_equal(carried, whole)
    assert np.count_nonzero(whole)
    assert strongest(sparse.csr_array(dense)).nnz == int(0.005 * atoms**2)
