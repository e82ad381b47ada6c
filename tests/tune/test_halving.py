from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from isoenergy.training.training_config import TrainingConfig
from tests.tune.trials import trial
from tune.halving import JointHalving, best_together
from tune.objectives import Objectives
from tune.passes import PassRecord, Report

TWO = Objectives(("r2", "bimodal-energy"))
FAITHFUL, NEARLY, ALIGNED = [trial(0.9, 0.5)], [trial(0.88, 0.5)], [trial(0.4, 1.0)]
"""FAITHFUL dominates .45, NEARLY .44, ALIGNED .40; FAITHFUL and ALIGNED together .65, with NEARLY no more."""


def goes_on(scheduler: JointHalving, name: str, part: int, measures: list[dict[str, float]]) -> bool:
    asked = SimpleNamespace(config={"pass": name})
    said = scheduler.on_trial_result(None, asked, {"part": part, "measures": measures})  # type: ignore[arg-type]
    return said == TrialScheduler.CONTINUE


def test_what_adds_to_the_front_is_chosen_before_what_dominates_more_of_the_same() -> None:
    passes = {"nearly": NEARLY, "faithful": FAITHFUL, "aligned": ALIGNED}
    assert best_together(passes, 1, TWO) == ["faithful"]
    assert best_together(passes, 2, TWO) == ["faithful", "aligned"]
    assert sorted(best_together(passes, 9, TWO)) == sorted(passes)


def test_a_pass_at_the_other_end_of_the_front_goes_on_and_one_that_adds_nothing_ends() -> None:
    scheduler = JointHalving(TWO, parts=9, reduction=3)
    assert goes_on(scheduler, "faithful", 1, FAITHFUL)
    for number in range(4):
        assert not goes_on(scheduler, f"near {number}", 1, NEARLY)
    assert goes_on(scheduler, "aligned", 1, ALIGNED)  # of six passes two go on
    assert not goes_on(scheduler, "last", 1, NEARLY)


def test_only_at_rungs_is_anything_decided_and_never_at_the_end() -> None:
    scheduler = JointHalving(TWO, parts=9, reduction=3)
    for part in (1, 3):
        assert goes_on(scheduler, "faithful", part, FAITHFUL)
    for part in (2, 4, 6, 9):
        assert goes_on(scheduler, "other", part, NEARLY)
    assert not goes_on(scheduler, "other", 3, NEARLY)


def test_a_pass_that_says_again_what_it_has_said_goes_on() -> None:
    scheduler = JointHalving(TWO, parts=9, reduction=3)
    assert goes_on(scheduler, "aligned", 1, ALIGNED)
    assert goes_on(scheduler, "faithful", 1, FAITHFUL)
    assert goes_on(scheduler, "aligned", 1, ALIGNED)


@pytest.mark.parametrize("known", [True, False])
def test_what_is_on_record_counts_after_the_driver_died(known: bool) -> None:
    measures = {name: FAITHFUL[0] for name in TrainingConfig(beta=(1e-4,)).names}
    record = PassRecord("faithful", TrainingConfig(beta=(1e-4,)), {}, (Report(1, 10, 1.0, measures),))
    scheduler = JointHalving(TWO, 9, 3, [record] if known else [])
    assert goes_on(scheduler, "second", 1, NEARLY) is not known
