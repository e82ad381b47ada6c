"""The plan of `isoenergy apply`, printed before anything is done, and what it is reckoned from."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from isoenergy.counts import counted, counted_range
from isoenergy.durations import duration
from isoenergy.storage.files import without_secrets
from isoenergy.store import EmbeddingStore
from workflows.applying.applying_placement import ApplyingPlacement
from workflows.applying.applying_units import UnitTask, UnitWork

_WARMING_PAIRS = 64


@dataclass(frozen=True)
class ApplyingProbe:
    """What the pairs of one unit took one worker."""

    pairs: int
    seconds: dict[str, float]
    """By stage."""
    stored_bytes: int


def probe(work: UnitWork, task: UnitTask, rows: int) -> ApplyingProbe:
    """Read a unit, make its columns and the file that would be written, and write nothing."""
    grams = work.application.grams(rows)
    start = time.perf_counter()
    table = work.source.read(task.record)
    read = time.perf_counter() - start
    work.columns(table.slice(0, _WARMING_PAIRS), task.record, grams)
    start = time.perf_counter()
    shard, _ = work.columns(table, task.record, grams)
    encoded = time.perf_counter() - start
    start = time.perf_counter()
    stored = work.stored_bytes(shard)
    return ApplyingProbe(len(table), {"read": read, "encode": encoded, "write": time.perf_counter() - start}, stored)


def plan(
    sae: str,
    source: EmbeddingStore,
    work: UnitWork,
    tasks: Sequence[UnitTask],
    placement: ApplyingPlacement,
    fitted: str,
    probed: ApplyingProbe | None,
) -> str:
    """Return the plan's text; `probed`: for a plan that says what it will take."""
    application = work.application
    pairs = sum(task.record.pairs_in("all") for task in tasks)
    device = f"{placement.gpus_per_worker:g} GPU" if placement.gpus_per_worker else "a CPU"
    again = sum(task.laid_out_again for task in tasks)
    norms = " of unit norm" * application.normalised
    lines = [
        f"store      {without_secrets(source.uri)}: {len(source):,} pairs, {', '.join(work.source.modalities)}",
        f"SAE        {without_secrets(sae)}: {application.sae.config.atoms:,} atoms, k = {application.sae.config.k}",
        f"write      {', '.join(application.writes)} as {application.dtype}{norms}",
        f"fitted     {fitted}",
        f"output     {without_secrets(work.writer.uri)}",
        f"units      {len(source.commits):,}, {len(tasks):,} of them to be done, with {counted(pairs, 'pair')}",
        *([f"layouts    {again:,} of them are there, and get their files beside the Parquet again"] if again else []),
        f"resources  {counted_range(min(placement.now, placement.most), placement.most, 'worker')} on {device} each",
    ]
    if probed is not None and probed.pairs:
        stages = " ".join(f"{stage} {took / probed.pairs * 1e3:.3f}" for stage, took in probed.seconds.items())
        rate = probed.pairs / sum(probed.seconds.values()) * placement.most
        lines += [
            f"probe      {counted(probed.pairs, 'pair')}; ms a pair: {stages}",
            f"expected   {rate:,.0f} pairs/s on {counted(placement.most, 'worker')}, {duration(pairs / rate)}; "
            f"{probed.stored_bytes / probed.pairs * pairs / 1e9:,.3f} GB to store",
        ]
    return "\n".join(lines)
