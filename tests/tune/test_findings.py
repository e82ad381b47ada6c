import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from isoenergy.errors import InputError
from isoenergy.report.figures.shared import as_bytes
from isoenergy.training.training_config import TrainingConfig
from tune.findings import Findings
from tune.objectives import Objectives
from tune.pareto_figure import pareto_figure
from tune.passes import Outcome, PassRecord, Report, SearchFolder

CHOSEN = {
    "expansion": 4.0,
    "k": 8.0,
    "learning_rate": 1e-3,
    "batch_pairs": 64.0,
    "alignment": "masked-cosine",
    "bias_atoms": "none",
}
TRAINING = TrainingConfig(beta=(1e-4, 1e-3), expansion=4, k=8, learning_rate=1e-3, batch_pairs=64)
TWO = Objectives(("r2", "bimodal-energy"))
THREE = Objectives(("r2", "bimodal-energy", "delta-r1"))


def measures(r2: float, bimodal: float) -> dict[str, float]:
    return {
        "r2": r2, "mse": 1 - r2, "bimodal_energy": bimodal, "p_acc": 0.8, "delta_r1": -0.1, "always_on_energy": 0.0,
        "dead_atom_share": 0.1,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    """Two finished passes, one that was stopped, one of which a trial diverged, one that failed, one that runs."""
    search = SearchFolder(str(tmp_path))
    world: list[tuple[dict[str, dict[str, float]], dict[str, str], Outcome | None]] = [
        ({"beta-0.0001": measures(0.90, 0.3), "beta-0.001": measures(0.895, 0.6)}, {}, Outcome("finished")),
        ({"beta-0.0001": measures(0.80, 0.2), "beta-0.001": measures(0.85, 0.7)}, {}, Outcome("finished")),
        ({"beta-0.0001": measures(0.30, 0.9), "beta-0.001": measures(0.20, 0.8)}, {}, Outcome("stopped", "halving")),
        ({"beta-0.0001": measures(0.70, 0.1)}, {"beta-0.001": "not finite"}, Outcome("finished")),
        ({}, {}, Outcome("failed", "out of memory")),
        ({"beta-0.0001": measures(0.99, 0.9), "beta-0.001": measures(0.99, 0.9)}, {}, None),
    ]
    for number, (measures_of, diverged, outcome) in enumerate(world):
        record = PassRecord(f"pass-{number:04d}", TRAINING, CHOSEN)
        search.begin(record)
        search.report(record.id, (Report(9, 90, 12.5, measures_of),) if measures_of else (), diverged)
        if outcome is not None:
            search.end(record.id, outcome)
    return search


def test_only_trials_that_have_ended_are_on_the_front_and_only_finished_ones_are_recommended(
    folder: SearchFolder,
) -> None:
    findings = Findings.of(folder, TWO, within=0.01)
    assert [trial.name for trial in findings.front] == [
        "pass-0000/beta-0.0001", "pass-0000/beta-0.001", "pass-0001/beta-0.001", "pass-0002/beta-0.0001",
    ]  # fmt: skip
    assert findings.recommended is not None
    assert findings.recommended.name == "pass-0000/beta-0.001"
    assert [trial.status for trial in findings.trials].count("finished") == 5
    stairs = 0.3 * 0.9 + (0.85 - 0.3) * 0.7 + (0.895 - 0.85) * 0.6 + (0.9 - 0.895) * 0.3
    assert findings.hypervolume == pytest.approx(stairs)
    wide = Findings.of(folder, TWO, within=0.9)
    assert wide.recommended is not None
    assert wide.recommended.name == "pass-0001/beta-0.001"


def test_the_table_has_a_row_a_trial_with_the_reason_why_it_failed(folder: SearchFolder) -> None:
    findings = Findings.of(folder, TWO, within=0.01)
    rows = {row["trial"]: row for row in csv.DictReader(io.StringIO(findings.csv()))}
    assert len(rows) == 12
    assert rows["pass-0003/beta-0.001"]["reason"] == "not finite"
    assert rows["pass-0003/beta-0.001"]["status"] == "failed"
    assert rows["pass-0004/beta-0.0001"]["reason"] == "out of memory"
    assert rows["pass-0002/beta-0.0001"]["status"] == "stopped"
    assert rows["pass-0005/beta-0.0001"]["status"] == "running"
    assert [name for name, row in rows.items() if row["recommended"] == "True"] == ["pass-0000/beta-0.001"]
    assert float(rows["pass-0001/beta-0.001"]["r2"]) == 0.85
    text = findings.table()
    assert "<- recommended" in text
    assert "stopped early" in text
    assert "5 finished, 2 stopped, 3 failed, 2 running" in text


def test_the_picture_is_drawn_for_two_and_three_objectives_and_without_a_finished_trial(
    folder: SearchFolder, tmp_path: Path
) -> None:
    for objectives, panels in ((TWO, 1), (THREE, 3)):
        figure = pareto_figure(Findings.of(folder, objectives, 0.01))
        assert len(figure.axes) == panels
        words = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert sum(word.startswith("recommended") for word in words) == panels
    empty = Findings.of(SearchFolder(str(tmp_path / "empty")), TWO, 0.01)
    assert empty.recommended is None
    assert len(as_bytes(pareto_figure(empty), "svg")) > 0


def test_a_folder_is_for_one_search(folder: SearchFolder) -> None:
    folder.remember_plan({"passes": 4, "store": "a"})
    folder.remember_plan({"passes": 4, "store": "a"})
    with pytest.raises(InputError, match="passes"):
        folder.remember_plan({"passes": 5, "store": "a"})
    with pytest.raises(InputError, match="cannot be written"):
        SearchFolder("/proc/no").remember_plan({})


def test_a_record_that_is_torn_is_named(folder: SearchFolder, tmp_path: Path) -> None:
    (tmp_path / "passes/pass-0001/settings.json").write_text('{"training"')
    with pytest.raises(InputError, match=r"pass-0001/settings\.json"):
        folder.passes()


def test_a_pass_that_was_never_begun_is_not_there(folder: SearchFolder, tmp_path: Path) -> None:
    assert folder.read("pass-0009") is None
    (tmp_path / "passes/pass-0007/checkpoints").mkdir(parents=True)
    assert len(folder.passes()) == 6
    assert replace(folder.passes()[0], reports=(), outcome=None) == PassRecord("pass-0000", TRAINING, CHOSEN)
