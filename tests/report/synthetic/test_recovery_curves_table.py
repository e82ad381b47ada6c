"""What is said of curves: how soon W is reached, the nearest to what is published, the files."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from isoenergy.report.synthetic.over_seeds import mean_of_few
from isoenergy.report.synthetic.recovery_curves_figure import MMA_PANELS, PANELS, recovery_curves
from isoenergy.report.synthetic.recovery_curves_table import (
    MMA,
    Courses,
    W,
    curves_markdown,
    curves_parquet,
    summarise_curves,
)
from isoenergy.report.synthetic.recovery_table import MEASURES, TRUTHS
from isoenergy.report.synthetic.training_speed import epochs_to_reach, speed


def point(beta: str, epoch: int, w: float) -> dict:
    recovery = {truth: dict.fromkeys(MEASURES, 1 - w) | {"transport": w} for truth in TRUTHS}
    numbers = {"r2": 0.9, "bimodal_energy": 0.3, "p_acc": 0.8, "dead_atoms": 1, "bimodal_atoms": 2}
    return {"beta": beta, "epoch": epoch, "step": 20 * epoch, **numbers, "collapse_rate": np.nan, "recovery": recovery}


def courses(w: dict[str, list[list[float]]], cosine: float = 0.99, norm: str = "free", epochs: int = 40) -> Courses:
    """W by β, seed and point; points are ten epochs apart."""
    seeds = {
        seed: {
            "points": [
                point(beta, 10 * (place + 1), by_seed[seed][place])
                for place in range(len(w["0"][seed]))
                for beta, by_seed in w.items()
            ]
        }
        for seed in range(len(w["0"]))
    }
    return Courses(cosine, norm, epochs, seeds)


THREE = courses(
    {"0": 3 * [[0.8, 0.6, 0.4, 0.2]], "5e-05": [[0.8, 0.4, 0.2, 0.1], [0.6, 0.4, 0.18, 0.1], [0.8, 0.4, 0.2, 0.1]]}
)


@pytest.mark.parametrize(
    ("target", "epochs"), [(0.9, 10), (0.8, 10), (0.7, 15), (0.6, 20), (0.3, 40), (0.25, None), (0.45, 25)]
)
def test_a_course_reaches_a_target_between_two_epochs_the_first_time(target: float, epochs: float | None) -> None:
    assert epochs_to_reach([(10, 0.8), (20, 0.6), (30, 0.3 + 1e-9), (40, 0.3), (50, 0.5)], target) == (
        epochs if epochs is None else pytest.approx(epochs, abs=1e-6)
    )


def test_a_ratio_is_of_one_seed_and_its_mean_geometric() -> None:
    plain = [[(10, 0.5), (end, 0.3)] for end in (20, 40, 80)]
    aligned = 3 * [[(10, 0.3)]]
    found = speed(plain, aligned, 0.3)
    assert found["ratio"]["mean"] == pytest.approx(4)
    assert (found["plain_epochs"]["mean"], found["aligned_epochs"]["mean"]) == (pytest.approx(140 / 3), 10)
    logs = np.log([2, 4, 8])
    assert found["ratio"]["high"] == pytest.approx(
        np.exp(logs.mean() + 4.30265 * logs.std(ddof=1) / np.sqrt(3)), rel=1e-3
    )


def test_a_seed_that_does_not_get_there_without_alignment_counts_with_all_of_its_epochs() -> None:
    found = speed([[(10, 0.5), (40, 0.4)], [(10, 0.2)]], [[(10, 0.2)], [(10, 0.2)]], 0.3)
    assert (found["seeds"], found["plain_reached"], found["aligned_reached"]) == (2, 1, 2)
    assert found["at_least"]
    assert found["ratio"]["mean"] == pytest.approx(np.sqrt(4 * 1))
    assert found["plain_epochs"]["mean"] is None
    assert found["aligned_epochs"]["mean"] == 10


def test_where_a_seed_does_not_get_there_with_alignment_there_is_no_ratio() -> None:
    found = speed([[(10, 0.2)], [(10, 0.2)]], [[(10, 0.2)], [(10, 0.4)]], 0.3)
    assert (found["aligned_reached"], found["at_least"], found["ratio"]["mean"]) == (1, False, None)


def test_students_interval_of_few_holds_the_mean_as_often_as_it_says() -> None:
    drawn = np.random.default_rng(0).normal(3, 1, size=(2000, 5))
    intervals = [mean_of_few(list(row)) for row in drawn]
    assert np.mean([i["low"] <= 3 <= i["high"] for i in intervals]) == pytest.approx(0.95, abs=0.02)
    assert mean_of_few([0.5, 1.5]) == {"mean": 1.0, "low": None, "high": None}
    assert mean_of_few([])["mean"] is mean_of_few([1.0, np.nan])["mean"] is None


def test_a_summary_has_curves_speed_and_the_nearest_to_each_published_number() -> None:
    summary = summarise_curves([THREE])
    json.dumps(summary, allow_nan=False)
    plain, aligned = summary["curves"]
    assert [p["metrics"][W]["mean"] for p in plain["points"]] == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert aligned["points"][2]["metrics"][W]["mean"] == pytest.approx(0.58 / 3)
    assert plain["points"][0]["metrics"]["collapse_rate"]["mean"] is None
    nearest = {(row["beta"], row["number"]): row for row in summary["published"]}
    assert nearest[0.0, "W"]["epoch"] == 30  # 0.4 is nearest to 0.396
    assert nearest[5e-5, "W"]["epoch"] == 30  # 0.193 to 0.184
    assert nearest[5e-5, "W"]["end"]["mean"] == pytest.approx(0.1)
    assert nearest[0.0, "mma"]["epoch"] == 10
    [at_half] = [row for row in summary["speed"] if row["target"] == 0.5]
    assert at_half["ratio"]["mean"] == pytest.approx(25 / (17.5**2 * 15) ** (1 / 3))


def test_where_iso_energy_does_not_hold_other_numbers_are_published_and_between_none() -> None:
    w = {"0": [[0.4, 0.2]]}
    [without_w, _] = summarise_curves([courses(w, cosine=0.5)])["published"]
    assert (without_w["published"], without_w["epoch"]) == (0.19, 20)
    assert summarise_curves([courses(w, cosine=0.7)])["published"] == []


def test_the_tables_say_what_the_summary_says() -> None:
    text = curves_markdown(summarise_curves([THREE]))
    assert "| holds (τ₁ = 0.99), free norms, 40 epochs | 5e-05 | 0.5 | 25.0 | 16.7 | 1.504 [" in text
    assert "| 5e-05 | 0.184 | – (0 of 3) | 31.0 | ≥ 1.291 [" in text
    assert "| holds (τ₁ = 0.99), free norms, 40 epochs | 0 | W | 0.396 | 0.400 [0.400, 0.400] | 30 |" in text


def test_every_point_of_every_seed_is_a_row_of_the_parquet_file() -> None:
    rows = pq.read_table(io.BytesIO(curves_parquet([THREE]))).to_pylist()
    assert len(rows) == 2 * 3 * 4
    [row] = [row for row in rows if (row["seed"], row["beta"], row["epoch"]) == (1, 5e-5, 30)]
    assert (row[W], row["atom_norm"], row["epochs"], row["step"]) == (0.18, "free", 40, 600)
    assert row[MMA] == pytest.approx(0.82)


def test_the_figure_has_a_line_a_curve_and_the_published_numbers() -> None:
    summary = summarise_curves([THREE, courses({"0": [[0.4, 0.2]]}, cosine=0.5, norm="unit", epochs=20)])
    figure = recovery_curves(summary, PANELS)
    assert len(figure.axes) == len(PANELS) * 2
    first, second = figure.axes[:2]
    assert [line.get_ydata()[0] for line in first.get_lines()][2:] == [0.396, 0.184]
    assert list(first.get_lines()[0].get_ydata()) == pytest.approx([0.8, 0.6, 0.4, 0.2])
    assert len(first.collections) == 2  # bands
    assert len(second.collections) == 0  # of a single seed there is none
    assert len(recovery_curves(summary, MMA_PANELS).axes) == 12 * 2
