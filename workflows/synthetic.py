"""`isoenergy synthetic`: what SAEs recover of known atoms, over seeds, where Iso-Energy holds and where it does not.

One program for the paper's table, for other encoders and objectives beside it, and for the phase diagram over (τ₁, β):
they differ in what is swept, and the presets are what that is. `curves` measures on the way, over training time.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import product

from isoenergy.report.figures.shared import as_bytes
from isoenergy.report.synthetic.over_seeds import SeedResults
from isoenergy.report.synthetic.phase_diagram_figure import has_phases, phase_diagram
from isoenergy.report.synthetic.recovery_curves_figure import MMA_PANELS, PANELS, recovery_curves
from isoenergy.report.synthetic.recovery_curves_table import Courses, curves_markdown, curves_parquet, summarise_curves
from isoenergy.report.synthetic.recovery_figure import recovery_by_beta
from isoenergy.report.synthetic.recovery_table import markdown, summarise
from isoenergy.settings.variants import number_text
from isoenergy.storage.files import open_filesystem
from isoenergy.synthetic.recovery_curves import estimated_seconds, measure_curves
from isoenergy.synthetic.recovery_experiment import measure_recovery
from workflows.cluster import engine
from workflows.command import run_command
from workflows.settings.synthetic_settings import SyntheticCurvesConfig, SyntheticRun, SyntheticTableConfig, parse
from workflows.steps import step_plan
from workflows.steps.on_ray import run_on_ray
from workflows.steps.step_plan import PlannedStep, Step
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import require_writable, write_files

SUMMARY_FILE = "synthetic.json"
TABLE_FILE = "synthetic.md"
FIGURE_FILE = "synthetic.png"
PHASES_FILE = "phases"
CURVES = "curves"


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
    with _stage(config, planned, root, parent) as stage:
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
        write_files(files, output, stage)
        names = {(s.instance_cosine, str(s.sparse_encoder), str(s.alignment)): s.name for s in config.sweep}
        for cell in summary["cells"]:
            name = names[cell["instance_cosine"], cell["sparse_encoder"], cell["alignment"]]
            means = {metric: interval["mean"] for metric, interval in cell["metrics"].items()}
            stage.metrics(
                {f"{name}/beta-{cell['beta']:g}/{metric}": mean for metric, mean in means.items() if mean is not None}
            )
    return f"{output}/{TABLE_FILE}"


def run_curves(config: SyntheticCurvesConfig, parent: mlflow_runs.Run | None = None) -> str | None:
    """Run the seeds that are not done and write the curves; return the tables' place, or None after a dry run."""
    seeds = range(config.seed, config.seed + config.seeds)
    # the shortest trainings first: what is there after an interruption is whole
    settings = [
        (length, norm, cosine)
        for length in sorted(config.epochs)
        for norm, cosine in product(config.atom_norms, config.instance_cosines)
    ]
    steps = {
        (length, norm, cosine): {
            seed: Step(
                f"{norm}/tau-{number_text(cosine)}/epochs-{length}/seed-{seed}",
                measure_curves,
                config.experiment(cosine, norm, length, seed),
            )
            for seed in seeds
        }
        for length, norm, cosine in settings
    }
    output = config.output.rstrip("/")
    root = f"{output}/steps"
    planned = step_plan.plan([step for own in steps.values() for step in own.values()], root, config.force)
    if config.dry_run:
        print(step_plan.describe(planned))
        print(_estimate(planned))
        return None
    with _stage(config, planned, root, parent) as stage:
        runs = [
            Courses(cosine, norm, length, {seed: step_plan.result(step, root) for seed, step in own.items()})
            for (length, norm, cosine), own in steps.items()
        ]
        summary = summarise_curves(runs)
        files = {
            f"{CURVES}.json": json.dumps({"config": asdict(config), **summary}, indent=2, allow_nan=False).encode()
            + b"\n",
            f"{CURVES}.parquet": curves_parquet(runs),
            f"{CURVES}.md": curves_markdown(summary).encode(),
            f"{CURVES}.png": as_bytes(recovery_curves(summary, PANELS), "png"),
            f"{CURVES}-mma.png": as_bytes(recovery_curves(summary, MMA_PANELS), "png"),
        }
        write_files(files, output, stage)
        for curve in summary["curves"]:
            name = f"{curve['atom_norm']}/tau-{number_text(curve['instance_cosine'])}/epochs-{curve['epochs']}"
            stage.metric_history(
                [
                    (
                        point["step"],
                        {
                            f"{name}/beta-{curve['beta']:g}/{metric}": interval["mean"]
                            for metric, interval in point["metrics"].items()
                            if interval["mean"] is not None
                        },
                    )
                    for point in curve["points"]
                ]
            )
    return f"{output}/{CURVES}.md"


@contextmanager
def _stage(
    config: SyntheticRun, planned: list[PlannedStep], root: str, parent: mlflow_runs.Run | None
) -> Iterator[mlflow_runs.Run]:
    """Run what is due, within a stage that is then still open."""
    require_writable(config.output)
    print(f"synthetic: {sum(item.due for item in planned)} of {len(planned)} seeds to run, in {config.output}")
    with mlflow_runs.stage("synthetic", config, config.output, parent) as stage:
        if any(item.due for item in planned):
            engine.connect()
            run_on_ray(planned, root, "synthetic")
        yield stage


def _estimate(planned: list[PlannedStep]) -> str:
    """Return in words how long what is due takes, from a few steps on this machine."""
    due = [item.step.config for item in planned if item.due]
    if not due:
        return "nothing to run"
    seconds = estimated_seconds(due)
    tasks = os.cpu_count() or 1
    minutes = seconds / 60
    return f"some {minutes:.0f} minutes of an idle core, by a few steps here; {minutes / tasks:.0f} on {tasks} cores"


def start(config: SyntheticTableConfig | SyntheticCurvesConfig) -> None:
    """Run the table or the curves and print what came out, and its place."""
    file = run_curves(config) if isinstance(config, SyntheticCurvesConfig) else run(config)
    if file is not None:
        filesystem, path = open_filesystem(file)
        print(filesystem.cat_file(path).decode())
        print(file)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
