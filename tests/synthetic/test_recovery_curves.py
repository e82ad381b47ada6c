"""Measuring on the way: it changes nothing of the training, and happens when it was asked for."""

from pathlib import Path

import pytest

from isoenergy.synthetic.experiment_config import CurvesConfig, RecoveryConfig, SyntheticConfig
from isoenergy.synthetic.generator import generate
from isoenergy.synthetic.recovery_curves import estimated_seconds, measure_curves
from isoenergy.synthetic.recovery_experiment import measure, train_saes

DATA = SyntheticConfig(dim=60, instances=20, atoms_per_row=4, pairs=300)
SMALL = RecoveryConfig(
    DATA, seed=1, betas=(0.0, 1e-2), atoms=30, k=4, epochs=5, batch_pairs=50, learning_rate=5e-3, atom_norm="free"
)


@pytest.fixture(scope="module")
def points() -> list[dict]:
    found: list[dict] = measure_curves(CurvesConfig(SMALL, at=(2, 3, 9)), {}, Path())["points"]
    return found


def test_points_are_of_the_epochs_that_are_asked_for_and_of_the_last(points: list[dict]) -> None:
    assert [(point["beta"], point["epoch"], point["step"]) for point in points] == [
        (beta, epoch, 6 * epoch) for epoch in (2, 3, 5) for beta in ("0", "0.01")
    ]


def test_the_last_point_is_what_a_training_ends_at_that_nobody_looked_at(points: list[dict]) -> None:
    pairs = generate(DATA, 1)
    saes = train_saes(SMALL, pairs)
    for point, sae in zip(points[-2:], saes.values(), strict=True):
        expected = measure(sae, pairs)
        assert {name: point[name] for name in ("r2", "bimodal_energy", "recovery")} == {
            name: expected[name] for name in ("r2", "bimodal_energy", "recovery")
        }


def test_what_is_recovered_grows(points: list[dict]) -> None:
    assert points[-2]["r2"] > points[0]["r2"]
    assert points[-2]["recovery"]["instances"]["transport"] < points[0]["recovery"]["instances"]["transport"]


def test_free_atoms_are_free() -> None:
    [sae] = train_saes(RecoveryConfig(**{**vars(SMALL), "betas": (0.0,)}), generate(DATA, 1)).values()
    norms = sae.dictionary.norm(dim=1)
    assert (norms - 1).abs().max() > 0.01


def test_an_estimate_grows_with_what_is_asked_for() -> None:
    one = CurvesConfig(SMALL, at=(2,))
    assert 0 < estimated_seconds([one]) < estimated_seconds(20 * [one])
