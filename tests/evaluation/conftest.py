from pathlib import Path

import pytest

from workflows import evaluate, steps
from workflows.steps import PlannedStep


def run_steps_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run one after the other in this process: what they compute does not depend on who runs them."""

    def run(planned: list[PlannedStep], root: Path, _what: str) -> None:
        steps.run_here(planned, root)

    monkeypatch.setattr(evaluate, "run_on_ray", run)
    monkeypatch.setattr(evaluate.engine, "connect", dict)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    run_steps_here(monkeypatch)
