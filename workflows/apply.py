"""`isoenergy apply`: an autoencoder on every row of a store."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from math import ceil

from tqdm import tqdm

from isoenergy.applying.application import Application
from isoenergy.applying.written_choices import CODES
from isoenergy.applying.written_layouts import LANCE, LayoutFiles
from isoenergy.counts import counted
from isoenergy.errors import InputError
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.calibration import lacks_threshold
from isoenergy.sae.given_saes import given_saes
from isoenergy.sae.joint import Autoencoder, load_autoencoder
from isoenergy.storage.files import absolute_uri, without_secrets
from isoenergy.store import EmbeddingStore, Manifest, StoreWriter
from isoenergy.store.manifest import VECTORS, CommitRecord
from isoenergy.store.schema import OWN_COLUMNS, stored_names
from workflows.applying.applying_begun import require_as_begun
from workflows.applying.applying_engines import ApplyingEngine, ApplyingOnRay, Bundle
from workflows.applying.applying_fit import fitted_files, require_classes
from workflows.applying.applying_plan import plan, probe
from workflows.applying.applying_units import STAGES, Source, UnitOutcome, UnitTask, UnitWork
from workflows.applying.lance_dataset import require_lance, write_dataset
from workflows.cluster.lock import alone_in
from workflows.command import run_command
from workflows.evaluation.evaluated_saes import sae_reference
from workflows.evaluation.foreign_saes import calibrated
from workflows.settings.apply_settings import ApplyConfig, parse
from workflows.tracking import mlflow_runs
from workflows.tracking.run_files import require_writable
from workflows.training.vector_stores import GivenStore

_PAIRS_A_TASK = 16_384
_TASKS_A_WORKER = 4
"""At least so many, where there are as many units: the last to end should not be alone for long."""
_SHOWN_FAILURES = 5
_SECONDS_BETWEEN_POINTS = 10.0


def run(
    config: ApplyConfig, parent: mlflow_runs.Run | None = None, engine: ApplyingEngine | None = None
) -> EmbeddingStore | None:
    """Apply the SAE to what the output lacks, and return the output, whole; None after a dry run.

    engine: Ray, if none is given.
    """
    config = replace(config, sae=_one_sae(config.sae))
    output = absolute_uri(config.output)
    given = GivenStore.at(config.store, config.modalities, output, config.skip_bad_rows)
    if given.uri.rstrip("/") == output.rstrip("/"):
        raise InputError(f"{config.output} is the store itself; give another --output")
    writer, sae = StoreWriter(output), load_autoencoder(config.sae)
    begun = _require_possible(config, sae, given.manifest, writer)
    store = given.opened(config.dry_run)
    store.require_complete()
    sae = calibrated(sae, config.sae, store)
    source = Source(store.shards, _modalities(config, sae, store.manifest), _columns(config, store.manifest))
    if not config.dry_run:
        require_writable(output)
    engine = engine or ApplyingOnRay(60 * config.patience)
    placement = engine.place(config.workers, config.gpus_per_worker)
    fitted = fitted_files(config, sae, store, begun.applied if begun else {}, engine)
    application = Application.fitted(
        sae, config.writes, config.dtype, config.normalise, *fitted.load(), seed=config.seed
    )
    of = {"fitted": fitted.digest, "fitted_on": fitted.source}
    manifest = replace(_manifest(config, store.uri, store.manifest, sae, of), units=len(store.commits))
    if begun is not None:
        require_as_begun(config.output, begun, manifest)
    committed = writer.committed() if begun is not None else {}
    layouts = _layout_files(config, output, store, source, application)
    tasks = _tasks(config, store, committed, layouts)
    work = UnitWork(application, source, writer, layouts)
    pairs = sum(task.record.pairs_in("all") for task in tasks)
    new = [task for task in tasks if not task.laid_out_again]
    probed = engine.call(partial(probe, work, new[0], pairs)) if config.dry_run and new else None
    print(plan(config.sae, store, work, tasks, placement, fitted.text, probed))
    if config.dry_run:
        return None
    if begun is None:
        fitted.keep(output)
    writer.begin(manifest, StoreWriter(store.uri).known_files())
    with alone_in(output), mlflow_runs.stage("apply", config, config.output, parent, is_done=not tasks) as stage:
        if layouts is not None:
            layouts.begin()
        stage.tags({"store_fingerprint": store.fingerprint, "sae_digest": sae.digest})
        stage.dataset(store.uri, store.fingerprint, "application", store.manifest.source)
        measures = _Measures()
        if tasks:
            measures = _apply_all(engine, work, tasks, placement.most, stage)
        writer.settle(manifest.units)
        made = EmbeddingStore.open(output)
        made.require_complete()
        if LANCE in config.laid_out:
            write_dataset(made, output)
        if tasks or not writer.has_summary():
            writer.write_summary(_summary(made, measures))
        stage.metrics(measures.metrics(), step=measures.pairs)
        stage.tags({"applied_fingerprint": made.fingerprint})
        stage.dataset(made.uri, made.fingerprint, "output", made.manifest.source)
    print(_ended(made, measures))
    return made


def _one_sae(uri: str) -> str:
    there = given_saes([uri])
    if len(there) > 1:
        raise InputError(f"{without_secrets(uri)} holds {len(there)} SAEs; give one of them: {', '.join(there)}")
    return there[0]


def _layout_files(
    config: ApplyConfig, output: str, store: EmbeddingStore, source: Source, application: Application
) -> LayoutFiles | None:
    of_units = tuple(name for name in config.laid_out if name != LANCE)
    if not of_units:
        return None
    atoms = application.sae.config.atoms
    units = tuple(record.unit for record in store.commits)
    return LayoutFiles(output, of_units, source.modalities, application.vectors, atoms, units)


@dataclass
class _Measures:
    """One run: pairs, and the time they took."""

    pairs: int = 0
    rejected: int = 0
    seconds: float = 0.0
    work_seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """Over all workers, by stage."""

    def count(self, outcome: UnitOutcome) -> None:
        """Take what became of a unit."""
        if outcome.record is not None:
            self.pairs += outcome.record.rows_in
            self.rejected += outcome.record.rejected
        for stage, seconds in (outcome.seconds or {}).items():
            self.work_seconds[stage] += seconds

    @property
    def pairs_per_second(self) -> float:
        """The throughput; 0 if nothing was done."""
        return self.pairs / self.seconds if self.seconds else 0.0

    def metrics(self) -> dict[str, float]:
        """Return the measures under the names that MLflow gets."""
        return {
            "pairs": self.pairs,
            "rejected": self.rejected,
            "seconds": self.seconds,
            "pairs_per_second": self.pairs_per_second,
            **{f"{stage}_seconds": seconds for stage, seconds in self.work_seconds.items()},
        }


def _require_possible(config: ApplyConfig, sae: Autoencoder, store: Manifest, writer: StoreWriter) -> Manifest | None:
    """Return what the output was begun with, if it was.

    Raises InputError for what needs no look at rows: before files are copied, and anything is fitted.
    """
    if LANCE in config.laid_out:
        require_lance(writer.uri)
    begun = writer.manifest()
    require_classes(config, sae, store, begun is not None)
    if begun is None:
        writer.require_vacant()
    of = {name: begun.applied.get(name) for name in ("fitted", "fitted_on")} if begun else {}
    here = _manifest(config, config.store, store, sae, of)
    if begun is not None:
        if isinstance(sae, SparseAutoencoder) and lacks_threshold(sae):  # it gets one, and with it its digest
            here = replace(here, applied=here.applied | {"sae": begun.applied.get("sae")})
        require_as_begun(config.output, begun, here)
    return begun


def _modalities(config: ApplyConfig, sae: Autoencoder, store: Manifest) -> tuple[str, ...]:
    """Return the SAE's modalities that the store has."""
    there = store.modalities
    names = tuple(name for name in sae.config.modalities if name in there)
    if not names:
        raise InputError(
            f"{config.sae} is for {', '.join(sae.config.modalities)}, and {config.store} holds "
            f"{', '.join(there) or 'no vectors'}; give a store that has one of these"
        )
    for name in names:
        if (dim := sae.part(name).config.dim) != there[name]:
            raise InputError(
                f"{config.sae} is for embeddings of width {dim}, and those of {name} in {config.store} are of width "
                f"{there[name]}; give the store of the encoder that it was trained on"
            )
    return names


def _columns(config: ApplyConfig, manifest: Manifest) -> tuple[str, ...]:
    there = stored_names(list(manifest.passed_through), manifest.widths)
    if unknown := [name for name in config.chosen if name not in there]:
        raise InputError(
            f"{config.store} has no further column {unknown[0]!r}; those it has are {', '.join(there) or 'none'} "
            f"({', '.join(OWN_COLUMNS)} are always written)"
        )
    return config.chosen


def _manifest(
    config: ApplyConfig, uri: str, store: Manifest, sae: Autoencoder, fitted: Mapping[str, str | None]
) -> Manifest:
    """Return the output's, with what is known of what was fitted; raises InputError for what the store cannot give."""
    modalities, columns = _modalities(config, sae, store), _columns(config, store)
    made = {
        f"{name}_{write}": sae.part(name).config.dim for name in modalities for write in config.writes if write != CODES
    }
    kinds = store.passed_through
    there = dict(zip(stored_names(list(kinds), store.widths), kinds.values(), strict=True))
    codes = {f"{name}_{what}" for name in modalities for what in ("atoms", "coefficients")}
    if taken := sorted({*made, *codes} & set(columns)):
        raise InputError(f"{taken[0]} is the name of a column that is made; leave it out of --columns")
    return replace(
        store,
        source=without_secrets(uri),
        source_images="",
        source_format=VECTORS,
        columns={"key": "key", "caption": "caption"},
        passed_through={name: there[name] for name in columns},
        dim=max(made.values(), default=store.dim),
        dtype=config.dtype,
        widths=made,
        view_of="",
        splits_given=True,
        software={name: version(name) for name in ("isoenergy", "torch", "ray", "pyarrow")},
        applied={
            "sae": sae_reference(config.sae, sae).digest,
            "modalities": list(modalities),
            "writes": list(config.writes),
            "normalised": config.normalise,
            **fitted,
            **({"layouts": list(config.laid_out)} if config.laid_out else {}),
            **({"seed": config.seed} if {"random_shift", "matched_removal"} & set(config.writes) else {}),
        },
    )


def _tasks(
    config: ApplyConfig, store: EmbeddingStore, committed: dict[str, CommitRecord], layouts: LayoutFiles | None
) -> list[UnitTask]:
    """What is to be done: what the output lacks, what was written again in the store since, and lost layouts' files."""
    units = {record.unit for record in store.commits}
    if others := sorted(set(committed) - units):
        raise InputError(
            f"{config.output} holds units that are not in {config.store}, such as {others[0]}; give another --output"
        )
    tasks = []
    lacking = layouts.lacking() if layouts is not None and committed else set()
    for number, record in enumerate(store.commits):
        done = committed.get(record.unit)
        if done is None or done.file_digest != record.shard_sha256:
            tasks.append(UnitTask(record, done, number))
        elif number in lacking:
            tasks.append(UnitTask(record, done, number, laid_out_again=True))
    return tasks


def _bundles(tasks: Sequence[UnitTask], workers: int) -> list[Bundle]:
    """Return the units in groups of some thousand pairs, or fewer, so that all workers have some."""
    most = min(_PAIRS_A_TASK, ceil(sum(task.record.pairs_in("all") for task in tasks) / (_TASKS_A_WORKER * workers)))
    bundles: list[list[UnitTask]] = [[]]
    pairs = 0
    for task in tasks:
        if bundles[-1] and pairs + task.record.pairs_in("all") > most:
            bundles.append([])
            pairs = 0
        bundles[-1].append(task)
        pairs += task.record.pairs_in("all")
    return list(bundles)


def _apply_all(
    engine: ApplyingEngine, work: UnitWork, tasks: list[UnitTask], workers: int, stage: mlflow_runs.Run
) -> _Measures:
    """Do all units; return the run's measures. Raises InputError if some could not be done."""
    measures, start = _Measures(), time.perf_counter()
    failures: list[str] = []
    next_point = start + _SECONDS_BETWEEN_POINTS
    pairs = sum(task.record.pairs_in("all") for task in tasks)
    with tqdm(total=pairs, desc="apply", unit=" pairs") as bar:

        def report(outcomes: list[UnitOutcome]) -> None:
            nonlocal next_point
            work.writer.told(outcome.record for outcome in outcomes if outcome.record is not None)
            for outcome in outcomes:
                measures.count(outcome)
                if outcome.hopeless:
                    raise InputError(
                        f"the output cannot be written: {outcome.error}; what is committed is kept: make room or mend "
                        f"this, and run the same command again"
                    )
                failures.extend([outcome.error] * bool(outcome.error))
            now = time.perf_counter()
            measures.seconds = now - start
            bar.set_postfix_str(f"{measures.rejected:,} rejected, {_split(measures)}", refresh=False)
            bar.update(measures.pairs - bar.n)
            if now > next_point:
                next_point = now + _SECONDS_BETWEEN_POINTS
                with suppress(Exception):  # a point less on a curve; the last ones must get through
                    stage.metrics(measures.metrics(), step=measures.pairs)

        engine.run(work, _bundles(tasks, workers), pairs, report)
    if failures:
        more = f", and {len(failures) - _SHOWN_FAILURES} more" * (len(failures) > _SHOWN_FAILURES)
        raise InputError(
            f"{len(failures):,} of {counted(len(tasks), 'unit')} could not be done; the others are kept. "
            f"{'; '.join(failures[:_SHOWN_FAILURES])}{more}. Mend this and run the same command again"
        )
    return measures


def _summary(made: EmbeddingStore, measures: _Measures) -> str:
    content = {
        "applied": made.manifest.applied,
        "units": len(made.commits),
        "rows_in": made.rows_in,
        "written": len(made),
        "rejected": made.rejected,
        "fingerprint": made.fingerprint,
        "run": measures.metrics(),
    }
    return json.dumps(content, indent=2) + "\n"


def _ended(made: EmbeddingStore, measures: _Measures) -> str:
    size = sum(record.shard_bytes for record in made.commits)
    lines = [
        f"written    {len(made):,} pairs, {sum(made.rejected.values()):,} rejected, {size / 1e9:,.3f} GB in {made.uri}"
    ]
    if measures.pairs:
        lines.append(
            f"this run   {counted(measures.pairs, 'pair')} in {measures.seconds:,.0f} s, "
            f"{measures.pairs_per_second:,.0f} pairs/s; work {_split(measures)}"
        )
    return "\n".join(lines)


def _split(measures: _Measures) -> str:
    total = sum(measures.work_seconds.values()) or 1.0
    return " ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in measures.work_seconds.items())


def start(config: ApplyConfig) -> None:
    """Apply, as the command line asks for."""
    run(config)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(main)
