"""The plan of `isoenergy embed`, printed before anything is done."""

from collections.abc import Sequence

from isoenergy.counts import counted, counted_range
from isoenergy.durations import duration
from isoenergy.pairs.formats.webdataset import WebDatasetPairs
from isoenergy.pairs.source import PairSource, PairUnit
from isoenergy.storage.files import without_secrets
from workflows.extraction.extraction_graph import Task
from workflows.extraction.extraction_placement import Placement
from workflows.extraction.extraction_probe import Probe
from workflows.extraction.extraction_stores import Stores


def plan(
    source: PairSource,
    units: Sequence[PairUnit],
    tasks: Sequence[Task],
    stores: Stores,
    placement: Placement,
    probed: Probe | None,
) -> str:
    """Return the plan's text; `probed`: what some pairs took, for a plan that says what all will take."""
    places = ", ".join(writer.uri for writer in stores.writers)
    encoders = ", ".join(f"{m.encoder} ({m.dim}, {m.precision}, stored as {m.dtype})" for m in stores.manifests)
    device = f"{placement.gpus_per_actor:g} GPU" if placement.gpus_per_actor else "CPU"
    total, how = _pairs(source, units, probed)
    files = counted(len(source.files), "file")
    lines = [
        f"source     {without_secrets(source.uri)}: {source.format}, {files}{source.beside}",
        f"pairs      {how}" if total is None else f"pairs      {total:,} ({how})",
        f"units      {len(units):,}, {len(tasks):,} of them to be done",
        f"encoders   {encoders}",
        f"store      {places}",
        f"resources  {counted_range(*placement.actors, 'encoder actor')} on {device}, "
        f"{placement.cpus:g} CPU{'s' * (placement.cpus != 1)} for encoding and decoding",
    ]
    if probed is not None:
        known = [task.pairs for task in tasks if task.pairs is not None]
        left = sum(known) if len(known) == len(tasks) else None if total is None else total * len(tasks) // len(units)
        lines += _expected(probed, left, placement)
    return "\n".join(lines)


def _pairs(source: PairSource, units: Sequence[PairUnit], measured: Probe | None) -> tuple[int | None, str]:
    if not isinstance(source, WebDatasetPairs):  # a file that cannot be read is one pair, rejected
        return sum(1 if unit.stop is None else unit.stop - unit.start for unit in units), "exact"
    if measured is None:
        return None, "only reading the tars will count them; --dry-run estimates"
    return source.estimated_pairs(measured.raw_bytes / measured.pairs), "estimated from the tars' size"


def _expected(measured: Probe, pairs: int | None, placement: Placement) -> list[str]:
    rate = measured.pairs_per_second(placement)
    stages = " ".join(f"{stage} {seconds / measured.pairs * 1e3:.2f}" for stage, seconds in measured.seconds.items())
    lines = [
        f"probe      {counted(measured.pairs, 'pair')}, {measured.rejected} rejected; ms a pair: {stages}; "
        f"lowest cosine to float32 {measured.cosine:.5f}"
    ]
    if pairs is not None:
        stored = measured.stored_bytes / measured.pairs * pairs
        lines.append(
            f"expected   {rate:,.0f} pairs/s, {duration(pairs / rate)} for about {counted(pairs, 'pair')}; "
            f"{stored / 1e9:,.3f} GB to store"
        )
    return lines
