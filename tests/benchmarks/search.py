"""What a search costs beside its training, and what early stopping saves, on the bundled pairs.

Run it on a machine that does nothing else. Each part adds its measures to `docs/benchmarks/search.json`.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
import tyro
from ray.tune.schedulers import TrialScheduler

from isoenergy.bundled.preset import DEMO_TRAINING
from tests.benchmarks.results import add_measures
from tune.findings import Findings
from tune.halving import JointHalving
from tune.objectives import Objectives
from tune.passes import PassRecord, SearchFolder
from tune.search_config import SearchConfig
from tune.space import Dimension, SearchSpace
from workflows import embed, tune
from workflows.cluster import engine

_RESULTS = Path("docs/benchmarks/search.json")
_GRID = SearchSpace(
    beta=Dimension(3e-4, 1e-2),
    expansion=Dimension(values=(1.0, 2.0, 4.0)),
    k=Dimension(values=(4.0, 8.0, 12.0)),
    learning_rate=Dimension(values=(1e-3,)),
    batch_pairs=Dimension(values=(256.0,)),
)


@dataclass(frozen=True)
class Stopping:
    """The full grid against the same grid with early stopping: hypervolume of the front, and compute.

    One order of the passes says little; the full grid's reports are therefore also played back in many orders.
    """

    store: Path | None = None
    """A store of the bundled pairs; it is made if none is given."""
    points: int = 4
    """Betas in the grid."""


@dataclass(frozen=True)
class Usage:
    """Share of the cores that trials compute on, and what a pass costs beside its training."""

    store: Path | None = None
    """A store of the bundled pairs; it is made if none is given."""
    passes: int = 16
    epochs: int = 45
    """Of some 100 steps each: about a minute a pass on one core."""


def stopping(config: Stopping, store: Path, folder: Path) -> dict[str, Any]:
    """Search the grid twice."""
    grid = SearchConfig(
        store=str(store), output=str(folder), searcher="grid", grid_points=config.points, space=_GRID,
        training=replace(DEMO_TRAINING, log_every=30),
    )  # fmt: skip
    found = {}
    for name, early in (("grid", False), ("early", True)):
        findings = tune.run(replace(grid, name=name, early_stopping=early))
        assert findings is not None
        found[name] = _summary(findings)
    return {
        **found,
        "share_of_hypervolume": found["early"]["hypervolume"] / found["grid"]["hypervolume"],
        "share_of_compute": found["early"]["trained_parts"] / found["grid"]["trained_parts"],
        "share_of_seconds": found["early"]["compute_seconds"] / found["grid"]["compute_seconds"],
        "in_other_orders": _played_back(grid, SearchFolder(f"{folder}/grid").passes()),
    }


def _played_back(config: SearchConfig, records: Sequence[PassRecord], orders: int = 300) -> dict[str, Any]:
    """Return what early stopping comes to if the passes begin in random orders, two at a time."""
    objectives = Objectives(config.objectives)
    trials = {r.id: [list(r.measures_of(report).values()) for report in r.reports] for r in records}
    whole = objectives.hypervolume([trial for reports in trials.values() for trial in reports[-1]])
    shares = []
    for order in range(orders):
        scheduler = JointHalving(objectives, config.parts, config.reduction)
        waiting = [records[number] for number in np.random.default_rng(order).permutation(len(records))]
        running = [(record.reports[0].seconds, record, 0) for record in waiting[:2]]
        waiting, reached = waiting[2:], {}
        while running:
            now, record, done = running.pop(int(np.argmin([seconds for seconds, _, _ in running])))
            report, reached[record.id] = record.reports[done], done
            result = {"part": report.part, "measures": trials[record.id][done]}
            asked: Any = SimpleNamespace(config={"pass": record.id})
            said = scheduler.on_trial_result(None, asked, result)
            if report.part < config.parts and said == TrialScheduler.CONTINUE:
                running.append((now + record.reports[done + 1].seconds - report.seconds, record, done + 1))
            elif waiting:
                following = waiting.pop(0)
                running.append((now + following.reports[0].seconds, following, 0))
        front = objectives.hypervolume([trial for name, done in reached.items() for trial in trials[name][done]])
        parts = sum(record.reports[reached[record.id]].part for record in records)
        shares.append((front / whole, parts / (len(records) * config.parts)))
    hypervolume, compute = np.array(shares).T
    return {
        "orders": orders,
        "share_of_hypervolume": float(hypervolume.mean()),
        "share_of_hypervolume_10th_percentile": float(np.percentile(hypervolume, 10)),
        "share_of_compute": float(compute.mean()),
        "orders_within_2_percent": float((hypervolume >= 0.98).mean()),
    }


def usage(config: Usage, store: Path, folder: Path) -> dict[str, Any]:
    """Run passes of about a minute each, all of one kind, one thread each."""
    space = replace(_GRID, expansion=Dimension(values=(2.0,)), k=Dimension(values=(8.0,)))
    search = SearchConfig(
        store=str(store), output=str(folder), name="usage", searcher="random", passes=config.passes, space=space,
        early_stopping=False, training=replace(DEMO_TRAINING, epochs=config.epochs, log_every=30),
    )  # fmt: skip
    cores = int(engine.connect()["CPU"])
    findings = tune.run(search)
    assert findings is not None
    passes = folder / "usage" / "passes"
    begun = min(file.stat().st_mtime for file in passes.glob("*/settings.json"))
    ended = max(file.stat().st_mtime for file in passes.glob("*/outcome.json"))
    compute = _summary(findings)["compute_seconds"]
    wall = ended - begun
    return {
        "passes": config.passes,
        "cores": cores,
        "wall_seconds": wall,
        "compute_seconds": compute,
        "share_of_cores": compute / (wall * cores),
        "seconds_beside_training_a_pass": (wall * cores - compute) / config.passes,
    }


def _summary(findings: Findings) -> dict[str, Any]:
    records = {trial.record.id: trial.record for trial in findings.trials}
    return {
        "passes": len(records),
        "trials": len(findings.trials),
        "finished": len(findings.finished),
        "hypervolume": findings.hypervolume,
        "trained_parts": sum(record.reports[-1].part for record in records.values()),
        "compute_seconds": sum(record.reports[-1].seconds for record in records.values()),
        "front": [
            {
                "trial": trial.name,
                **trial.settings,
                "r2": trial.measures["r2"],
                "bimodal": trial.measures["bimodal_energy"],
            }
            for trial in findings.front
        ],
    }


def main() -> None:
    """Run one part."""
    config: Stopping | Usage = tyro.cli(Stopping | Usage, description=__doc__)  # type: ignore[call-overload]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
        store = config.store
        if store is None:
            store = folder / "store"
            embed.run(embed.EmbedConfig(output=str(store)))
        part = stopping if isinstance(config, Stopping) else usage
        measures = part(config, store, folder)  # type: ignore[operator]
        ray.shutdown()
    print(json.dumps(measures, indent=2))
    add_measures(_RESULTS, "stopping" if isinstance(config, Stopping) else "usage", measures)


if __name__ == "__main__":
    main()
