"""A search on a fake cluster.yaml, which grows for it and shrinks again.

`python -m tests.workflows.cluster.autoscaled_sweep FOLDER` is its driver, on the cluster at RAY_ADDRESS.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.benchmarks.planted_store import planted_pairs, write_planted_store
from tests.workflows.cluster.fake_cluster import fake_cluster
from tests.workflows.processes import wait_until
from tests.workflows.searches import SEARCH
from workflows import tune
from workflows.cluster import engine
from workflows.cluster.cluster_timeline import ClusterSample, cluster_timeline

TRIALS = 8
CPUS_A_TRIAL = 16
"""Two go on a CPU worker of cluster.yaml."""
_EPOCHS = 30
_SECONDS_TO_SHRINK = 300
_SECONDS = 1200


@dataclass(frozen=True)
class AutoscaledSweep:
    """What became of a cluster and of the trials on it."""

    samples: list[ClusterSample]
    statuses: list[str]
    """How each trial ended."""
    picture: str
    """The cluster while it searched, as the search drew it."""


def autoscaled_sweep(folder: Path) -> AutoscaledSweep:
    """Start a cluster without workers, search on it, and wait until the workers are gone."""
    with fake_cluster() as address:
        command = [sys.executable, "-m", "tests.workflows.cluster.autoscaled_sweep", str(folder)]
        environment = os.environ | {"RAY_ADDRESS": address, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((folder / "sweep.json").read_text())
    return AutoscaledSweep(**kept | {"samples": [ClusterSample(**sample) for sample in kept["samples"]]})


def main(folder: Path) -> None:
    """Search with passes of one trial each."""
    store = write_planted_store(folder / "store", *planted_pairs(1500, 16), pairs_a_shard=500)
    search = replace(
        SEARCH, store=str(store), output=str(folder), searcher="random", passes=TRIALS, betas=1, cpus=CPUS_A_TRIAL,
        gpus=0, concurrent=TRIALS, training=replace(SEARCH.training, epochs=_EPOCHS, log_every=100),
    )  # fmt: skip
    engine.connect()
    with cluster_timeline() as timeline:
        findings = tune.run(search)
        assert findings is not None
        wait_until(lambda: not timeline.samples[-1].nodes, "the cluster does not shrink", _SECONDS_TO_SHRINK)
    statuses = [trial.status for trial in findings.trials]
    sweep = AutoscaledSweep(timeline.samples, statuses, f"{search.folder}/cluster.png")
    (folder / "sweep.json").write_text(json.dumps(asdict(sweep)))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
