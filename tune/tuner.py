"""Ray Tune as it is run here: what counts is on record elsewhere, so that nothing of its own is kept or shown."""

import os
from collections.abc import Callable
from typing import Any

import pyarrow.fs
import ray.tune

from isoenergy.storage.files import open_filesystem
from workflows.cluster import engine
from workflows.cluster.ray_storage import ray_storage
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Pending, Waiting

_STORAGE = ".ray"


def run_tuner(
    trainable: Any,
    settings: ray.tune.TuneConfig,
    listener: ray.tune.Callback,
    root: str,
    pending: int,
    retries: int,
    waiting: Waiting,
    space: dict[str, Any] | None = None,
) -> ray.tune.ResultGrid:
    """Run trials until there are no more, and return what came of each; trials that fail do not raise.

    root: folder or fsspec URL that all nodes see, in which Tune has a folder while it runs. pending: how many trials
    may ask for room that is not there, which makes a cluster grow. retries: of a trial whose worker or node is lost.
    space: what trials are of, if no searcher suggests them.

    Raises InputError when `waiting` is out of patience.
    """
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # else verbose=0 still prints a box
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # a lost worker's trial is begun anew, and listeners say what fails
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(pending)
    filesystem, path = open_filesystem(root)
    tuner = ray.tune.Tuner(
        trainable,
        param_space=space or {},
        tune_config=settings,
        run_config=ray.tune.RunConfig(
            name=_STORAGE,
            storage_path=path,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            failure_config=ray.tune.FailureConfig(max_failures=retries),
            callbacks=[listener],
            verbose=0,
        ),
    )
    results: list[ray.tune.ResultGrid] = []
    with ray_storage(f"{root}/{_STORAGE}"), storage_watched(root):
        engine.interruptibly(lambda: results.append(tuner.fit()), waiting.look)
    return results[0]


def waiting_trials(
    stage: str, what: str, patience: float, bundle: dict[str, float], at_work: Callable[[], int]
) -> Waiting:
    """Return what looks after trials that each take `bundle`: they wait while none is at work.

    what: a trial, for people. at_work: how many are. See `Waiting`.
    """
    pending = Pending(bundle)

    def waits() -> str:
        count = 0 if at_work() else pending.count()
        return f"{pending.text(count)} (no {what} is at work)" if count else ""

    return Waiting(stage, patience, waits)
