from pathlib import Path

import pytest

from workflows import evaluate
from workflows.steps import step_plan
from workflows.steps.step_plan import PlannedStep


def run_steps_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run one after the other in this process: what they compute does not depend on who runs them."""

    def run(planned: list[PlannedStep], root: Path, _what: str) -> None:
        step_plan.run_here(planned, root)

    monkeypatch.setattr(evaluate, "run_on_ray", run)
    monkeypatch.setattr(evaluate.engine, "connect", dict)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    run_steps_here(monkeypatch)
