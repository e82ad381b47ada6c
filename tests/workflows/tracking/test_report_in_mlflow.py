"""The report in the artifact viewer of MLflow's own pages."""

from pathlib import Path

import pytest

from tests.browser import chromium
from tests.report.made_up_report import write_made_up_report
from tests.workflows.tracking.mlflow_server import MlflowServer
from workflows.tracking import mlflow_runs

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.browser]

SECONDS_TO_LOAD = 240


def test_the_explorer_works_in_mlflow_s_artifact_viewer(
    mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page_file = Path(write_made_up_report(tmp_path, 50))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    with mlflow_runs.stage("report", {}, str(tmp_path)) as run:
        run.artifact(page_file)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.set_default_timeout(SECONDS_TO_LOAD * 1000)
        page.goto(f"{mlflow_server.uri}/#/experiments/{run.experiment}/runs/{run.id}/artifacts/report.html")
        report = page.frame_locator("iframe")
        report.locator("#explorer").scroll_into_view_if_needed()
        report.locator("#explorer-query").fill("atom 33")
        link = report.locator(".explorer-open").first
        assert link.inner_text() == "atom 33"
        link.click()
        assert report.locator("#explorer-dialog[open] h3").inner_text() == "Atom 33"
        page.keyboard.press("Escape")
        report.locator("#explorer-dialog[open]").wait_for(state="detached")
