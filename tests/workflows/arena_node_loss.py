"""`python -m tests.workflows.arena_node_loss FOLDER`: trials on three nodes of a CPU, one of which is lost."""

import sys
import threading
from pathlib import Path

from tests.workflows.cluster.nodes import cluster_of, kill_node_once
from tests.workflows.steps import number_steps
from tests.workflows.steps.number_steps import Marker
from tune.arena_trials import run_trials
from workflows.steps import step_plan
from workflows.steps.step import Step


def main(folder: Path) -> None:
    marker, steps = trainings(folder)
    with cluster_of(nodes=2, cpus=1, head_cpus=1) as (_, nodes):
        killed = kill_node_once(nodes[0], lambda: len(list(folder.glob("marker-*.begun"))) == len(steps))

        def go_on() -> None:
            killed.join()
            for file in marker:
                file.write_text("")

        threading.Thread(target=go_on, daemon=True).start()
        run_trials(step_plan.plan(steps, folder / "steps"), str(folder / "steps"), "arena")
        assert not killed.is_alive(), "the trainings ended before a node could be killed"


def trainings(folder: Path) -> tuple[list[Path], list[Step]]:
    """Return three steps that each wait for a file of their own."""
    files = [folder / f"marker-{number}" for number in range(3)]
    return files, [Step(f"waits/seed-{n}", number_steps.wait_for, Marker(str(file))) for n, file in enumerate(files)]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
