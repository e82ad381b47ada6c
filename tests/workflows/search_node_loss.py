"""`python -m tests.workflows.search_node_loss STORE OUTPUT`: search on two nodes, one of which is lost."""

import sys
from dataclasses import replace
from pathlib import Path

import ray

from isoenergy.training.trainer import TrainingConfig
from tests.workflows.cluster.nodes import cluster_of, kill_node_once
from tests.workflows.processes import files_in
from tests.workflows.searches import SEARCH
from workflows import tune

NODE_LOSS = replace(SEARCH, passes=4, concurrent=3, training=TrainingConfig(epochs=150, log_every=20))


def main(store: str, output: str) -> None:
    config = replace(NODE_LOSS, store=store, output=output)
    with cluster_of(nodes=2, cpus=1, head_cpus=1) as (_, nodes):

        def in_mid_pass() -> bool:
            return len(files_in(Path(output) / "search/passes", "*/reports.json")) >= 2 and _is_used(nodes[0])

        killed = kill_node_once(nodes[0], in_mid_pass)
        findings = tune.run(config)
        assert not killed.is_alive(), "the search ended before a node could be killed"
        assert findings is not None


def _is_used(node: object) -> bool:
    """Whether a pass runs on a node of `ray.cluster_utils`."""
    names = {each["NodeID"]: f"{each['NodeManagerAddress']}:{each['ObjectStoreSocketName']}" for each in ray.nodes()}
    actors = ray._private.state.actors().values()
    places = [names[actor["Address"]["NodeID"]] for actor in actors if actor["State"] == "ALIVE"]
    return node.unique_id in places  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
