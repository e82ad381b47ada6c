"""A sweep on a fake cluster.yaml, which grows for it and shrinks again.

`python -m tests.workflows.autoscaled_sweep FOLDER` is its driver, on the cluster at RAY_ADDRESS.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.tune

from tests.workflows.fake_cluster import fake_cluster
from tests.workflows.processes import wait_until
from tune.config import SearchConfig
from tune.placement import PassPlacement
from workflows import engine
from workflows.cluster_timeline import ClusterSample, cluster_timeline

TRIALS = 8
_SECONDS_A_TRIAL = 10
_SECONDS_TO_SHRINK = 300
_SECONDS = 1200


@dataclass(frozen=True)
class AutoscaledSweep:
    """What became of a cluster and of the trials on it."""

    samples: list[ClusterSample]
    ended: list[int]
    """Numbers of the trials that came to their end."""
    gpus: float
    """Of each trial."""


def autoscaled_sweep(folder: Path) -> AutoscaledSweep:
    """Start a cluster without workers, run the sweep on it, and wait until the workers are gone."""
    with fake_cluster() as address:
        command = [sys.executable, "-m", "tests.workflows.autoscaled_sweep", str(folder)]
        environment = os.environ | {"RAY_ADDRESS": address}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((folder / "sweep.json").read_text())
    return AutoscaledSweep(**kept | {"samples": [ClusterSample(**sample) for sample in kept["samples"]]})


def trial(config: dict[str, Any]) -> None:
    """Do nothing for a while, once all trials are at it."""
    started = Path(config["started"])
    (started / str(config["number"])).touch()
    while len(list(started.iterdir())) < TRIALS:
        time.sleep(0.1)
    time.sleep(_SECONDS_A_TRIAL)
    ray.tune.report({"number": config["number"]})


def main(folder: Path) -> None:
    """Run as many trials as there are, each with what a pass of `isoenergy tune` takes of the cluster."""
    started = folder / "started"
    started.mkdir(parents=True)
    engine.connect()
    placement = PassPlacement.fit(SearchConfig())
    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trial, placement.resources),
        param_space={"number": ray.tune.grid_search([*range(TRIALS)]), "started": str(started)},
        tune_config=ray.tune.TuneConfig(max_concurrent_trials=placement.concurrent),
        run_config=ray.tune.RunConfig(storage_path=str(folder / "tune"), verbose=0),
    )
    with cluster_timeline() as timeline:
        results = tuner.fit()
        wait_until(lambda: not timeline.samples[-1].nodes, "the cluster does not shrink", _SECONDS_TO_SHRINK)
    ended = sorted(result.metrics["number"] for result in results if result.metrics)
    sweep = AutoscaledSweep(timeline.samples, ended, placement.gpus)
    (folder / "sweep.json").write_text(json.dumps(asdict(sweep)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
