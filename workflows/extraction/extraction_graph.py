"""The Ray Data graph of `isoenergy embed`: units are decoded in tasks, encoded in actors and committed by writers.

All batches of a unit go to one writer, which commits the unit once it has every pair. What is lost with a task, an
actor or a node is not committed, and done again in the next round. A unit whose task ends its process whenever it is
tried ends a round; the rounds after that do without such units.
"""

import logging
import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import ray
import ray.data
import ray.exceptions
import torch
from ray.data.exceptions import ExecutionTimeoutError
from ray.util.annotations import RayDeprecationWarning

from isoenergy.errors import InputError
from isoenergy.pairs.source import PairSource, PairUnit
from isoenergy.store.manifest import CommitRecord
from workflows.cluster.gpu import given_device
from workflows.extraction.extraction_decoding import Decode
from workflows.extraction.extraction_encoding import Encode
from workflows.extraction.extraction_placement import Placement
from workflows.extraction.extraction_stores import Stores, Work
from workflows.extraction.extraction_writing import Finished, Writer

STAGES = ("read", "decode", "encode", "write")
_MOST_BLOCKS = 20_000
_BLOCK_BYTES = 2**20
_WRITER_CPUS = 0.001  # more than none, which a head without CPUs has as well
_ENCODER_CPUS = 0.95  # less than one: a node of one CPU has writers too
TIMES_TRIED = 5
"""A task, in a round, if its process ends or its node is lost."""
_LOST = (
    ray.exceptions.ActorDiedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
)


class NothingWentOnError(Exception):
    """A part of a run came to a stop: it has no room, or its processes cannot be started."""


@dataclass(frozen=True)
class Task:
    """A unit, and what is to be done with it."""

    unit: PairUnit
    work: Work
    pairs: int | None
    """How many pairs it takes, where that is known."""


@dataclass
class ExtractionProgress:
    """What has been done so far. A pair counts once, however often a lost worker makes it be done again."""

    pairs: int = 0
    rejected: int = 0
    batches: dict[str, int] = field(default_factory=dict)
    """Those that are counted, by unit: a bit for each."""
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """Of work, over all workers, by stage."""
    waited: float = 0.0
    """Seconds, over all encoders, in which they had nothing to encode."""
    cosines: list[float] = field(default_factory=list)
    """The lowest of bfloat16 to float32 embeddings, by encoder; empty in float32."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a unit is not committed, by its name."""
    committed_again: set[str] = field(default_factory=set)
    """Units that had been committed before and now are anew."""
    records: list[list[CommitRecord]] = field(default_factory=list)
    """What writers have committed, by store."""

    def count(self, outcome: dict[str, Any]) -> None:
        """Take what became of a batch; raises InputError if a store cannot be written at all."""
        _require_hope(outcome["error"] if outcome["hopeless"] else None)
        if self._is_first(outcome):
            self.pairs += outcome["pairs"]
            self.rejected += outcome["rejected"]
        self.waited += outcome["wait_seconds"] or 0.0
        for stage in STAGES:
            self.seconds[stage] += outcome[f"{stage}_seconds"] or 0.0
        if outcome["cosines"]:
            known = self.cosines or outcome["cosines"]
            self.cosines = [min(pair) for pair in zip(known, outcome["cosines"], strict=True)]
        if outcome["error"]:
            self.failures[outcome["unit"]] = outcome["error"]

    def end(self, finished: Finished) -> None:
        """Take what a writer's commits came to; raises InputError if a store cannot be written at all."""
        self.failures |= finished.failures
        self.committed_again |= finished.committed_again
        self.seconds["write"] += finished.seconds
        known = self.records or [[] for _ in finished.records]
        self.records = [mine + its for mine, its in zip(known, finished.records, strict=True)]
        _require_hope(finished.hopeless)

    def _is_first(self, outcome: dict[str, Any]) -> bool:
        """Mark the outcome's batch as counted; return whether it was not."""
        if outcome["number"] is None:
            return False
        counted, batch = self.batches.get(outcome["unit"], 0), 1 << outcome["number"]
        self.batches[outcome["unit"]] = counted | batch
        return not counted & batch


@dataclass(frozen=True)
class _RemoteWriter:
    """A writer that is an actor; a call waits for its answer."""

    actor: Any

    def add(
        self, unit: PairUnit, work: Work, tables: list[Any], rows: int | None, file_digest: str
    ) -> tuple[str | None, float]:
        answer: tuple[str | None, float] = ray.get(self.actor.add.remote(unit, work, tables, rows, file_digest))
        return answer

    def forget(self, unit: str) -> None:
        ray.get(self.actor.forget.remote(unit))


class EncodeOnRay(Encode):
    """The encoder on what Ray has given to its actor."""

    def __init__(self, stores: Stores, writers: Sequence[Any]) -> None:
        """`writers`: actors."""
        device = given_device(bool(ray.get_gpu_ids()))
        if device.type == "cpu":
            torch.set_num_threads(cpus_of_this_node())
        super().__init__(stores, [_RemoteWriter(actor) for actor in writers], device)


@dataclass(frozen=True)
class Extraction:
    """A source, the stores that it fills, and how that is spread over the cluster."""

    source: PairSource
    stores: Stores
    duplicates: dict[str, list[int]]
    """By file, the numbers of the pairs whose key stands in an earlier place, sorted."""
    batch_rows: int
    placement: Placement
    patience: float = 600.0
    """Seconds for which nothing may go on."""

    @property
    def encoder_resources(self) -> dict[str, float]:
        """What an encoder's actor takes."""
        return {"CPU": _ENCODER_CPUS, "GPU": self.placement.gpus_per_actor}

    def run(
        self, tasks: Sequence[Task], progress: ExtractionProgress, report: Callable[[], None], passing_over: bool
    ) -> None:
        """Read, decode, encode and commit; `report()` is called whenever `progress` has changed.

        passing_over: go on without the units whose tasks fail as a whole, which otherwise ends the round.

        Raises InputError if a store cannot be written at all, and NothingWentOnError out of patience. A unit that fails
        alone is a failure in `progress`.
        """
        # A batch that is sent again replaces itself, so calls may be repeated; what a dead writer held is lost.
        writer_class = ray.remote(
            num_cpus=_WRITER_CPUS, scheduling_strategy="SPREAD", max_restarts=-1, max_task_retries=-1
        )(Writer)
        writers: list[Any] = [writer_class.remote(self.stores) for _ in range(self.placement.writers)]
        try:
            for block in self._outcomes(tasks, writers, passing_over):
                for outcome in block.to_pylist():
                    progress.count(outcome)
                report()
            for finished in ray.get([writer.finish.remote() for writer in writers]):
                progress.end(finished)
        except ExecutionTimeoutError as error:
            raise NothingWentOnError(
                f"nothing went on for {self.patience:g} s, as when workers cannot be started or end each time "
                f"({str(error).splitlines()[0]})"
            ) from error
        except _LOST as error:
            lines = str(error).strip().splitlines()
            if "creation task" in str(error):
                raise InputError(f"an encoder cannot be started: {lines[-1]}") from error
            progress.failures["lost"] = f"a part of the cluster was lost ({lines[0]})"
        finally:
            for writer in writers:
                ray.kill(writer)

    def _outcomes(self, tasks: Sequence[Task], writers: list[Any], passing_over: bool) -> Any:
        on_gpu = self.placement.gpus_per_actor > 0
        lowest, highest = self.placement.actors
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=r"ray\.data\.")  # that units may fail is no news
        # It has no other way to say max_retries.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_no_progress_timeout_s = math.ceil(self.patience)
        context.max_errored_blocks = -1 if passing_over else 0
        context.target_max_block_size = _BLOCK_BYTES  # below a message's size, so that none waits for the next
        return (  # different num_cpus keep Ray Data from fusing decoding into the encoder's actor
            ray.data.from_items([self.item(task) for task in tasks], override_num_blocks=min(len(tasks), _MOST_BLOCKS))
            .map_batches(
                Decode(self.source, self.stores, self.batch_rows, polite=not on_gpu),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=0.9 if on_gpu else 0.5,
                max_retries=TIMES_TRIED - 1,
            )
            .map_batches(
                EncodeOnRay,
                fn_constructor_args=(self.stores, writers),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=self.encoder_resources["CPU"],
                num_gpus=self.encoder_resources["GPU"],
                compute=ray.data.ActorPoolStrategy(
                    min_size=lowest,
                    max_size=highest,
                    # On CPUs the encoder's own threads wait for the one that another call has taken a core from.
                    max_concurrent_calls_per_actor=2 if on_gpu else 1,
                    enable_true_multi_threading=on_gpu,
                ),
            )
            .iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        )

    def item(self, task: Task) -> dict[str, Any]:
        """Return a task as decoding takes it."""
        unit = task.unit
        return asdict(unit) | {"work": task.work, "duplicates": duplicates_within(self.duplicates, unit)}


def duplicates_within(duplicates: dict[str, list[int]], unit: PairUnit) -> list[int]:
    """Return the numbers of a unit's pairs whose key stands in an earlier place; those of each file are sorted."""
    rows = duplicates.get(unit.file, [])
    return rows[bisect_left(rows, unit.start) : None if unit.stop is None else bisect_left(rows, unit.stop)]


def _require_hope(hopeless: str | None) -> None:
    if hopeless is not None:
        raise InputError(
            f"the store cannot be written: {hopeless}; what is committed is kept: make room or mend this, and run the "
            f"same command again"
        )


def cpus_of_this_node() -> int:
    """Return how many CPUs Ray has given to the node that this runs on."""
    here = ray.get_runtime_context().get_node_id()
    return max(1, *(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["NodeID"] == here))
