"""What runs the stages of `isoenergy embed`: Ray, or this process, one batch after the other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import pyarrow as pa
import torch

from isoenergy.pairs.source import PairSource, PairUnit
from workflows.cluster import engine
from workflows.cluster.gpu import require_usable_gpus
from workflows.cluster.patience import PATIENCE_MINUTES
from workflows.cluster.storage_watch import storage_watched
from workflows.cluster.waiting import Pending, Waiting, out_of_patience
from workflows.extraction.extraction_decoding import Decode
from workflows.extraction.extraction_encoding import Encode
from workflows.extraction.extraction_graph import Extraction, ExtractionProgress, NothingWentOnError, Task
from workflows.extraction.extraction_placement import Placement
from workflows.extraction.extraction_probe import Probe, probe, probe_on
from workflows.extraction.extraction_stores import Stores
from workflows.extraction.extraction_writing import Writer


class ExtractionEngine(Protocol):
    """Maps units through decoding, encoding and writing."""

    def place(self, actors: tuple[int, int] | None, gpus_per_actor: float) -> Placement:
        """Return what a run takes; raises InputError if there is not as much."""
        ...

    def probe(self, units: list[PairUnit], source: PairSource, stores: Stores, placement: Placement) -> Probe:
        """Measure what a few pairs take."""
        ...

    def run(
        self,
        extraction: Extraction,
        tasks: Sequence[Task],
        progress: ExtractionProgress,
        report: Callable[[], None],
        passing_over: bool,
    ) -> None:
        """Do the tasks; `report()` is called whenever `progress` has changed. See `Extraction.run`."""
        ...


class OnRay:
    """The engine of a cluster, or of one machine's cores."""

    def __init__(self, patience: float = 60 * PATIENCE_MINUTES) -> None:
        """`patience`: seconds that work may wait for room."""
        self._patience = patience

    def place(self, actors: tuple[int, int] | None, gpus_per_actor: float) -> Placement:
        """Connect to Ray, and fit the run to what it has."""
        engine.connect(patience=self._patience)
        placement = Placement.fit(actors, gpus_per_actor)
        if placement.gpus_per_actor:
            require_usable_gpus()
        return placement

    def probe(self, units: list[PairUnit], source: PairSource, stores: Stores, placement: Placement) -> Probe:
        """Measure with the resources of an encoder actor."""
        return probe(units, source, stores, placement, self._patience)

    def run(
        self,
        extraction: Extraction,
        tasks: Sequence[Task],
        progress: ExtractionProgress,
        report: Callable[[], None],
        passing_over: bool,
    ) -> None:
        """Do the tasks in as many processes as the placement has."""
        extraction = replace(extraction, patience=self._patience)
        pending = Pending(extraction.encoder_resources)
        seen: list[tuple[int, ...]] = []

        def waits() -> str:
            now = progress.pairs, progress.rejected, len(progress.batches), len(progress.failures)
            if not seen or seen[-1] != now:
                seen[:] = [now]
                return ""
            count = pending.count()
            return f"{pending.text(count)}, which encoders take" if count else ""

        # Its patience is Ray Data's, which takes down with it what it has begun.
        waiting = Waiting("embed", math.inf, waits)
        with storage_watched(extraction.stores.writers[0].uri):
            try:
                engine.interruptibly(lambda: extraction.run(tasks, progress, report, passing_over), waiting.look)
            except NothingWentOnError as error:
                if what := waits():
                    raise out_of_patience("embed", what, self._patience) from error
                progress.failures["lost"] = str(error)


class Here:
    """The engine of this process and its CPUs, without Ray."""

    def place(self, actors: tuple[int, int] | None, gpus_per_actor: float) -> Placement:
        """Return the one encoder and the one writer that there are."""
        del actors, gpus_per_actor
        return Placement((1, 1), gpus_per_actor=0.0, cpus=1.0, writers=1)

    def probe(self, units: list[PairUnit], source: PairSource, stores: Stores, placement: Placement) -> Probe:
        """Measure in this process."""
        del placement
        return probe_on(torch.device("cpu"), units, source, stores)

    def run(
        self,
        extraction: Extraction,
        tasks: Sequence[Task],
        progress: ExtractionProgress,
        report: Callable[[], None],
        passing_over: bool,
    ) -> None:
        """Do the tasks; no process ends whose tasks could be passed over."""
        del passing_over
        writer = Writer(extraction.stores)
        decode = Decode(extraction.source, extraction.stores, extraction.batch_rows, polite=False)
        encode = Encode(extraction.stores, [writer], torch.device("cpu"))
        for task in tasks:
            for message in decode(pa.Table.from_pylist([extraction.item(task)])):
                for outcome in encode(message).to_pylist():
                    progress.count(outcome)
                report()
        progress.end(writer.finish())
