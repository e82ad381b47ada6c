"""What must hold after a bad day, whatever happened in it."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient

from isoenergy import SparseAutoencoder
from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore
from tests.benchmarks.bad_day.services import Services, processes_of
from tune.passes import PassRecord, SearchFolder
from workflows.tracking.mlflow_runs import EXPERIMENT

_SECONDS_TO_END = 180.0
_ROUNDING = 2e-3
_MADE = ("store", "saes", "searches", "evaluation")
"""What the stages make, each in a run of its own."""


@dataclass(frozen=True)
class Pass:
    """One way through all stages."""

    name: str
    place: str
    """Where its store, SAEs, search and evaluation lie."""
    elastic: bool
    """Its training goes on with fewer workers where a node is lost."""


def differences(one: Pass, reference: Pass, keys: list[str], saes: list[str], passes: int) -> list[str]:
    """Return what a pass made otherwise than the undisturbed one did; nothing, if all is well."""
    return [
        f"{one.name}: {said}"
        for said in (
            _of_store(one, reference, keys),
            *(_of_sae(one, reference, sae) for sae in saes),
            _of_search(one, reference, passes),
            _of_evaluation(one, reference),
        )
        if said
    ]


def _of_store(one: Pass, reference: Pass, keys: list[str]) -> str:
    store, expected = (EmbeddingStore.open(f"{each.place}/store") for each in (one, reference))
    there, wanted = store.to_arrays(), expected.to_arrays()
    counts = Counter(there.keys.tolist())
    if sorted(counts.elements()) != sorted(keys):
        twice = sum(count > 1 for count in counts.values())
        return f"of {len(keys)} pairs {len(set(keys) - set(counts))} are missing, and {twice} there more than once"
    if store.rows_in != len(keys) or store.rejected:
        return f"{store.rows_in} rows in and {store.rejected} rejected, of {len(keys)}"
    equal = all(np.array_equal(getattr(there, each), getattr(wanted, each)) for each in ("keys", "images", "texts"))
    return "" if equal else "the embeddings are others"


def _of_sae(one: Pass, reference: Pass, name: str) -> str:
    mine, expected = (SparseAutoencoder.load(f"{each.place}/saes/{name}").dictionary for each in (one, reference))
    if torch.equal(mine, expected):
        return ""
    most = float((mine - expected).abs().max())
    return "" if one.elastic and most <= _ROUNDING else f"{name} differs by {most:.3g} in its weights"


def _of_search(one: Pass, reference: Pass, passes: int) -> str:
    mine, expected = (
        {record.id: record for record in SearchFolder(f"{each.place}/searches/search").passes()}
        for each in (one, reference)
    )
    if sorted(mine) != sorted(expected) or len(mine) != passes:
        return f"the search has the passes {sorted(mine)}, not {sorted(expected)}"
    for name, record in mine.items():
        if record.outcome is None or record.outcome.status != "finished":
            return f"{name} of the search is {record.outcome}"
        if _reported(record) != _reported(expected[name]):
            return f"{name} of the search was measured otherwise"
    return ""


def _reported(record: PassRecord) -> list[tuple[Any, ...]]:
    return [(report.part, report.step, report.measures) for report in record.reports]


def _of_evaluation(one: Pass, reference: Pass) -> str:
    mine, expected = (_evaluation(each) for each in (one, reference))
    if one.elastic:  # other weights in their last bits
        mine, expected = mine["original"], expected["original"]
    if mine == expected:
        return ""
    return f"the evaluation differs in {', '.join(_different(mine, expected))}"


def _different(mine: Any, expected: Any, place: str = "") -> list[str]:
    if isinstance(mine, dict) and isinstance(expected, dict):
        names = sorted(mine.keys() | expected.keys())
        return [said for name in names for said in _different(mine.get(name), expected.get(name), f"{place}/{name}")]
    if isinstance(mine, list) and isinstance(expected, list) and len(mine) == len(expected):
        pairs = enumerate(zip(mine, expected, strict=True))
        return [said for number, both in pairs for said in _different(*both, f"{place}/{number}")]
    return [] if mine == expected else [place]


def _evaluation(one: Pass) -> dict[str, Any]:
    filesystem, path = open_filesystem(f"{one.place}/evaluation/evaluation.json")
    found = json.loads(filesystem.cat_file(path))
    saes = [{name: sae[name] for name in ("name", "digest", "results")} for sae in found["saes"]]  # not files' names
    original = {name: value for name, value in found["original"].items() if name != "fit"}  # likewise
    return {"pairs": found["pairs"], "original": original, "saes": saes}


def statuses(services: Services, passes: list[Pass], trials: int) -> list[str]:
    """Return what MLflow says that is not so: every stage and trial has one run, and is FINISHED."""
    client = MlflowClient(services.mlflow.uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=10_000)
    said = [
        f"MLflow: {run.data.tags.get('mlflow.runName')} of {run.data.tags.get('isoenergy_output', 'a trial')} "
        f"is {run.info.status}"
        for run in runs
        if run.info.status != "FINISHED"
    ]
    for one in passes:
        its = [run for run in runs if run.data.tags.get("isoenergy_output", "").startswith(f"{one.place}/")]
        made = Counter(run.data.tags["isoenergy_output"].removeprefix(f"{one.place}/").partition("/")[0] for run in its)
        if made != Counter(_MADE):
            said.append(f"MLflow: {one.name} has runs of {dict(made)}, not one of each of {', '.join(_MADE)}")
        below = {run.info.run_id for run in its}
        count = sum(run.data.tags.get("mlflow.parentRunId") in below for run in runs)
        if count != trials:
            said.append(f"MLflow: {one.name} has {count} trials, not {trials}")
    return said


def workers_left(services: Services) -> list[str]:
    """Return the workers that are still at work though no driver is.

    But Ray's own watcher of a training: it is detached, and stays if the training is killed before it was told to watch
    (Ray 2.60).
    """

    def look() -> list[tuple[int, str]]:
        found = [(process.pid, process.cmdline()[0]) for process in services.workers()]
        return [(pid, name) for pid, name in found if name != "ray::PlacementGroupCleaner"]

    return _left(look)


def processes_left(mark: str) -> list[str]:
    """Return what still runs of all that was started."""
    return _left(lambda: [(process.pid, " ".join(process.cmdline())[:80]) for process in processes_of(mark)])


def _left(look: Callable[[], list[tuple[int, str]]]) -> list[str]:
    give_up = time.monotonic() + _SECONDS_TO_END
    found: list[tuple[int, str]] = []
    while time.monotonic() < give_up:
        with contextlib.suppress(Exception):  # one has ended between two looks
            found = look()
            if not found:
                return []
        time.sleep(0.5)
    return [f"left: {name}, process {pid}" for pid, name in found]
