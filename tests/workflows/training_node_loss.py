"""`python -m tests.workflows.training_node_loss STORE OUTPUT`: train on two nodes, one of which is lost."""

import json
import sys
from pathlib import Path

import ray

from isoenergy.training.trainer import TrainingConfig
from tests.workflows.cluster.nodes import cluster_of, kill_node_once
from tests.workflows.processes import files_in
from workflows import train
from workflows.train import TrainConfig
from workflows.training.training_placement import Workers

TRAINING = TrainingConfig(
    beta=(0.0, 1e-3), expansion=2, k=4, epochs=200, batch_pairs=60, learning_rate=5e-3, checkpoint_every=40
)


def main(store: str, output: str) -> None:
    config = TrainConfig(store=store, output=output, workers=Workers(1, 2), training=TRAINING)
    with cluster_of(nodes=2, cpus=1, head_cpus=0) as (_, nodes):
        checkpoints = Path(output) / "checkpoints"

        reached = []

        def half_way_on_both() -> bool:
            reached[:] = [int(file.parent.name[-8:]) for file in files_in(checkpoints, "step-*/complete.json")]
            return len(reached) >= 2 and nodes[0].unique_id in _nodes_that_train()

        killed = kill_node_once(nodes[0], half_way_on_both)
        train.run(config)
        steps = json.loads((Path(output) / "done.json").read_text())["steps"]
        assert not killed.is_alive(), "the run ended before a node could be killed"
        assert max(reached) < steps
        (counter,) = (actor for actor in ray._private.state.actors().values() if actor["ActorClassName"] == "_Counter")
        here = ray.get_runtime_context().get_node_id()
        assert counter["Address"]["NodeID"] == here, "the progress bar's counter may die with a node"


def _nodes_that_train() -> set[str]:
    """What `ray.cluster_utils` calls the nodes on which a worker is alive."""
    names = {node["NodeID"]: f"{node['NodeManagerAddress']}:{node['ObjectStoreSocketName']}" for node in ray.nodes()}
    actors = ray._private.state.actors().values()
    workers = [actor for actor in actors if actor["ActorClassName"] == "RayTrainWorker" and actor["State"] == "ALIVE"]
    return {names[worker["Address"]["NodeID"]] for worker in workers}


if __name__ == "__main__":
    main(*sys.argv[1:])
