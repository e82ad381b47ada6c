"""A search's table and pictures, beside its records and in MLflow."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from isoenergy.report.figures.cluster_growth_figure import cluster_growth
from isoenergy.report.figures.shared import as_bytes
from tune.findings import Findings
from tune.pareto_figure import pareto_figure
from tune.passes import SearchFolder
from tune.placement import PassPlacement
from workflows.cluster.cluster_timeline import ClusterSample, ClusterTimeline
from workflows.tracking.mlflow_runs import Run, send_if_it_answers

TABLE_FILE = "trials.csv"
FRONT = "front"
GROWTH = "cluster"


def publish_findings(findings: Findings, run: Run) -> None:
    """Write the table of all trials and the picture of the front."""
    files = {TABLE_FILE: findings.csv().encode(), **_pictures(FRONT, pareto_figure(findings))}
    measures = {"hypervolume": findings.hypervolume, "trials": len(findings.trials)}
    _publish(findings.folder, run, files, measures)


def publish_growth(timeline: ClusterTimeline, placement: PassPlacement, folder: SearchFolder, run: Run) -> None:
    """Draw the nodes, what waited and what ran while this driver searched; on a cluster that has worker nodes."""
    types = sorted({name for sample in timeline.samples for name in sample.nodes})
    if not types:
        return
    kind = "GPU" if placement.gpus else "CPU"
    each = placement.resources[kind] * placement.workers
    figure = growth_figure(timeline.samples, types, kind, each, "The cluster while it searched")
    _publish(folder, run, _pictures(GROWTH, figure), {})


def growth_figure(samples: Sequence[ClusterSample], types: Sequence[str], kind: str, each: float, title: str) -> Figure:
    """Draw a timeline: nodes of some types, what waited, and passes that ran.

    kind, each: the resource that tells passes at work, and how much of it each takes.
    """
    seen = [name for name in types if any(name in sample.nodes for sample in samples)]
    return cluster_growth(
        [sample.seconds for sample in samples],
        {name: [sample.nodes.get(name, 0) for sample in samples] for name in seen},
        [sample.pending for sample in samples],
        [sample.in_use[kind] / each for sample in samples],
        title,
    )


def _pictures(name: str, figure: Figure) -> dict[str, bytes]:
    return {f"{name}.{kind}": as_bytes(figure, kind) for kind in ("png", "svg")}


def _publish(folder: SearchFolder, run: Run, files: Mapping[str, bytes], measures: Mapping[str, float]) -> None:
    for name, data in files.items():
        folder.write_file(name, data)

    def send() -> None:
        run.metrics(measures)
        with tempfile.TemporaryDirectory() as temporary:
            for name, data in files.items():
                (Path(temporary) / name).write_bytes(data)
                run.artifact(Path(temporary) / name)

    send_if_it_answers(run, f"{', '.join(files)}, which --resume sends", send)
