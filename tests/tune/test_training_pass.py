import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isoenergy import SparseAutoencoder
from isoenergy.store.batches import Batches, PairBatches
from isoenergy.training.checkpoints import CheckpointFolder
from isoenergy.training.training_config import TrainingConfig
from tests.training.planted_pairs import planted
from tune.objectives import Objectives
from tune.passes import CHECKPOINTS, PassRecord, SearchFolder
from tune.training_pass import HISTORY_FILE, PassData, PassTask, TrialPairs, run_pass

TRAINING = TrainingConfig(
    beta=(1e-4, 1e-2), expansion=3, k=3, epochs=3, batch_pairs=20, learning_rate=2e-2, log_every=2, checkpoint_every=1
)
OBJECTIVES = Objectives(("r2", "bimodal-energy"))
PAIRS = planted(130, gap=4)
STEPS = 18
PARTS = 4


class Killed(BaseException):
    pass


def data() -> PassData:
    def batches(training: TrainingConfig) -> Batches:
        return PairBatches.of_arrays(PAIRS.images, PAIRS.texts, training.batch_pairs, training.seed)

    held = planted(40, gap=4)
    validation = torch.from_numpy(held.images).float(), torch.from_numpy(held.texts).float()
    return PassData(batches, 8, torch.device("cpu"), {}, TrialPairs(validation, validation))


def begun(folder: Path, training: TrainingConfig = TRAINING) -> PassTask:
    search = SearchFolder(str(folder))
    search.begin(PassRecord("pass-0000", training, {"k": 3.0}))
    return PassTask(search, "pass-0000", OBJECTIVES, PARTS)


def run(task: PassTask, stop: Callable[[dict[str, Any]], None] = lambda _: None) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    def send(message: dict[str, Any]) -> None:
        sent.append(message)
        stop(message)

    run_pass(task, data(), send)
    return sent


def ended(task: PassTask, status: str) -> PassRecord:
    """The record of the pass, which must have ended so."""
    record = task.search.read("pass-0000")
    assert record is not None
    assert record.outcome is not None
    assert record.outcome.status == status
    return record


def reason_of(record: PassRecord) -> str:
    assert record.outcome is not None
    return record.outcome.reason


def saes(task: PassTask) -> dict[str, dict[str, torch.Tensor]]:
    place = task.search.checkpoint(task.pass_id)
    assert place is not None
    record = task.search.read(task.pass_id)
    assert record is not None
    names = [name for name in record.training.names if (Path(place) / name).exists()]
    return {name: SparseAutoencoder.load(f"{place}/{name}").state_dict() for name in names}


def require_same(one: dict[str, dict[str, torch.Tensor]], other: dict[str, dict[str, torch.Tensor]]) -> None:
    assert one.keys() == other.keys()
    for name, state in one.items():
        assert all(torch.equal(tensor, other[name][key]) for key, tensor in state.items()), name


def test_a_pass_reports_each_part_once_and_is_finished(tmp_path: Path) -> None:
    task = begun(tmp_path)
    sent = run(task)
    record = ended(task, "finished")
    assert [message["part"] for message in sent] == [report.part for report in record.reports] == [1, 2, 3, 4]
    assert [message["step"] for message in sent] == [5, 10, 15, 18]
    assert sent[-1]["hypervolume"] == OBJECTIVES.hypervolume(list(record.last_measures().values()))
    assert record.last_measures().keys() == {1e-4, 1e-2}
    steps = [step for message in sent for step, _ in message["points"]]
    assert steps == sorted(set(steps))
    assert {2, 4, 18} <= set(steps)
    assert sent[-1]["points"][-1][1]["beta-0.01/validation_r2"] == record.reports[-1].measures["beta-0.01"]["r2"]
    assert "system/cpu_utilization_percentage" in sent[0]["points"][0][1]
    on_disk = json.loads(Path(task.search.pass_uri(task.pass_id), "reports.json").read_text())["reports"]
    assert [report["figures"] for report in on_disk] == [report.measures for report in record.reports]


@pytest.mark.parametrize("part", [1, 2, 3, 4])
def test_a_pass_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path: Path, part: int) -> None:
    def kill(message: dict[str, Any]) -> None:
        if message["part"] == part:
            raise Killed

    whole, killed = begun(tmp_path / "whole"), begun(tmp_path / "killed")
    run(whole)
    with pytest.raises(Killed):
        run(killed, kill)
    sent = run(killed)
    assert [message["part"] for message in sent] == (list(range(part + 1, 5)) or [4])
    require_same(saes(whole), saes(killed))
    one, other = (task.search.read("pass-0000") for task in (whole, killed))
    assert one is not None
    assert other is not None
    assert [(r.part, r.step, r.measures) for r in one.reports] == [(r.part, r.step, r.measures) for r in other.reports]
    assert other.outcome == one.outcome


def test_a_pass_killed_between_its_last_checkpoint_and_its_end_trains_nothing_again(tmp_path: Path) -> None:
    task = begun(tmp_path)
    run(task)
    before = saes(task)
    for name in ("outcome.json", "reports.json"):
        (tmp_path / "passes/pass-0000" / name).unlink()
    sent = run(task)
    assert [message["part"] for message in sent] == [4]
    assert sent[0]["points"] == []
    record = task.search.read("pass-0000")
    assert record is not None
    assert record.outcome is not None
    assert [report.part for report in record.reports] == [1, 2, 3, 4]
    require_same(before, saes(task))


def test_a_pass_that_has_ended_sends_what_it_came_to_and_touches_nothing(tmp_path: Path) -> None:
    task = begun(tmp_path)
    run(task)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    sent = run(task)
    assert [message["part"] for message in sent] == [4]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_checkpoint_keeps_all_points_so_that_a_new_driver_can_send_them(tmp_path: Path) -> None:
    task = begun(tmp_path)
    sent = run(task)
    place = task.search.checkpoint("pass-0000")
    assert place is not None
    kept = json.loads((Path(place) / HISTORY_FILE).read_text())["points"]
    assert kept == json.loads(json.dumps([point for message in sent for point in message["points"]]))


def test_a_trial_that_diverges_is_left_out_and_the_others_are_those_of_a_pass_without_it(tmp_path: Path) -> None:
    clean = begun(tmp_path / "clean", replace(TRAINING, beta=(1e-4,)))
    both = begun(tmp_path / "both", replace(TRAINING, beta=(1e-4, 1e39)))
    run(clean)
    run(both)
    record = ended(both, "finished")
    assert list(record.diverged) == ["beta-1e+39"]
    assert "not finite" in record.diverged["beta-1e+39"]
    assert record.last_measures().keys() == {1e-4}
    require_same(saes(clean), saes(both))


def test_a_pass_all_of_whose_trials_diverge_has_failed_with_the_reason(tmp_path: Path) -> None:
    task = begun(tmp_path, replace(TRAINING, beta=(1e39,)))
    assert run(task) == []
    record = ended(task, "failed")
    assert "beta-1e+39" in reason_of(record)
    assert run(task) == []


def test_settings_that_the_data_does_not_allow_fail_the_pass_alone(tmp_path: Path) -> None:
    task = begun(tmp_path, replace(TRAINING, batch_pairs=1000))
    assert run(task) == []
    record = ended(task, "failed")
    assert "1000" in reason_of(record)


def test_a_spoilt_checkpoint_is_passed_over_and_the_pass_begins_anew(tmp_path: Path) -> None:
    def kill(_: dict[str, Any]) -> None:
        raise Killed

    whole, spoilt = begun(tmp_path / "whole"), begun(tmp_path / "spoilt")
    run(whole)
    with pytest.raises(Killed):
        run(spoilt, kill)
    place = spoilt.search.checkpoint("pass-0000")
    assert place is not None
    (Path(place) / "beta-0.01" / "sae.safetensors").write_bytes(b"torn")
    assert [message["part"] for message in run(spoilt)] == [1, 2, 3, 4]
    require_same(saes(whole), saes(spoilt))


def test_measures_of_seeds_are_means(tmp_path: Path) -> None:
    task = begun(tmp_path, replace(TRAINING, seeds=2, beta=(1e-2,)))
    run(task)
    record = task.search.read("pass-0000")
    assert record is not None
    each = [record.reports[-1].measures[f"beta-0.01-seed-{seed}"]["r2"] for seed in range(2)]
    assert each[0] != each[1]
    assert record.last_measures()[1e-2]["r2"] == pytest.approx(np.mean(each))
    assert len(CheckpointFolder(str(tmp_path / "passes/pass-0000" / CHECKPOINTS)).records()) == 1
