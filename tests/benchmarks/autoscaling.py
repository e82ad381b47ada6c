"""`python -m tests.benchmarks.autoscaling`: draw how cluster.yaml grows for a search, as docs/autoscaling.png."""

import tempfile
from pathlib import Path

from isoenergy.report.figures.shared import as_bytes
from tests.workflows.cluster.autoscaled_sweep import CPUS_A_TRIAL, TRIALS, autoscaled_sweep
from tests.workflows.cluster.fake_cluster import CLUSTER
from tune.publishing import growth_figure

_PICTURE = Path(__file__).parents[2] / "docs" / "autoscaling.png"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sweep = autoscaled_sweep(Path(folder))
    types = [*CLUSTER["available_node_types"]]
    title = f"A search of {TRIALS} trials on cluster.yaml, whose machines are processes here"
    _PICTURE.write_bytes(as_bytes(growth_figure(sweep.samples, types, "CPU", CPUS_A_TRIAL, title), "png"))
    most = max(sum(sample.nodes.values()) for sample in sweep.samples)
    print(f"{sweep.statuses.count('finished')} of {TRIALS} trials ended; at most {most} nodes; {_PICTURE}")


if __name__ == "__main__":
    main()
