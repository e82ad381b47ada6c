"""What runs the stages of `isoenergy embed`: Ray, or this process, one batch after the other."""

from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa
import torch

from isoenergy.pairs.source import PairSource, PairUnit
from workflows.cluster import engine
from workflows.cluster.gpu import require_usable_gpus
from workflows.extraction.extraction_decoding import Decode
from workflows.extraction.extraction_encoding import Encode
from workflows.extraction.extraction_graph import Extraction, ExtractionProgress, Task
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

    def place(self, actors: tuple[int, int] | None, gpus_per_actor: float) -> Placement:
        """Connect to Ray, and fit the run to what it has."""
        engine.connect()
        placement = Placement.fit(actors, gpus_per_actor)
        if placement.gpus_per_actor:
            require_usable_gpus()
        return placement

    def probe(self, units: list[PairUnit], source: PairSource, stores: Stores, placement: Placement) -> Probe:
        """Measure with the resources of an encoder actor."""
        return probe(units, source, stores, placement)

    def run(
        self,
        extraction: Extraction,
        tasks: Sequence[Task],
        progress: ExtractionProgress,
        report: Callable[[], None],
        passing_over: bool,
    ) -> None:
        """Do the tasks in as many processes as the placement has."""
        extraction.run(tasks, progress, report, passing_over)


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
