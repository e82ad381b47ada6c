"""`isoenergy report`: one offline HTML page from an evaluation."""

import logging

from isoenergy.counts import counted
from isoenergy.report.evaluation_file import evaluation_uri, read_evaluation
from isoenergy.report.page.page import write_report
from isoenergy.storage.files import without_secrets
from workflows.command import run_command
from workflows.endings import evaluation_ending
from workflows.evaluation.drawn_report import Ingredients, drawn_before, keep_record
from workflows.settings.report_settings import ReportConfig, parse
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import log_file
from workflows.tracking.run_names import run_name, store_name

_LOG = logging.getLogger("workflows.report")  # `python -m` calls the module otherwise


def run(config: ReportConfig, parent: mlflow_runs.Run | None = None, again: bool = True) -> str:
    """Write the page and log it; return its place.

    again: also if it is there, made of the same evaluation by the same code; else that is left, and logged if MLflow
    lacks it. With pictures from elsewhere, which may have changed, it is always written.

    Raises InputError, before there is a run in MLflow, if there is no such evaluation.
    """
    evaluation = evaluation_uri(config.evaluation)
    summary = read_evaluation(evaluation)
    store = summary["store"]
    output = config.output or f"{''.join(evaluation.rpartition('/')[:2])}report.html"
    measured = sum(1 + len(sae.get("repeats", ())) for sae in summary["saes"])
    of = store.get("encoder") or store_name(store["uri"], store.get("source", ""))
    called = run_name("report", of, counted(measured, "SAE"))
    ingredients = Ingredients.of(evaluation, summary)
    made = [] if again or config.images else drawn_before(output, ingredients)
    with mlflow_runs.stage("report", config, output, parent, called, is_done=bool(made)) as stage:
        if stage.is_kept:
            _LOG.info("report: drawn before, in %s", without_secrets(output))
            return output
        stage.dataset(store["uri"], store["fingerprint"], "evaluation", store.get("source", ""))
        if not made:
            made = write_report(evaluation, output, config.images)
            if not config.images:
                keep_record(output, ingredients, made)
        page, *files = made
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
