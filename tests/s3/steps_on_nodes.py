"""`python -m tests.s3.steps_on_nodes ROOT FOLDER`: steps on Ray nodes that have a folder for temporary files each."""

import json
import sys
from pathlib import Path

from tests.workflows.cluster.nodes import cluster_of
from tests.workflows.steps.number_steps import Number, add, add_and_tell_where, read
from workflows.steps import on_ray, step_plan
from workflows.steps.step import Step

NODES, PARTS = 3, 9


def total() -> Step:
    """A sum of parts, each of which takes long enough that every node gets some."""
    first = Step("first", read, Number(100))
    parts = {
        f"part-{n:05d}": Step(f"parts/{n:05d}", add_and_tell_where, Number(n), {"first": first}) for n in range(PARTS)
    }
    return Step("total", add, None, {**parts, "first": first})


def main(root: str, folder: str) -> None:
    """Run the sum and print where each part found its input."""
    target = total()
    with cluster_of(nodes=0, cpus=0, head_cpus=0) as (cluster, _):
        for number in range(NODES):
            temporary = Path(folder, f"node-{number}")
            temporary.mkdir()
            cluster.add_node(num_cpus=1, env_vars={"TMPDIR": str(temporary)})
        cluster.wait_for_nodes()
        on_ray.run_on_ray(step_plan.plan([target], root), root, "test")
    parts = [step for name, step in target.inputs.items() if name != "first"]
    print(json.dumps([step_plan.result(step, root)["input"] for step in parts]))


if __name__ == "__main__":
    main(*sys.argv[1:])
