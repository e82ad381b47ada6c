"""`isoenergy report`: one offline HTML page from an evaluation."""

from dataclasses import dataclass

from isoenergy.report.page.page import write_report
from workflows.arguments import parse_config
from workflows.command import run_command
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import log_file


@dataclass(frozen=True)
class ReportConfig:
    """Draw an evaluation as one HTML page that needs no network, with its figures and tables beside it."""

    evaluation: str
    """The `evaluation.json` that `isoenergy evaluate` wrote, a path or an fsspec URL."""
    output: str = ""
    """HTML file to write, a path or an fsspec URL. Default: report.html beside the evaluation."""


def run(config: ReportConfig, parent: mlflow_runs.Run | None = None) -> str:
    """Write the page and log it; return its place."""
    output = config.output or f"{''.join(config.evaluation.rpartition('/')[:2])}report.html"
    with mlflow_runs.stage("report", config, output, parent) as stage:
        page, *files = write_report(config.evaluation, output)
        log_file(stage, page)
        for file in files:
            log_file(stage, file, file.split("/")[-2])  # figures, tables
    return page


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write the report."""
    print(run(parse_config(ReportConfig, arguments, "isoenergy report")))


if __name__ == "__main__":
    run_command(main)
