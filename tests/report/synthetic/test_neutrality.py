from pathlib import Path

import pytest

from isoenergy.report.synthetic.neutrality import neutrality
from isoenergy.report.synthetic.over_seeds import SeedResults
from isoenergy.synthetic.generator import SyntheticConfig
from isoenergy.synthetic.recovery_experiment import RecoveryConfig, measure_recovery


def run(
    energies: dict[str, list[float]], truth: float = 0.0, encoder: str = "matching-pursuit", alignment: str = "cosine"
) -> SeedResults:
    """Bimodal energies of the seeds, by β."""
    seeds = [
        {
            "saes": {beta: {"bimodal_energy": values[seed]} for beta, values in energies.items()},
            "ideals": {"instances": {"bimodal_energy": truth}},
        }
        for seed in range(len(next(iter(energies.values()))))
    ]
    return SeedResults(0.5, encoder, alignment, seeds)


def test_what_every_seed_makes_up_is_not_neutral() -> None:
    one = run({"0": [0.05, 0.30, 0.10], "0.01": [0.15, 0.42, 0.21], "0.02": [0.9, 0.9, 0.9]})
    small, large = neutrality(one, [one])
    assert [row["beta"] for row in (small, large)] == [0.01, 0.02]
    assert small["verdict"] == large["verdict"] == "not neutral"
    assert small["made_up"]["mean"] == pytest.approx((0.10 + 0.12 + 0.11) / 3)
    assert small["made_up"]["low"] == pytest.approx(0.10)  # paired: the seeds' own spread does not count
    assert small["beyond_truth"]["mean"] == pytest.approx(0.26)


def test_what_seeds_make_up_now_and_then_is_undecided_and_next_to_nothing_neutral() -> None:
    one = run({"0": [0.05, 0.30, 0.10], "0.01": [0.15, 0.22, 0.10], "0.02": [0.01, 0.01, 0.01]})
    assert [row["verdict"] for row in neutrality(one, [one])] == ["undecided", "neutral"]


def test_what_is_true_is_not_made_up() -> None:
    one = run({"0": [0.0, 0.1, 0.0], "0.01": [0.4, 0.4, 0.4]}, truth=0.4)
    [row] = neutrality(one, [one])
    assert row["beyond_baseline"]["mean"] == pytest.approx(1.1 / 3)
    assert row["made_up"]["mean"] == pytest.approx(0)
    assert row["verdict"] == "neutral"


def test_the_baseline_is_the_same_encoders_whichever_alignment_it_was_trained_beside() -> None:
    first = run({"0": [0.5, 0.5], "0.01": [0.5, 0.5]})
    second = run({"0.01": [0.6, 0.7]}, alignment="iso-energy")
    other = run({"0": [0.0, 0.0]}, encoder="top-k")
    [row] = neutrality(second, [other, first, second])
    assert row["beyond_baseline"]["mean"] == pytest.approx(0.15)
    assert row["alignment"] == "iso-energy"


def test_without_a_baseline_the_truth_alone_is_the_measure() -> None:
    one = run({"0.01": [0.3, 0.4]}, truth=0.1)
    [row] = neutrality(one, [one])
    assert row["beyond_baseline"]["mean"] is None
    assert row["made_up"]["mean"] == pytest.approx(0.25)
    assert row["verdict"] == "not neutral"


@pytest.mark.parametrize("values", [[0.9], [0.9, float("nan")]])
def test_a_single_seed_or_a_missing_number_has_no_verdict(values: list[float]) -> None:
    one = run({"0": [0.1] * len(values), "0.01": values})
    [row] = neutrality(one, [one])
    assert row["verdict"] == "no verdict"


@pytest.mark.slow
def test_at_a_half_a_large_beta_makes_bimodal_energy_out_of_nothing_and_a_small_one_does_not(tmp_path: Path) -> None:
    data = SyntheticConfig(dim=64, instances=20, atoms_per_row=4, pairs=2000, instance_cosine=0.5, pair_cosine=0.3)
    seeds = [
        measure_recovery(
            RecoveryConfig(data, seed, (0.0, 1e-4, 2e-2), 28, 4, 40, 100, learning_rate=3e-3), {}, tmp_path / str(seed)
        )
        for seed in range(3)
    ]
    trained = SeedResults(0.5, "matching-pursuit", "masked-cosine", seeds)
    small, large = neutrality(trained, [trained])
    assert all(seed["saes"]["0"]["r2"] > 0.9 for seed in seeds)
    assert large["verdict"] == "not neutral"
    assert large["made_up"]["low"] > 0.2
    assert small["made_up"]["mean"] < 0.15
    assert all(seed["saes"]["0.02"]["r2"] < seed["saes"]["0.0001"]["r2"] - 0.05 for seed in seeds)
