"""`python -m tests.benchmarks.autoscaling`: draw how cluster.yaml grows for a sweep, as docs/autoscaling.png."""

import tempfile
from pathlib import Path

from isoenergy.report.cluster_growth import cluster_growth
from isoenergy.report.figures import as_bytes
from tests.workflows.autoscaled_sweep import TRIALS, autoscaled_sweep
from tests.workflows.fake_cluster import CLUSTER

_PICTURE = Path(__file__).parents[2] / "docs" / "autoscaling.png"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sweep = autoscaled_sweep(Path(folder))
    seen = {name for sample in sweep.samples for name in sample.nodes}
    types = [name for name in CLUSTER["available_node_types"] if name in seen]
    figure = cluster_growth(
        [sample.seconds for sample in sweep.samples],
        {name: [sample.nodes.get(name, 0) for sample in sweep.samples] for name in types},
        [sample.pending for sample in sweep.samples],
        [sample.in_use["GPU"] / sweep.gpus for sample in sweep.samples],
        f"{TRIALS} trials on cluster.yaml, whose machines are processes here",
    )
    _PICTURE.write_bytes(as_bytes(figure, "png"))
    most = max(sum(sample.nodes.values()) for sample in sweep.samples)
    print(f"{len(sweep.ended)} of {TRIALS} trials ended; at most {most} nodes; {_PICTURE}")


if __name__ == "__main__":
    main()
