"""`isoenergy report`: one offline HTML page from an evaluation."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from isoenergy.report.page import write_report
from workflows import tracking
from workflows.command import run_command


@dataclass(frozen=True)
class ReportConfig:
    """Draw an evaluation as one HTML page that needs no network, with its figures beside it."""

    evaluation: Path
    """The `evaluation.json` that `isoenergy evaluate` wrote."""
    output: Path = Path("runs/report/report.html")
    """HTML file to write."""


def run(config: ReportConfig, parent: tracking.Run | None = None) -> Path:
    """Write the page and log it; return its path."""
    with tracking.stage("report", config, str(config.output), parent) as stage:
        page, *drawings = write_report(config.evaluation, config.output)
        stage.artifact(page)
        for drawing in drawings:
            stage.artifact(drawing, "figures")
    return page


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write the report."""
    print(run(tyro.cli(ReportConfig, args=arguments, prog="isoenergy report")))


if __name__ == "__main__":
    run_command(main)
