"""`isoenergy apply` on Ray: the columns of one process, also where workers die."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.workflows.applied_stores import ROWS, UNITS, fill_store, write_sae
from tests.workflows.dying_work import DyingWork
from workflows import apply
from workflows.applying.applying_engines import ApplyingHere, ApplyingOnRay, Bundle, Report
from workflows.applying.applying_units import UnitWork
from workflows.settings.apply_settings import ApplyConfig

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("on_ray")]


class WithDeaths(ApplyingOnRay):
    """The worker that comes to the last unit first dies there."""

    def __init__(self, mark: Path) -> None:
        super().__init__(patience=600)
        self._mark = mark

    def run(self, work: UnitWork, bundles: Sequence[Bundle], rows: int, report: Report) -> None:
        unit = bundles[-1][-1].record.unit
        dying = DyingWork(work.application, work.source, work.writer, work.layouts, self._mark, unit)
        super().run(dying, bundles, rows, report)


def test_rays_workers_write_what_one_process_does_though_one_of_them_dies(tmp_path: Path) -> None:
    place, store = write_sae(tmp_path / "sae"), fill_store(tmp_path / "store")
    config = ApplyConfig(str(place), store.uri, str(tmp_path / "here"), "codes,bimodal,centred")
    here = apply.run(config, engine=ApplyingHere())
    on_ray = dataclasses.replace(config, output=str(tmp_path / "on-ray"))
    made = apply.run(on_ray, engine=WithDeaths(tmp_path / "mark"))
    assert (tmp_path / "mark").exists()
    assert len(made) == UNITS * ROWS
    assert made.fingerprint == here.fingerprint
