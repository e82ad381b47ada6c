"""What the report draws as curves and as a map, of pairs whose energies are known."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

from isoenergy.evaluation.atom_map import strongest_edges
from isoenergy.evaluation.interval_columns import interval_columns
from isoenergy.evaluation.results import CLASSES
from isoenergy.evaluation.spectra import densities, score_histogram
from isoenergy.statistics.concept_statistics import classes_of_scores, modality_score
from isoenergy.statistics.weighted_sums import BootstrapSums

IMAGE, TEXT = np.array([3.0, 1.0, 0.0, 1.0, 0.0]), np.array([3.0, 1.0, 2.0, 0.02, 0.0])
"""Two evenly shared atoms, one of texts alone, one all but of images alone, and a dead one."""


def sums(replicates: int = 40) -> BootstrapSums:
    """Energies that vary by a hundredth from replicate to replicate."""
    found = BootstrapSums.zeros(len(IMAGE), replicates)
    found.pairs[:] = 1
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=(2, len(IMAGE), 1 + replicates))
    noise[:, :, 0] = 1
    found.image_second[:], found.text_second[:] = IMAGE[:, None] * noise[0], TEXT[:, None] * noise[1]
    return found


def rows(table: pa.Table) -> list[dict]:
    return table.to_pylist()


def test_the_histogram_has_each_atom_s_energy_at_its_score() -> None:
    found = rows(score_histogram(sums()))
    total = (IMAGE + TEXT).sum()
    at = {row["low_score"]: row["value"] for row in found}
    assert sum(at.values()) == pytest.approx(1)
    assert at[0.0] == pytest.approx(2 / total)
    assert at[0.5] == pytest.approx(8 / total)
    assert max(at) == pytest.approx(0.975)
    assert found[-1]["value"] == pytest.approx(1.02 / total)
    assert found[-1]["low"] < found[-1]["value"] < found[-1]["high"]
    assert [row["low_score"] for row in found if row["high_score"] == pytest.approx(0.05)]  # the cuts are edges


def test_a_modality_s_densities_add_up_to_its_energy() -> None:
    found = rows(densities(sums(), classes_of_scores(modality_score(IMAGE, TEXT))))
    held = {
        (row["class"], row["modality"]): sum(
            other["value"] / 20
            for other in found
            if (other["class"], other["modality"]) == (row["class"], row["modality"])
        )
        for row in found
    }
    assert set(held) == {(name, modality) for name in CLASSES for modality in ("image", "text")}
    assert held["bimodal", "image"] == pytest.approx(4 / 5, rel=1e-2)
    assert held["image_only", "image"] == pytest.approx(1 / 5, rel=1e-2)
    assert held["text_only", "image"] == 0
    assert held["text_only", "text"] == pytest.approx(2 / TEXT.sum(), rel=1e-2)


def test_a_curve_without_replicates_has_no_band() -> None:
    columns = {name: column.to_pylist() for name, column in interval_columns(np.array([[0.5], [np.nan]])).items()}
    assert columns == {"value": [0.5, None], "low": [None, None], "high": [None, None]}


def test_the_strongest_bridges_lead_from_an_image_atom_to_another_text_atom() -> None:
    bridge = sparse.csr_array(np.array([[9.0, 0.1, -3.0], [0.0, 8.0, 0.0], [2.0, 0.0, 0.0]]))
    assert rows(strongest_edges(bridge, 2)) == [
        {"image_atom": 0, "text_atom": 2, "weight": -3.0},
        {"image_atom": 2, "text_atom": 0, "weight": 2.0},
    ]
    assert len(strongest_edges(bridge, 9)) == 3
    assert not len(strongest_edges(sparse.csr_array((3, 3)), 9))
