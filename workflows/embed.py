"""`isoenergy embed`: image-text pairs to an embedding store."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
import torch
import tyro
from tqdm import tqdm

from isoenergy.bundled import BUNDLED_PAIRS
from isoenergy.embedding import embed, prepare, separate
from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.errors import InputError
from isoenergy.pairs.duplicates import key_places, repeated
from isoenergy.pairs.parquet import PairColumns, PairUnit, ParquetPairs
from isoenergy.store import EmbeddingStore, Manifest, StoreWriter
from isoenergy.store.manifest import StoredDtype
from workflows import engine, tracking
from workflows.command import run_command

_ROUNDS = 3
_NO_PROGRESS_SECONDS = 600
_KEY_PARTS = 16


@dataclass(frozen=True)
class EmbedConfig:
    """Embed image-text pairs. What a killed run has committed is kept: run the same command again for the rest."""

    output: str = "runs/embeddings"
    """Folder or fsspec URL of the embedding store."""
    pairs: str = str(BUNDLED_PAIRS)
    """Parquet file, or folder of them, with image bytes; a path or any fsspec URL. Default: the bundled pairs."""
    columns: PairColumns = field(default_factory=PairColumns)
    encoder: str = "bundled"
    """bundled, or open_clip:FOLDER for a folder in open_clip's format."""
    dtype: StoredDtype = "float16"
    """Precision of the stored embeddings."""
    rows_per_unit: int = 2048
    """Most pairs in a unit of work: what one commit holds, and what a kill can lose."""
    batch_rows: int = 256
    """Pairs that the encoder takes at once."""
    dry_run: bool = False
    """Print the plan and stop."""

    def __post_init__(self) -> None:
        for name in ("rows_per_unit", "batch_rows"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


def run(config: EmbedConfig, parent: tracking.Run | None = None) -> EmbeddingStore | None:
    """Embed what the store lacks and return it whole; None after a dry run."""
    source = ParquetPairs(config.pairs, config.columns)
    units = source.units(config.rows_per_unit)
    encoder = load_encoder(config.encoder)
    manifest = Manifest(
        encoder=encoder.name,
        encoder_digest=encoder.digest,
        preprocessing=encoder.preprocessor.describe(),
        dim=encoder.dim,
        dtype=config.dtype,
        source=source.uri,
        source_fingerprint=source.fingerprint(),
        columns=config.columns.names(),
        rows=sum(source.rows.values()),
        rows_per_unit=config.rows_per_unit,
        units=len(units),
        software={name: version(name) for name in ("isoenergy", "torch", "open_clip_torch", "ray", "pyarrow")},
    )
    writer = StoreWriter(config.output)
    if config.dry_run:
        missing = _missing(units, writer) if writer.holds(manifest) else units
        print(f"{manifest.rows:,} pairs in {len(units)} units; {len(missing)} units are not in {config.output} yet")
        return None
    writer.begin(manifest)
    print(f"embed: {manifest.rows:,} pairs of {source.uri} with {encoder.name}, to {config.output}")
    with tracking.stage("embed", config, config.output, parent) as stage:
        for _ in range(_ROUNDS):
            missing = _missing(units, writer)
            if not missing:
                break
            _embed_units(missing, source, manifest, config)
        store = EmbeddingStore.open(config.output)
        store.require_complete()
        stage.metrics({"pairs_in": manifest.rows, "embedded": len(store), "rejected": sum(store.rejected.values())})
        stage.tags({"store_fingerprint": store.fingerprint})
    return store


def _missing(units: list[PairUnit], writer: StoreWriter) -> list[PairUnit]:
    done = writer.committed()
    return [unit for unit in units if unit.name not in done]


def _embed_units(units: list[PairUnit], source: ParquetPairs, manifest: Manifest, config: EmbedConfig) -> None:
    resources = engine.connect()
    gpus = int(resources.get("GPU", 0))
    duplicates = _duplicate_rows(source)
    items = [
        {
            "unit": asdict(unit),
            "duplicates": [row for row in duplicates.get(unit.file, ()) if unit.start <= row < unit.stop],
        }
        for unit in units
    ]
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = _NO_PROGRESS_SECONDS
    committed = (  # different num_cpus keep Ray Data from fusing decoding into the encoder's actor
        ray.data.from_items(items, override_num_blocks=len(items))
        .map_batches(
            _Decode(source, manifest.encoder, config.batch_rows),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0.5,
            zero_copy_batch=True,
        )
        .map_batches(
            _Encode,
            fn_constructor_args=(manifest,),
            batch_size=config.batch_rows,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=1 if gpus else 0,
            compute=ray.data.ActorPoolStrategy(size=gpus or max(1, int(resources["CPU"]) // 2)),
        )
        .map_batches(
            _Commit,
            fn_constructor_args=(StoreWriter(config.output), units, manifest, source.passed_through),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0.1,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
    )
    with tqdm(total=sum(unit.rows for unit in units), desc="embed", unit=" pairs") as bar:
        for batch in committed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            bar.update(pc.sum(batch["rows"]).as_py() or 0)


def _duplicate_rows(source: ParquetPairs) -> dict[str, list[int]]:
    """Find the rows, by file, whose key stands earlier in the source; only these come to the driver."""
    scan = ray.remote(num_cpus=0.5, num_returns=_KEY_PARTS)(_scan_keys)
    find = ray.remote(num_cpus=0.5)(_find_repeated)
    files = source.files
    reference = ray.put(source)
    pieces: list[Any] = [scan.remote(reference, file, number) for number, file in enumerate(files)]
    found = [find.remote(*(piece[part] for piece in pieces)) for part in range(_KEY_PARTS)]
    rows: dict[str, list[int]] = {}
    for part in tqdm(found, desc="check keys", unit=" parts", leave=False):
        for number, again in ray.get(part).items():
            rows.setdefault(files[number], []).extend(again)
    return rows


def _scan_keys(source: ParquetPairs, file: str, number: int) -> list[Any]:
    return key_places(source.keys(file), number, _KEY_PARTS)


def _find_repeated(*pieces: Any) -> dict[int, list[int]]:
    return repeated(list(pieces))


class _Decode:
    """Reads a unit and prepares its rows, a batch at a time."""

    def __init__(self, source: ParquetPairs, encoder: str, batch_rows: int) -> None:
        self._source, self._encoder, self._batch_rows = source, encoder, batch_rows

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        preprocessor = load_preprocessor(self._encoder)
        for item in items.to_pylist():
            unit, duplicates = PairUnit(**item["unit"]), frozenset(item["duplicates"])
            row = unit.start
            for batch in self._source.read(unit, self._batch_rows):
                yield prepare(batch, unit, row, duplicates, preprocessor)
                row += len(batch)


class _Encode:
    """Holds the encoder."""

    def __init__(self, manifest: Manifest) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._encoder = load_encoder(manifest.encoder, device)
        self._dtype = manifest.dtype

    def __call__(self, prepared: pa.Table) -> pa.Table:
        return embed(prepared, self._encoder, self._dtype)


class _Commit:
    """Gathers the rows of each unit, writes it when it is whole, and says so."""

    def __init__(
        self, writer: StoreWriter, units: list[PairUnit], manifest: Manifest, passed_through: pa.Schema
    ) -> None:
        self._writer = writer
        self._units = {unit.name: unit for unit in units}
        self._manifest, self._passed_through = manifest, passed_through
        self._waiting: dict[str, list[pa.Table]] = {}

    def __call__(self, rows: pa.Table) -> pa.Table:
        done = []
        for name in rows["unit"].unique().to_pylist():
            waiting = self._waiting.setdefault(name, [])
            waiting.append(rows.filter(pc.equal(rows["unit"], name)))
            unit = self._units[name]
            if sum(len(table) for table in waiting) == unit.rows:
                whole = pa.concat_tables(self._waiting.pop(name))
                parts = separate(whole, unit, self._manifest.dim, self._manifest.dtype, self._passed_through)
                self._writer.commit(unit, *parts)
                done.append(unit)
        return pa.table({"rows": pa.array([unit.rows for unit in done], pa.int64())})


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and embed."""
    config = tyro.cli(EmbedConfig, args=arguments, prog="isoenergy embed")
    store = run(config)
    if store is not None:
        print(f"{len(store):,} pairs embedded, {sum(store.rejected.values()):,} rejected: {config.output}")


if __name__ == "__main__":
    run_command(main)
