"""The arena's trainings as trials of Ray Tune: each is a step, whose record says whether it is done."""

import traceback
from collections.abc import Sequence
from typing import Any

import ray.tune

from isoenergy.errors import InputError
from isoenergy.storage.files import absolute_uri
from tune.placement import room_for
from tune.tuner import run_tuner, waiting_trials
from workflows.cluster.cluster_size import ClusterSize, Resources
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.steps.on_ray import forget_on_all_nodes, step_failure
from workflows.steps.step import FixedStep, PlannedStep, Step
from workflows.steps.step_execution import StepError
from workflows.steps.step_placement import place
from workflows.steps.step_progress import StepProgress
from workflows.steps.step_storage import storage_at
from workflows.steps.step_worker import run_in_worker

_TRAINING = "training"
_RETRIES = 3


def run_trials(
    planned: Sequence[PlannedStep], root: str, what: str, patience: float = 60 * PATIENCE_MINUTES
) -> ray.tune.ResultGrid | None:
    """Run the trainings that are due, a trial each, as many at a time as there is room for; return Tune's results.

    Their inputs are done, and all ask for the same resources; those that wait make a cluster grow, and nodes that join
    are used. A training that fails is a trial that ends with its error in `failed`: the others are finished before it
    is raised. One whose worker or node is lost is begun anew, in another process; one that is done is not done again,
    whatever Tune knows of it.

    root: folder that all nodes see, or fsspec URL. what: is run, for people. patience: seconds for which none may have
    room. Raises InputError, and runs nothing, if no node can hold one, or another run is at work in `root`, which an
    object store does not tell; and out of patience.
    """
    due = [item.step for item in planned if item.due]
    if not due:
        return None
    bundle, room = _placed(due)
    settings = ray.tune.TuneConfig(
        max_concurrent_trials=len(due),  # not what there is room for now: nodes that join are used
        reuse_actors=True,
        trial_name_creator=_named,
        trial_dirname_creator=lambda trial: f"{_named(trial).replace('/', '-')}-{trial.trial_id}",
    )
    trainable = ray.tune.with_resources(_trainable({step.name: step.fixed(root) for step in due}, bundle), bundle)
    with storage_at(root).alone(), StepProgress(due, what) as progress:
        listener = _Listener(progress)
        waiting = waiting_trials(what, "training", patience, bundle, lambda: len(listener.at_work))
        space = {_TRAINING: ray.tune.grid_search([step.name for step in due])}
        try:
            results = run_tuner(trainable, settings, listener, absolute_uri(root), room, _RETRIES, waiting, space)
        finally:
            forget_on_all_nodes(root)
        progress.end()
    if listener.failed:
        raise _failure(listener.failed[0], results)
    return results


def _placed(steps: Sequence[Step]) -> tuple[Resources, int]:
    """Return the resources of a trial, and how many of them there is room for."""
    size = ClusterSize.of_this_one()
    asked = place(steps, size)[steps[0].name]
    amounts = {"CPU": asked["num_cpus"], "GPU": asked["num_gpus"], "memory": asked.get("memory", 0)}
    bundle = {kind: float(amount) for kind, amount in amounts.items() if amount}
    if "CPU" not in bundle:
        raise InputError("no node of the cluster has a CPU for trainings; add one, or run with --here")
    return bundle, room_for(bundle, size)


def _trainable(steps: dict[str, FixedStep], bundle: Resources) -> Any:
    """Return what Ray Tune runs with `{"training": name}`; what it refers to is all that a worker imports."""

    def train(config: dict[str, Any]) -> None:
        step = steps[config[_TRAINING]]
        try:
            code, seconds = run_in_worker(step, bundle["CPU"], bundle.get("memory", 0))
        except (InputError, StepError) as error:  # raised, it would be tried again, and cost the worker
            found = {"failed": str(error), "input_error": isinstance(error, InputError)}
            ray.tune.report({**found, "traceback": traceback.format_exc()})
        else:
            ray.tune.report({"failed": "", "code": code, "seconds": seconds})

    return train


class _Listener(ray.tune.Callback):
    """Shows what Ray Tune is at, and keeps in which order trainings failed."""

    def __init__(self, progress: StepProgress) -> None:
        self._progress = progress
        self.at_work: list[str] = []
        self.failed: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Ray Tune pickles its callbacks, for a way to resume that is not ours."""
        return {}

    def on_step_end(self, **_info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        self._progress.show(lambda: sorted(self.at_work))

    def on_trial_start(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        self.at_work.append(_named(info["trial"]))

    def on_trial_recover(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        self._ended(info["trial"])

    def on_trial_complete(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        name, result = self._ended(info["trial"]), info["trial"].last_result
        if result["failed"]:
            self._fails(name)
        else:
            self._progress.done(name, result["code"], result["seconds"])

    def on_trial_error(self, **info: Any) -> None:  # type: ignore[override] # Ray calls it with names
        self._fails(self._ended(info["trial"]))

    def _ended(self, trial: Any) -> str:
        name = _named(trial)
        if name in self.at_work:
            self.at_work.remove(name)
        return name

    def _fails(self, name: str) -> None:
        self._progress.say(f"{name} failed; the others go on")
        self.failed.append(name)


def _failure(name: str, results: ray.tune.ResultGrid) -> Exception:
    """Return what a training raised, as it would be raised here; Ray's own words on one that was lost too often."""
    trials = (results[number] for number in range(len(results)))
    result = next(trial for trial in trials if trial.config == {_TRAINING: name})
    if result.error is not None:
        return step_failure(name, result.error)
    reported: dict[str, Any] = result.metrics or {}
    failure = (InputError if reported["input_error"] else StepError)(reported["failed"])
    failure.__cause__ = StepError(reported["traceback"])
    return failure


def _named(trial: Any) -> str:
    return str(trial.config[_TRAINING])
