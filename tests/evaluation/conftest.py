import pytest

from tests.evaluation.evaluations import run_steps_here


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    run_steps_here(monkeypatch)
