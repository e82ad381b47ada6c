"""What is fitted on another store, and what fitting on the measured one would come to beside it."""

from pathlib import Path

import numpy as np
import pytest

from isoenergy.errors import InputError
from isoenergy.report.page.page import write_report
from isoenergy.sae.sae_config import SaeConfig
from tests.evaluation.evaluations import evaluated, write_pairs, write_sae

DIM, PAIRS = 8, 300
SMALL = {"sample": 60, "in_batches": 60, "queries": 40}


def pairs_with_gap(axis: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that share all but noise and a constant along an axis."""
    generator = np.random.default_rng(seed)
    shared = generator.normal(size=(PAIRS, DIM))
    gap = 1.5 * np.eye(DIM)[axis]
    return (shared + 0.3 * generator.normal(size=shared.shape) + side * gap for side in (1, -1))  # type: ignore[return-value]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The store that is fitted on; its gap lies along another axis."""
    return write_pairs(tmp_path / "there", *pairs_with_gap(1, seed=1), train=200)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The store that is measured."""
    return write_pairs(tmp_path / "here", *pairs_with_gap(0, seed=2), train=200)


@pytest.fixture
def sae(tmp_path: Path) -> Path:
    return write_sae(tmp_path / "sae", SaeConfig(dim=DIM, atoms=16, k=4, beta=0.0))


@pytest.mark.usefixtures("undrawn")
def test_a_mean_of_another_store_closes_another_gap(here: Path, there: Path, sae: Path, tmp_path: Path) -> None:
    found = evaluated(here, [sae], tmp_path / "out", fit_store=str(there), **SMALL)
    rows = {(row["sae"], row["embeddings"]): row for row in found["transfer"]}
    centred = rows[None, "centred"]["gap_closed"]
    assert abs(centred["carried"]["value"]) < 0.5
    assert centred["refitted"]["low"] > 0.8
    begins_with = {name: row["of"] for (of, name), row in rows.items() if of == "sae"}
    assert {begins_with.pop(name) for name in ("less_unimodal", "less_unequal")} == {"original"}
    assert set(begins_with.values()) == {"reconstructed"}
    assert rows[None, "centred"]["of"] == "original"
    alone = evaluated(here, [sae], tmp_path / "alone", **SMALL)
    assert alone["transfer"] == []
    for where, summary in (("carried", found), ("refitted", alone)):
        results = summary["saes"][0]["results"]
        row = rows["sae", "bimodal"]
        assert row["gap_closed"][where] == results["geometry"]["bimodal"]["gap_closed_interval"]
        assert row["r10"][where] == results["retrieval"]["bimodal"]["r10"]
    (page, *_) = write_report(str(tmp_path / "out/evaluation.json"), str(tmp_path / "report.html"))
    html = Path(page).read_text()
    assert "Does it carry over to these pairs?" in html
    assert "“unimodal part subtracted” and “unequal part subtracted” against the embeddings as they are" in html


def test_all_pairs_of_a_store_are_measured_with_what_another_was_fitted_on(
    here: Path, there: Path, sae: Path, tmp_path: Path
) -> None:
    found = evaluated(here, [sae], tmp_path / "out", split="all", fit_store=str(there), **SMALL)
    assert found["pairs"]["pairs"] == PAIRS
    assert found["fitted_on"] == {"pairs": 200, "split": "train"}
    assert found["transfer"] == []  # fitting on what is measured would be no adaptation but a leak


def test_a_store_that_is_its_own_fit_store_has_nothing_to_compare(here: Path, sae: Path, tmp_path: Path) -> None:
    own = evaluated(here, [sae], tmp_path / "own", fit_store=str(here), **SMALL)
    assert own["saes"] == evaluated(here, [sae], tmp_path / "default", **SMALL)["saes"]
    assert own["transfer"] == []


def test_what_cannot_be_fitted_on_is_refused(here: Path, sae: Path, tmp_path: Path) -> None:
    for itself in ("", str(here)):
        with pytest.raises(
            InputError, match=r"--split all measures on the pairs too .* give another one by --fit-store"
        ):
            evaluated(here, [sae], tmp_path / "out", split="all", fit_store=itself)
    images, texts = pairs_with_gap(0, seed=3)
    tests_alone = write_pairs(tmp_path / "tests", images, texts)
    with pytest.raises(InputError, match="tests has no pairs in its train split to fit on"):
        evaluated(here, [sae], tmp_path / "out", fit_store=str(tests_alone))
    wide = write_pairs(tmp_path / "wide", np.ones((4, DIM + 1)), np.ones((4, DIM + 1)), train=2)
    with pytest.raises(InputError, match=f"is for embeddings of width {DIM}, but .*wide has {DIM + 1}"):
        evaluated(here, [sae], tmp_path / "out", fit_store=str(wide))
