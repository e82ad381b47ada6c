"""`isoenergy synthetic`: what SAEs recover of known atoms, over seeds, where Iso-Energy holds and where it does not.

One program for the paper's table, for other encoders and objectives beside it, and for the phase diagram over (τ₁, β):
they differ in what is swept, and the presets are what that is.
"""

import json
import sys
from dataclasses import asdict

from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.synthetic.over_seeds import SeedResults
from isoenergy.report.synthetic.phase_diagram_figure import has_phases, phase_diagram
from isoenergy.report.synthetic.recovery_figure import recovery_by_beta
from isoenergy.report.synthetic.recovery_table import markdown, summarise
from isoenergy.storage.files import open_filesystem, write_atomically
from isoenergy.synthetic.recovery_experiment import measure_recovery
from workflows.cluster import engine
from workflows.command import run_command
from workflows.settings.synthetic_settings import SyntheticTableConfig, parse
from workflows.steps import step_plan
from workflows.steps.on_ray import run_on_ray
from workflows.steps.step_plan import Step
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import log_file, require_writable

SUMMARY_FILE = "synthetic.json"
TABLE_FILE = "synthetic.md"
FIGURE_FILE = "synthetic.png"
PHASES_FILE = "phases"


def run(config: SyntheticTableConfig, parent: mlflow_runs.Run | None = None) -> str | None:
    """Run the seeds that are not done and write the table; return its place, or None after a dry run."""
    seeds = range(config.seed, config.seed + config.seeds)
    by_sweep = [
        (sweep, [Step(f"{sweep.name}/seed-{seed}", measure_recovery, config.experiment(sweep, seed)) for seed in seeds])
        for sweep in config.sweep
    ]
    output = config.output.rstrip("/")
    root = f"{output}/steps"
    # by seed, not by τ₁: what is there after an interruption is as good for every τ₁
    due = [step for seed in zip(*(own for _, own in by_sweep), strict=True) for step in seed]
    planned = step_plan.plan(due, root, config.force)
    if config.dry_run:
        print(step_plan.describe(planned))
        return None
    require_writable(output)
    print(f"synthetic: {sum(item.due for item in planned)} of {len(planned)} seeds to run, in {config.output}")
    with mlflow_runs.stage("synthetic", config, config.output, parent) as stage:
        if any(item.due for item in planned):
            engine.connect()
            run_on_ray(planned, root, "synthetic")
        summary = summarise(
            [
                SeedResults(
                    sweep.instance_cosine,
                    str(sweep.sparse_encoder),
                    str(sweep.alignment),
                    [step_plan.result(step, root) for step in own],
                )
                for sweep, own in by_sweep
            ]
        )
        files = {
            SUMMARY_FILE: json.dumps(
                {"config": asdict(config), **summary}, indent=2, default=str, allow_nan=False
            ).encode()
            + b"\n",
            TABLE_FILE: markdown(summary).encode(),
            FIGURE_FILE: as_bytes(recovery_by_beta(summary), "png"),
        }
        if has_phases(summary):
            figure = phase_diagram(summary)
            files |= {f"{PHASES_FILE}.{kind}": as_bytes(figure, kind) for kind in ("png", "svg")}
        for name, data in files.items():
            filesystem, path = open_filesystem(f"{output}/{name}")
            write_atomically(filesystem, path, data)
            log_file(stage, f"{output}/{name}")
        names = {(s.instance_cosine, str(s.sparse_encoder), str(s.alignment)): s.name for s in config.sweep}
        for cell in summary["cells"]:
            name = names[cell["instance_cosine"], cell["sparse_encoder"], cell["alignment"]]
            means = {metric: interval["mean"] for metric, interval in cell["metrics"].items()}
            stage.metrics(
                {f"{name}/beta-{cell['beta']:g}/{metric}": mean for metric, mean in means.items() if mean is not None}
            )
    return f"{output}/{TABLE_FILE}"


def start(config: SyntheticTableConfig) -> None:
    """Run the table and print it, and its place."""
    file = run(config)
    if file is not None:
        filesystem, path = open_filesystem(file)
        print(filesystem.cat_file(path).decode())
        print(file)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
