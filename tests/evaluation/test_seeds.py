"""SAEs that differ in nothing but the seed: the first is measured whole, the others by what an evaluation comes to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoenergy.evaluation.ways import HEADLINE
from isoenergy.report.console import told_evaluation
from isoenergy.report.evaluation_file import read_evaluation
from isoenergy.report.intervals import told
from isoenergy.report.saes import trainings
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from tests.evaluation.evaluations import evaluated, shifted_pairs, write_pairs, write_sae
from workflows.evaluation.evaluated_saes import by_seed

ALIGNED = SaeConfig(dim=8, atoms=24, k=3, beta=0.01)
PLAIN, NULL = replace(ALIGNED, beta=0.0), replace(ALIGNED, null=True)
SMALL = {"sample": 30, "in_batches": 300, "queries": 40}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_pairs(tmp_path / "store", *shifted_pairs(420, 8), rows_a_unit=420, train=120)


def written(folder: Path, name: str, config: SaeConfig, seeds: int) -> list[Path]:
    return [write_sae(folder / f"{name}-seed-{seed}", config, seed) for seed in range(seeds)]


def named(saes: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (sae for sae in saes if sae["name"] == name)
    return found


def test_each_further_seed_has_the_numbers_that_it_has_alone(store: Path, tmp_path: Path) -> None:
    saes = written(tmp_path / "saes", "beta-0.01", ALIGNED, 3)
    found = evaluated(store, saes, tmp_path / "all", **SMALL)
    (sae,) = found["saes"]
    assert [each["name"] for each in sae["repeats"]] == ["beta-0.01-seed-1", "beta-0.01-seed-2"]
    assert len({each["results"]["r2"] for each in sae["repeats"]} | {sae["results"]["r2"]}) == 3
    alone = evaluated(store, saes[1:2], tmp_path / "alone", **SMALL)["saes"][0]["results"]
    repeat = sae["repeats"][0]["results"]
    for name, value in alone.items():
        if name not in ("geometry", "retrieval", "rivals", "bridges", "dictionary"):
            assert repeat[name] == value, name
    assert set(repeat["retrieval"]) == {*HEADLINE, "sweeps"}
    for variant in HEADLINE:
        assert repeat["retrieval"][variant] == alone["retrieval"][variant]
        for measure, value in repeat["geometry"][variant].items():
            assert value == alone["geometry"][variant][measure]
    assert repeat["geometry"]["p_acc_interval"] == alone["geometry"]["p_acc_interval"]
    centred = [each["rivals"]["r1"]["ahead_of_bimodal"]["centred"] for each in (repeat, alone)]
    assert centred[0] == centred[1]
    assert_every_number_is_told(tmp_path / "all/evaluation.json", trainings(sae))


def assert_every_number_is_told(evaluation: Path, runs: list[dict[str, Any]]) -> None:
    """What `--verbose` adds at the end: the middle of all trainings where all were measured by it, else the first's."""
    brief, lines = (told_evaluation(read_evaluation(str(evaluation)), verbose) for verbose in (False, True))
    assert lines[: len(brief)] == brief
    added = lines[len(brief) :]
    assert any("what has no brackets is of the first of 3 trainings" in line for line in added)
    (found,) = (line for line in added if line.startswith("SAE-A (β = 0.01): R² "))
    r2 = told([run["intervals"]["r2"] for run in runs])
    assert found.startswith(f"SAE-A (β = 0.01): R² {r2} (centred ")
    for name in ("reconstructed", "bimodal", "less_unimodal", "unimodal"):
        (line,) = (line for line in added if line.split()[:1] == [name])
        gaps = [run["geometry"][name]["difference_in_means_interval"] for run in runs]
        assert f"gap {told(gaps)} (OT {runs[0]['geometry'][name]['optimal_transport']:.3f})" in line
        assert "text→image" in line
    findings = [line for line in added if line.startswith(("  ✓", "  ✗", "  ?", "  ≠"))]
    assert len(findings) == len([line for line in brief if line.startswith(("✓", "✗", "?", "≠"))])


def test_seeds_are_set_against_the_same_seed_in_the_same_draws(store: Path, tmp_path: Path) -> None:
    saes = [
        *written(tmp_path / "saes", "beta-0", PLAIN, 2),
        *written(tmp_path / "saes", "beta-0.01", ALIGNED, 2),
        *written(tmp_path / "nulls", "null-beta-0.01", NULL, 1),
    ]
    found = evaluated(store, saes, tmp_path / "out", **SMALL)["saes"]
    plain, aligned, null = (named(found, f"{name}-seed-0") for name in ("beta-0", "beta-0.01", "null-beta-0.01"))
    assert all(not results["against"] for sae in (plain, null) for results in trainings(sae))
    for own, other in zip(trainings(aligned), trainings(plain), strict=True):
        against = own["against"]["beta-0-seed-0"]
        assert against["r2"]["value"] == pytest.approx(own["r2"] - other["r2"])
        # the weights are the same and so are the atoms: nothing lies between them in any draw
        assert against["r2"]["low"] == against["r2"]["high"] == 0
        assert against["p_acc"] == {"value": 0, "low": 0, "high": 0}
    first, second = (results["against"]["null-beta-0.01-seed-0"] for results in trainings(aligned))
    assert first["r2"]["low"] == first["r2"]["high"] == 0  # the null has the first seed's atoms, and the second none
    shares = [results["bimodal_energy_share"] for results in (trainings(aligned)[1], null["results"])]
    assert second["bimodal_energy_share"]["value"] == pytest.approx(shares[0] - shares[1])
    worst = [results["intervals"]["r2"] for results in (trainings(aligned)[1], null["results"])]
    widest = worst[0]["high"] - worst[1]["low"] - (worst[0]["low"] - worst[1]["high"])
    assert 0 < second["r2"]["high"] - second["r2"]["low"] < widest


def test_only_what_one_training_made_together_is_taken_together() -> None:
    saes = {
        "a/beta-0-seed-0": PLAIN,
        "a/beta-0.01-seed-0": ALIGNED,
        "a/beta-0-seed-1": PLAIN,
        "b/beta-0-seed-1": PLAIN,
        "a/beta-0": PLAIN,
        "c/beta-0": PLAIN,
        "a/beta-0-seed-2": replace(PLAIN, k=4),
    }
    groups = by_seed({place: SparseAutoencoder(config) for place, config in saes.items()})
    assert groups["a/beta-0-seed-0"] == ["a/beta-0-seed-0", "a/beta-0-seed-1"]
    assert [len(places) for places in groups.values()] == [2, 1, 1, 1, 1, 1]
