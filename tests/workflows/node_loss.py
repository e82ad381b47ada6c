"""`python -m tests.workflows.node_loss PAIRS STORE`: embed on a cluster that loses a node."""

import sys
from pathlib import Path

from tests.workflows.cluster.nodes import cluster_of, kill_node_once
from tests.workflows.embedding_stores import ENCODER
from tests.workflows.processes import files_in
from workflows import embed
from workflows.embed import EmbedConfig


def main(pairs: str, output: str) -> None:
    config = EmbedConfig(pairs=pairs, output=output, encoder=ENCODER, rows_per_unit=50, batch_rows=20)
    with cluster_of(nodes=3, cpus=2) as (_, nodes):
        killed = kill_node_once(nodes[0], lambda: len(files_in(Path(output) / "commits", "*.json")) >= 4)
        embed.run(config)
        assert not killed.is_alive(), "the run ended before a node could be killed"


if __name__ == "__main__":
    main(*sys.argv[1:])
