"""`isoenergy report`: one offline HTML page from an evaluation."""

from isoenergy.counts import counted
from isoenergy.report.evaluation_file import evaluation_uri, read_evaluation
from isoenergy.report.page.page import write_report
from workflows.command import run_command
from workflows.endings import evaluation_ending
from workflows.settings.report_settings import ReportConfig, parse
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import log_file
from workflows.tracking.run_names import run_name, store_name


def run(config: ReportConfig, parent: mlflow_runs.Run | None = None) -> str:
    """Write the page and log it; return its place.

    Raises InputError, before there is a run in MLflow, if there is no such evaluation.
    """
    evaluation = evaluation_uri(config.evaluation)
    summary = read_evaluation(evaluation)
    store = summary["store"]
    output = config.output or f"{''.join(evaluation.rpartition('/')[:2])}report.html"
    measured = sum(1 + len(sae.get("repeats", ())) for sae in summary["saes"])
    of = store.get("encoder") or store_name(store["uri"], store.get("source", ""))
    called = run_name("report", of, counted(measured, "SAE"))
    with mlflow_runs.stage("report", config, output, parent, called) as stage:
        stage.dataset(store["uri"], store["fingerprint"], "evaluation", store.get("source", ""))
        page, *files = write_report(evaluation, output, config.images)
        log_file(stage, page)
        for file in files:
            log_file(stage, file, file.split("/")[-2])  # figures, tables
    return page


def start(config: ReportConfig) -> None:
    """Write the report and print what it says first, and its place."""
    page = run(config)
    print(evaluation_ending(evaluation_uri(config.evaluation), page))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
