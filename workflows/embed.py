"""`isoenergy embed`: image-text pairs to an embedding store."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from itertools import chain

from tqdm import tqdm

from isoenergy.counts import counted
from isoenergy.encoders import DualEncoder, Precision, load_encoders
from isoenergy.encoders.dual_encoder import is_layer
from isoenergy.errors import InputError
from isoenergy.pairs.download.downloader import Downloader
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.rejection import Reason
from isoenergy.pairs.source import PairColumns, PairSource, PairUnit, SourceConfig
from isoenergy.storage.files import without_secrets
from isoenergy.store import EmbeddingStore, Manifest, StoreWriter
from isoenergy.store.manifest import CommitRecord
from isoenergy.store.retry import retriable_pairs
from workflows.cluster.lock import alone_in
from workflows.command import run_command
from workflows.extraction.extraction_duplicates import Records, duplicate_rows
from workflows.extraction.extraction_engines import ExtractionEngine, OnRay
from workflows.extraction.extraction_graph import TIMES_TRIED, Extraction, ExtractionProgress, Task, duplicates_within
from workflows.extraction.extraction_placement import Placement
from workflows.extraction.extraction_plan import plan
from workflows.extraction.extraction_stores import Stores
from workflows.extraction.extraction_summary import ExtractionMeasures, progress_text, summary_json, table
from workflows.settings.embed_settings import EmbedConfig, parse
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import require_writable
from workflows.tracking.run_names import run_name

_ROUNDS_WITHOUT_A_COMMIT = 2
_FILES_AT_ONCE = 32
_SHOWN_FAILURES = 5
_SECONDS_BETWEEN_POINTS = 10.0


def run(
    config: EmbedConfig, parent: mlflow_runs.Run | None = None, engine: ExtractionEngine | None = None
) -> list[EmbeddingStore]:
    """Embed what the stores lack and return them, whole, one an encoder; none after a dry run.

    engine: Ray, if none is given.
    """
    engine = engine or OnRay(60 * config.patience)
    chosen = SourceConfig(
        config.pairs, config.format, config.columns, config.images, config.captions, config.captions_seed
    )
    source = open_source(chosen, Downloader(config.download).fetch)
    writers = tuple(StoreWriter(output) for output in config.outputs())
    encoders = load_encoders(config.encoders)
    if not config.dry_run:
        for output in config.outputs():
            require_writable(output)
    placement = engine.place(config.actors, config.gpus_per_actor)
    committed = [writer.committed() for writer in writers]
    units = source.units(config.rows_per_unit)
    manifests = tuple(
        _manifest(encoder, source, len({unit.name for unit in units} | set(done)), config, placement)
        for encoder, done in zip(encoders, committed, strict=True)
    )
    del encoders  # the workers load their own
    stores = Stores(writers, manifests, source.passed_through, config.compile)
    held = [writer.holds(manifest) for writer, manifest in zip(writers, manifests, strict=True)]
    again = _changed(source, units, committed, config) if any(held) else set()
    files = list(dict.fromkeys(chain(*(writer.known_files() for writer in writers), source.files)))
    duplicates: dict[str, list[int]] | None = (
        duplicate_rows(source, units, files, writers, committed) if again else None
    )
    tasks = _tasks(units, committed, again, duplicates, config.retry_rejected)
    probing = config.dry_run and bool(tasks)
    probed = engine.probe([task.unit for task in tasks], source, stores, placement) if probing else None
    print(plan(source, units, tasks, stores, placement, probed))
    if config.dry_run:
        return []
    with alone_in(*config.outputs()):
        for writer, manifest in zip(writers, manifests, strict=True):
            writer.begin(manifest, files)
        called = run_name("embed", ", ".join(manifest.encoder for manifest in manifests))
        with mlflow_runs.stage("embed", config, config.output, parent, called, is_done=not tasks) as stage:
            measures = ExtractionMeasures()
            if tasks:
                if duplicates is None:
                    duplicates = duplicate_rows(source, units, files, writers, committed)
                committed.clear()
                extraction = Extraction(source, stores, duplicates, config.batch_rows, placement)
                measures = _extract_all(engine, extraction, tasks, len(units), stage)
            opened = [
                _whole(writer, manifest, measures if tasks else None)
                for writer, manifest in zip(writers, manifests, strict=True)
            ]
            stage.metrics(measures.metrics(), step=measures.pairs)
            stage.tags({f"store_fingerprint{n or ''}": store.fingerprint for n, store in enumerate(opened)})
            for store in opened:
                stage.dataset(store.uri, store.fingerprint, "output", store.manifest.source)
    print(table(opened, measures))
    return opened


def _whole(writer: StoreWriter, manifest: Manifest, measures: ExtractionMeasures | None) -> EmbeddingStore:
    """Settle a store that has everything, open it, and keep with it what the run came to, if it did anything.

    So it is too where the run that did it all ended before it could say so.
    """
    writer.settle(manifest.units)
    store = EmbeddingStore.open(writer.uri)
    store.require_complete()
    if measures is not None or not writer.has_summary():
        writer.write_summary(summary_json(store, measures or ExtractionMeasures()))
    return store


def _manifest(
    encoder: DualEncoder, source: PairSource, units: int, config: EmbedConfig, placement: Placement
) -> Manifest:
    automatic: Precision = "bfloat16" if placement.gpus_per_actor else "float32"
    return Manifest(
        encoder=encoder.name,
        encoder_digest=encoder.digest,
        preprocessing=encoder.preprocessor.describe(),
        precision=automatic if config.precision == "auto" else config.precision,
        dim=encoder.dim,
        dtype=config.dtype,
        source=without_secrets(source.uri),
        source_images=without_secrets(config.images),
        source_format=source.format,
        columns=_columns(config.columns),
        captions=config.captions,
        captions_seed=config.captions_seed,
        passed_through={field.name: str(field.type) for field in source.passed_through},
        rows_per_unit=config.rows_per_unit,
        batch_rows=config.batch_rows,
        units=units,
        software={
            name: version(name) for name in ("isoenergy", "torch", "open_clip_torch", "transformers", "ray", "pyarrow")
        },
        hidden_states=encoder.reading if is_layer(encoder) else {},
        **asdict(config.reading),
    )


def _columns(columns: PairColumns) -> dict[str, str]:
    """Return the columns as a manifest has them; a separator that is recognised is not in it."""
    return {name: value for name, value in asdict(columns).items() if value or name != "separator"}


def _changed(
    source: PairSource, units: Sequence[PairUnit], committed: Sequence[Records], config: EmbedConfig
) -> set[str]:
    """Return the files that were written again since a store embedded them, where that is what a retry is for.

    Raises InputError for other files that were, or if none of a store's files is in this source.
    """
    digests: dict[str, set[str]] = {}
    for output, done in zip(config.outputs(), committed, strict=True):
        if done and not {record.file for record in done.values()} & set(source.files):
            raise InputError(
                f"{output} holds files such as {min(record.file for record in done.values())}, and none of them is in "
                f"{without_secrets(source.uri)}; give the source that it was made from, or another output"
            )
        for record in done.values():
            digests.setdefault(record.file, set()).add(record.file_digest)
    tags = source.listed_tags()
    here = sorted(set(digests) & set(source.files))
    here = [file for file in here if {_tag(digest) for digest in digests[file]} != {tags.get(file) or None}]
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        now = tqdm(pool.map(source.file_digest, here), "check files", len(here), leave=False, delay=2)
        changed = {
            file
            for file, digest in zip(here, now, strict=True)
            if set(map(_content, digests[file])) != {_content(digest)}
        }
    rows = {unit.name: unit.stop - unit.start for unit in units if unit.stop is not None}
    records = [record for done in committed for record in done.values()]
    changed |= {record.file for record in records if rows.get(record.unit, record.rows_in) != record.rows_in}
    spoilt = {record.file for record in records if _is_spoilt(record)}
    if forbidden := sorted(changed - spoilt if config.retry_rejected else changed):
        advice = "--retry-rejected embeds them again" if changed <= spoilt else "give another output"
        raise InputError(
            f"since {config.output} took them in, {counted(len(forbidden), 'file')} of {without_secrets(source.uri)} "
            f"changed, such as {forbidden[0]}; {advice}"
        )
    return changed


def _content(file_digest: str) -> str:
    """What a file's digest says of its content alone."""
    return file_digest.partition(" ")[0]


def _tag(file_digest: str) -> str:
    """What an object store listed of the file."""
    return file_digest.partition(" ")[2]


def _tasks(
    units: Sequence[PairUnit],
    committed: Sequence[Records],
    again: set[str],
    duplicates: dict[str, list[int]] | None,
    retry_rejected: bool,
) -> list[Task]:
    """What is to be done: what some store lacks; with `retry_rejected` also what may come out better now.

    duplicates: known if a file was mended; other files may then hold pairs that stand twice, or no longer do.
    """
    tasks = []
    names = {unit.name for unit in units}
    for record in (record for done in committed for record in done.values() if record.file in again):
        if record.unit not in names:
            raise InputError(f"{record.file} has fewer pairs than when it was embedded; give another output")
    for unit in units:
        pairs = None if unit.stop is None else unit.stop - unit.start
        records = [done[unit.name] for done in committed if unit.name in done]
        if len(records) < len(committed):
            tasks.append(Task(unit, "new", pairs))
        elif (
            unit.file in again
            or (retry_rejected and any(_is_spoilt(record) for record in records))
            or (duplicates is not None and any(_repeats_otherwise(record, unit, duplicates) for record in records))
        ):
            tasks.append(Task(unit, "unit", pairs))
        elif retry_rejected and (retriable := max(retriable_pairs(record) for record in records)):
            tasks.append(Task(unit, "pairs", retriable))
    return tasks


def _repeats_otherwise(record: CommitRecord, unit: PairUnit, duplicates: dict[str, list[int]]) -> bool:
    return record.rejected_by_reason.get(Reason.DUPLICATE_KEY, 0) != len(duplicates_within(duplicates, unit))


def _is_spoilt(record: CommitRecord) -> bool:
    return Reason.UNREADABLE_FILE in record.rejected_by_reason


def _extract_all(
    engine: ExtractionEngine, extraction: Extraction, tasks: list[Task], units: int, stage: mlflow_runs.Run
) -> ExtractionMeasures:
    """Embed until nothing is missing; return the run's measures. Raises InputError if something stays missing."""
    progress, start = ExtractionProgress(), time.perf_counter()
    next_point = start + _SECONDS_BETWEEN_POINTS
    known = [task.pairs for task in tasks if task.pairs is not None]
    with tqdm(total=sum(known) if len(known) == len(tasks) else None, desc="embed", unit=" pairs") as bar:

        def report() -> None:
            nonlocal next_point
            bar.set_postfix_str(progress_text(progress), refresh=False)
            bar.update(progress.pairs - bar.n)
            if (now := time.perf_counter()) > next_point:
                next_point = now + _SECONDS_BETWEEN_POINTS
                with suppress(Exception):  # a point less on a curve; the last ones must get through
                    stage.metrics(ExtractionMeasures.of(progress, now - start).metrics(), step=progress.pairs)

        missing, failed_rounds, lost = tasks, 0, False
        while missing and failed_rounds < _ROUNDS_WITHOUT_A_COMMIT:
            progress.failures.clear()
            engine.run(extraction, missing, progress, report, passing_over=lost)
            lost |= "lost" in progress.failures
            for writer, records in zip(extraction.stores.writers, progress.records, strict=False):
                writer.told(records)
            before, missing = len(missing), _not_done(missing, extraction.stores, progress)
            failed_rounds = failed_rounds + 1 if len(missing) == before else 0
    if missing:
        raise InputError(_shortfall(missing, progress, units))
    return ExtractionMeasures.of(progress, time.perf_counter() - start)


def _not_done(tasks: list[Task], stores: Stores, progress: ExtractionProgress) -> list[Task]:
    everywhere = set.intersection(*(set(writer.committed()) for writer in stores.writers))
    return [
        task for task in tasks if task.unit.name not in (everywhere if task.work == "new" else progress.committed_again)
    ]


def _shortfall(missing: list[Task], progress: ExtractionProgress, units: int) -> str:
    lost = progress.failures.get("lost")
    reasons = [
        progress.failures.get(task.unit.name, f"{task.unit.name}: {lost or _deadly(task.unit)}") for task in missing
    ]
    reasons = list(dict.fromkeys(reasons))
    more = f", and {len(reasons) - _SHOWN_FAILURES} more" * (len(reasons) > _SHOWN_FAILURES)
    return (
        f"{len(missing):,} of {counted(units, 'unit')} could not be embedded; the others are kept. "
        f"{'; '.join(reasons[:_SHOWN_FAILURES])}{more}. Mend this and run the same command again"
    )


def _deadly(unit: PairUnit) -> str:
    pairs = "" if unit.stop is None else f"pairs {unit.start} to {unit.stop - 1} of "
    return (
        f"its process ended each of the {TIMES_TRIED} times that it was tried, as at an image that its decoder does "
        f"not survive, or for want of memory; leave that image out of {pairs}{unit.file}, or the file out of the source"
    )


def start(config: EmbedConfig) -> None:
    """Embed, as the command line asks for."""
    run(config)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
