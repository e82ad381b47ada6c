import numpy as np
import pytest

from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.synthetic.phase_diagram_figure import PANELS, has_phases, phase_diagram, phase_grid

COSINES, BETAS = (0.9, 0.5, 1.0), (1e-3, 0.0, 1e-2, 1e-4)


def summary(cosines: tuple[float, ...] = COSINES, betas: tuple[float, ...] = BETAS) -> dict:
    """A cell's metrics are its τ₁ + β; there is no collapse at τ₁ = 1."""
    kind = {"sparse_encoder": "matching-pursuit", "alignment": "cosine"}
    cells = [
        {
            "instance_cosine": cosine,
            "beta": beta,
            **kind,
            "metrics": {
                name: {"mean": None if name == "collapse_rate" and cosine == 1 else cosine + beta} for name in PANELS
            },
        }
        for cosine in cosines
        for beta in betas
    ]
    ideals = [
        {"instance_cosine": cosine, "truth": truth, "metrics": {"bimodal_energy": {"mean": energy}}}
        for cosine in cosines
        for truth, energy in (("parts", 0.5), ("instances", 0.0), ("merged", cosine / 2))
    ]
    return {"cells": cells, "ideals": ideals}


def test_a_grid_is_in_ascending_order_with_holes_where_there_is_no_number() -> None:
    grid = phase_grid(summary(), "collapse_rate")
    expected = np.add.outer([0.5, 0.9], [0, 1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(grid[:2], expected)
    assert np.isnan(grid[2]).all()


@pytest.mark.parametrize(
    ("cosines", "betas", "enough"), [(COSINES, BETAS, True), (COSINES[:2], BETAS, False), (COSINES, BETAS[:2], False)]
)
def test_a_diagram_needs_three_of_each(cosines: tuple[float, ...], betas: tuple[float, ...], enough: bool) -> None:
    assert has_phases(summary(cosines, betas)) is enough


def test_several_alignments_do_not_fit_one_diagram() -> None:
    several = summary()
    several["cells"][3]["alignment"] = "iso-energy"
    assert not has_phases(several)


def test_a_diagram_has_a_heat_map_for_each_metric_and_the_truth_beside_the_bimodal_energy() -> None:
    figure = phase_diagram(summary())
    maps = {axes.get_title(): axes.images[0].get_array() for axes in figure.axes}
    assert list(maps) == list(PANELS.values())
    np.testing.assert_allclose(maps["R²"][0], [0.5, 0.5001, 0.501, 0.51])
    assert maps["collapse rate of split concepts"].mask.sum() == 4
    beside = maps["bimodal energy"][:, 4:]
    assert beside.mask[:, 0].all()
    np.testing.assert_allclose(beside[:, 1:], [[0, 0.25], [0, 0.45], [0, 0.5]])
    assert as_bytes(figure, "png").startswith(b"\x89PNG")


def test_a_diagram_is_the_same_bytes_every_time() -> None:
    one, other = (as_bytes(phase_diagram(summary()), "svg") for _ in range(2))
    assert b"<svg" in one
    assert one == other
