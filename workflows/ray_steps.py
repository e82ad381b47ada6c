"""Running a plan of steps as plain Ray tasks."""

from pathlib import Path
from typing import Any

import ray
from tqdm import tqdm

from workflows.steps import PlannedStep, run_step


def run_on_ray(planned: list[PlannedStep], root: Path, what: str) -> None:
    """Run what is due, as parallel as the inputs allow; `root` must be a folder that all nodes see.

    A step that fails fails all that need it; the others are finished before its exception is raised.
    """
    due = [item.step for item in planned if item.due]
    run = ray.remote(_run)
    tasks: dict[str, Any] = {}
    for step in due:
        needed = [tasks[name] for name in (n.name for n in step.inputs.values()) if name in tasks]
        tasks[step.name] = run.options(num_cpus=step.cpus).remote(step, root, *needed)
    failure: Exception | None = None
    pending = list(tasks.values())
    with tqdm(total=len(planned), initial=len(planned) - len(due), desc=what, unit=" steps") as bar:
        while pending:
            finished, pending = ray.wait(pending)
            for task in finished:
                try:
                    bar.set_postfix_str(ray.get(task))
                    bar.update()
                except Exception as error:
                    failure = failure or error
    if failure is not None:
        raise failure


def _run(step: Any, root: Path, *_needed: str) -> str:
    return run_step(step, root)
