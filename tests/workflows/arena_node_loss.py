"""`python -m tests.workflows.arena_node_loss FOLDER`: trials on nodes of a CPU, of which one joins and one is lost."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.workflows.cluster.nodes import cluster_of, kill_node_once
from tests.workflows.processes import files_in, wait_until
from tests.workflows.steps import number_steps
from tests.workflows.steps.number_steps import Marker
from tune.arena_trials import run_trials
from workflows.steps import step_plan
from workflows.steps.step import Step


def main(folder: Path) -> None:
    markers, steps = trainings(folder)

    def begun(count: int) -> bool:
        return len(files_in(folder, "marker-*.begun")) == count

    with cluster_of(nodes=1, cpus=1, head_cpus=1) as (cluster, nodes), ThreadPoolExecutor(1) as pool:
        planned = step_plan.plan(steps, folder / "steps")
        running = pool.submit(run_trials, planned, str(folder / "steps"), "arena")
        wait_until(lambda: begun(2), "two nodes did not begin two trainings")
        cluster.add_node(num_cpus=1)
        wait_until(lambda: begun(3), "the node that joined did not begin the third")
        kill_node_once(nodes[0], lambda: True).join()
        for file in markers:
            file.write_text("")
        running.result()


def trainings(folder: Path) -> tuple[list[Path], list[Step]]:
    """Return three steps that each wait for a file of their own."""
    files = [folder / f"marker-{number}" for number in range(3)]
    return files, [Step(f"waits/seed-{n}", number_steps.wait_for, Marker(str(file))) for n, file in enumerate(files)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
