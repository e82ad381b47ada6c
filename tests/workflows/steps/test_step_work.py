import pytest

from workflows.steps.step_work import Work


def test_a_step_weighs_what_those_of_its_kind_took() -> None:
    work = Work(["a/long", "b/long", "a/short/00000", "a/short/00001"])
    assert work.share == 0
    work.done("a/long", 9.0)
    assert work.share == pytest.approx(9 / 36)  # nothing is known of the others
    work.done("a/short/00000", 1.0)
    assert work.share == pytest.approx(10 / 20)
    work.done("a/short/00001", 1.0)
    work.done("b/long", 9.0)
    assert work.share == 1


def test_it_never_falls() -> None:
    work = Work([f"{name}/step" for name in "abcd"] + ["long"])
    for name in "abc":
        work.done(f"{name}/step", 1.0)
    before = work.share
    work.done("d/step", 50.0)
    work.done("long", 5000.0)
    assert work.share == 1 > before
    falling = Work(["a/x", "b/x", "a/y", "b/y"])
    falling.done("a/x", 1.0)
    falling.done("b/x", 1.0)
    before = falling.share
    falling.done("a/y", 1000.0)
    assert falling.share >= before == 0.5
