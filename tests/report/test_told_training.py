from isoenergy.report.console import WIDTH
from isoenergy.report.told_training import told_training


def trained(beta: float, seed: int = 0, null: bool = False) -> dict:
    return {"name": f"beta-{beta}-seed-{seed}", "config": {"beta": beta, "null": null, "atoms": 200}}


def measures(r2: float, bimodal: float = 0.7, always_on: float = 0.0, dead: float = 0.0) -> dict[str, float]:
    return {
        "validation_r2": r2,
        "bimodal_energy": bimodal,
        "always_on_energy": always_on,
        "l0": 16.0,
        "dead_atoms": dead,
    }


def told(*found: tuple[dict, dict[str, float]]) -> list[str]:
    return told_training([sae for sae, _ in found], {sae["name"]: its for sae, its in found})


def marks(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("✓", "✗", "?", "≠"))]


def test_it_has_the_form_of_an_evaluation() -> None:
    lines = told((trained(1e-3), measures(0.93, 0.76)), (trained(0.0), measures(0.94, 0.72)))
    assert max(map(len, lines)) <= WIDTH
    assert lines[0] == "SAE-A (β = 0.001) rebuilds the validation pairs at R² 0.930, 0.940 without alignment."
    assert lines[2].startswith("Its bimodal atoms hold 76.0% of the energy, 72.0% without alignment")
    heading = next(number for number, line in enumerate(lines) if line.split()[:1] == ["R²"])
    assert lines[heading + 1].split() == ["SAE", "(β", "=", "0)", "0.940", "72.0%", "0.0%", "16.0", "0"]
    assert lines[heading + 2].split()[:1] == ["SAE-A"]
    assert marks(lines) == [
        "✓ SAE-A (β = 0.001) rebuilds more than the mean does: R² 0.930 (asked: above 0)",
        "✓ alignment costs 0.010 of R² (asked: below 0.05)",
        "✓ atoms that are always on hold 0.0% of the energy (asked: below 5%)",
        "✓ 0.0% of the atoms are dead (asked: below 15%)",
    ]
    assert "≠" not in " ".join(lines)


def test_one_that_does_worse_than_the_mean_is_told_so_first() -> None:
    lines = told((trained(1e-3), measures(-0.018, dead=100.0)))
    assert "R² −0.018. That is worse than the mean" in " ".join(lines)
    assert [line[0] for line in marks(lines)] == ["✗", "✓", "✗"]


def test_trainings_that_differ_in_the_seed_are_a_row_and_say_where_they_differ() -> None:
    saes = [(trained(0.0, seed), measures(r2)) for seed, r2 in enumerate((0.5, -0.1, 0.7))]
    lines = told(*saes)
    assert lines[0].startswith("SAE (β = 0) rebuilds the validation pairs at R² 0.500 (−0.100 to 0.700).")
    assert marks(lines)[0].startswith("≠")
    assert len([line for line in lines if line.startswith("SAE (β = 0)  ")]) == 1
    assert "≠: trainings differ, of 3" in " ".join(lines)


def test_what_was_not_measured_is_not_decided() -> None:
    lines = told((trained(1e-3, null=True), {"l0": 3.0}))
    assert lines[0].startswith("null of SAE-A (β = 0.001) rebuilds the validation pairs at R² –")
    assert [line[0] for line in marks(lines)] == ["?", "?", "?"]
