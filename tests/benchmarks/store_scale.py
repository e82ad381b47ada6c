"""What a store costs by its size: requests, bytes, CPU time and memory of embed, train, evaluate and apply.

What a driver does is measured at two numbers of shards of a few rows each, on disk and on SeaweedFS, in a process of
its own; what a worker does with a shard, on shards of the usual size; how often an evaluation reads each shard, by
counting. From these follows the table: a line through the two sizes, at 2,048 pairs a shard. The encoder, the training
steps, the measures and the pursuit themselves are not in it: those are in the other benchmarks. The measures go to
`docs/benchmarks/store.json`.
"""

import dataclasses
import json
import multiprocessing
import os
import pickle
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from fsspec.implementations.local import LocalFileSystem

from isoenergy.applying.application import Application
from isoenergy.evaluation.draw import Draw
from isoenergy.pairs.source import PairUnit
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.storage.files import open_filesystem
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.arrays import embedding_rows
from isoenergy.store.commit_index import INDEX_FILE
from isoenergy.store.index import survey_shards
from isoenergy.store.manifest import CommitRecord, Manifest
from isoenergy.store.row_sources import ShardReader
from tests.benchmarks.planted_store import write_planted_store
from tests.benchmarks.results import add_measures
from tests.s3.seaweedfs import seaweedfs
from workflows.applying.applying_units import Source, UnitTask, UnitWork
from workflows.evaluation.evaluation_graph import EvaluationGraph
from workflows.evaluation.measured_pairs import MeasuredPairs
from workflows.steps import step_plan
from workflows.training.training_data import first_shards, prepare_indices
from workflows.training.training_here import TrainingHere
from workflows.training.training_stores import TrainingStores

_RESULTS = Path("docs/benchmarks/store.json")
_PAIRS_A_SHARD = 2048
_ROWS, _DIM = 8, 16
_SHARDS_A_PART = 160
_ATOMS, _K = 4096, 20
_PAGE = 1000
_SCALES = (1_000_000, 10_000_000, 100_000_000, 400_000_000)


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes, in shards, at which drivers are measured; the shards and the width at which workers are."""

    disk: tuple[int, int] = (1000, 20_000)
    """0 0 leaves it out."""
    s3: tuple[int, int] = (200, 2000)
    """0 0 leaves it out."""
    whole_shards: int = 16
    """0 leaves them out."""
    dim: int = 512
    epochs: int = 5


@dataclasses.dataclass
class Counts:
    """What filesystems were asked for."""

    requests: int = 0
    bytes: int = 0


@contextmanager
def counted() -> Iterator[Counts]:
    """Count what this process asks S3 for, or would if its disk were S3: a page of a listing is one request."""
    from isoenergy.storage.s3 import RetryingS3FileSystem

    counts = Counts()
    call, cat, listing, info = (
        RetryingS3FileSystem._call_s3,
        LocalFileSystem.cat_file,
        LocalFileSystem.ls,
        LocalFileSystem.info,
    )

    async def called(self: Any, method: str, *defaults: Any, **arguments: Any) -> Any:
        answer = await call(self, method, *defaults, **arguments)
        counts.requests += 1
        counts.bytes += len(arguments.get("Body") or b"") or (answer or {}).get("ContentLength", 0)
        return answer

    def got(self: Any, *arguments: Any, **options: Any) -> bytes:
        content: bytes = cat(self, *arguments, **options)
        counts.requests += 1
        counts.bytes += len(content)
        return content

    def listed(self: Any, *arguments: Any, **options: Any) -> Any:
        before = counts.requests
        found = listing(self, *arguments, **options)  # it asks for each file
        counts.requests = before + max(1, -(-len(found) // _PAGE))
        return found

    def asked(self: Any, *arguments: Any, **options: Any) -> Any:
        counts.requests += 1
        return info(self, *arguments, **options)

    RetryingS3FileSystem._call_s3 = called
    LocalFileSystem.cat_file, LocalFileSystem.ls, LocalFileSystem.info = got, listed, asked
    try:
        yield counts
    finally:
        RetryingS3FileSystem._call_s3 = call
        LocalFileSystem.cat_file, LocalFileSystem.ls, LocalFileSystem.info = cat, listing, info


def make_store(uri: str, shards: int) -> None:
    """Write a store of that many equal shards of a few rows, as their runs leave it, without an index."""
    with tempfile.TemporaryDirectory() as folder:
        rows = np.random.default_rng(0).normal(size=(2, _ROWS, _DIM)).astype(np.float16)
        store = EmbeddingStore.open(str(write_planted_store(Path(folder) / "store", *rows, _ROWS)))
        data = store.read_file(f"shards/{store.commits[0].shard}")
    manifest = dataclasses.replace(store.manifest, units=shards, rows_per_unit=_PAIRS_A_SHARD)
    filesystem, root = open_filesystem(uri)
    StoreWriter(uri).begin(manifest, ["planted.parquet"])
    for folder in ("shards", "commits"):
        filesystem.makedirs(f"{root}/{folder}", exist_ok=True)
    records = records_of(store.commits[0], shards)
    for start in range(0, shards, _PAGE):
        some = records[start : start + _PAGE]
        filesystem.pipe({f"{root}/shards/{record.shard}": data for record in some})
        filesystem.pipe({f"{root}/commits/{record.unit}.json": record.to_json().encode() for record in some})
    filesystem.pipe_file(f"{root}/summary.json", b"{}")


def records_of(first: CommitRecord, shards: int) -> list[CommitRecord]:
    """Return the records of equal shards."""
    units = [PairUnit(f"folder/{number // 100:06d}.parquet", number % 100 * 2048, None) for number in range(shards)]
    return [
        dataclasses.replace(first, unit=unit.name, file=unit.file, start=unit.start, shard=f"{unit.name}.parquet")
        for unit in units
    ]


def end_of_first_embed(uri: str, _place: str) -> None:
    """Fold what writers have told, sweep, and open."""
    writer = StoreWriter(uri)
    filesystem, root = open_filesystem(uri)
    name = next(iter(filesystem.ls(f"{root}/commits", detail=False)))
    first = CommitRecord.from_json(filesystem.cat_file(name).decode())
    manifest = Manifest.from_json(filesystem.cat_file(f"{root}/manifest.json").decode())
    writer.told(records_of(first, manifest.units))
    writer.settle(manifest.units)
    EmbeddingStore.open(uri).require_complete()


def embed_again(uri: str, _place: str) -> None:
    """Find that nothing is to be done."""
    writer = StoreWriter(uri)
    committed = writer.committed()
    filesystem, root = open_filesystem(uri)
    writer.begin(Manifest.from_json(filesystem.cat_file(f"{root}/manifest.json").decode()), ["planted.parquet"])
    writer.settle(len(committed))
    EmbeddingStore.open(uri).require_complete()


def open_store(uri: str, _place: str) -> None:
    """Open it."""
    EmbeddingStore.open(uri).require_complete()


def open_by_records(uri: str, _place: str) -> None:
    """Open it as before there was an index."""
    StoreWriter(uri).committed()


def train(uri: str, place: str) -> None:
    """Open, survey what was not surveyed, and say what workers read."""
    stores, opened = TrainingStores(uri, uri), {uri: EmbeddingStore.open(uri)}
    prepare_indices(stores, opened, place, False, TrainingHere())
    first_shards(stores, opened, "validation", 2048)


def evaluate(uri: str, place: str) -> None:
    """Open, cut into parts, and plan the steps of an SAE."""
    step_plan.plan(_graph(uri, Path(place)).targets, place)


def one_part(uri: str, place: str) -> None:
    """Read a part of an evaluation as one of its steps does."""
    part = pickle.loads(Path(place, "part").read_bytes())
    assert uri.endswith(part.store.uri.rpartition("/")[2])
    assert sum(len(images) for _, images, _ in part.read()) > 0


def apply(uri: str, place: str) -> None:
    """Open a store, and end an output of as many units; it stands in for both."""
    open_store(uri, place)
    end_of_first_embed(uri, place)


def _graph(uri: str, place: Path) -> EvaluationGraph:
    pairs = _ROWS * _SHARDS_A_PART
    store = EmbeddingStore.open(uri)
    measured = MeasuredPairs.of(
        store, "all", Draw(sample=8, in_batches=8, queries=8, seed=0), fit_pairs=pairs, part_pairs=pairs, fit_on=store
    )
    (place / "part").write_bytes(pickle.dumps(measured.parts[0]))
    sae = SparseAutoencoder(SaeConfig(dim=store.manifest.dim, atoms=32, k=2, beta=0.0))
    return EvaluationGraph(measured, {"sae": sae})


DRIVERS: dict[str, Callable[[str, str], None]] = {
    "opened by its records, as before": open_by_records,
    "embed, the end of a first run": end_of_first_embed,
    "opened": open_store,
    "embed again, nothing to do": embed_again,
    "train, the first of a store": train,
    "train, any other": train,
    "evaluate, the plan": evaluate,
    "evaluate, reading one part of 160 shards": one_part,
    "apply, its beginning and its end": apply,
}


def _measure(name: str, uri: str, place: str, answer: Any) -> None:
    torch.set_num_threads(1)
    before = _most_memory()
    with counted() as counts:
        cpu, start = time.process_time(), time.perf_counter()
        DRIVERS[name](uri, place)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    peak = _most_memory()
    answer.put(
        {
            "requests": counts.requests,
            "bytes": counts.bytes,
            "cpu_seconds": cpu,
            "seconds": seconds,
            "memory": peak - before,
            "process": peak,
        }
    )


def _most_memory() -> int:
    """The most that this process has held, in bytes; what rusage says is its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measured_drivers(root: str, shards: int) -> dict[str, dict[str, float]]:
    """Measure what each driver does at one size, each in a process of its own."""
    uri = f"{root}/store-{shards}"
    make_store(uri, shards)
    filesystem, path = open_filesystem(uri)
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for name in DRIVERS:
            if name.startswith("train"):
                Path(place, "index.json").unlink(missing_ok=True)
            context = multiprocessing.get_context("spawn")
            answer = context.Queue()
            process = context.Process(target=_measure, args=(name, uri, place, answer))
            process.start()
            found[name] = answer.get()
            process.join()
            print(f"{root.partition(':')[0]:>6} {shards:>7,} {name:<42} {json.dumps(found[name])}", flush=True)
        assert filesystem.exists(f"{path}/{INDEX_FILE}")
    return found


def measured_workers(config: Config, folder: Path) -> dict[str, float]:
    """Return CPU seconds and bytes of what workers do with a shard of the usual size."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(2, config.whole_shards * _PAIRS_A_SHARD, config.dim)).astype(np.float16)
    cpu = time.process_time()
    store = EmbeddingStore.open(str(write_planted_store(folder / "store", *rows, _PAIRS_A_SHARD)))
    found = {"written": time.process_time() - cpu}
    (index,) = prepare_indices(
        TrainingStores(store.uri, store.uri), {store.uri: store}, str(folder), False, TrainingHere()
    )
    reader = ShardReader(index)
    work: dict[str, Callable[[int], Any]] = {
        "surveyed": lambda number: survey_shards(store.shards, [store.commits[number]], "train"),
        "read to train": reader.read,
        "read to evaluate": lambda number: store.shards.vectors(store.commits[number].shard, "test"),
    }
    for name, function in work.items():
        function(0)
        cpu = time.process_time()
        for number in range(config.whole_shards):
            function(number)
        found[name] = time.process_time() - cpu
    found["applied"], written = applied(store, folder / "applied", config)
    return {name: seconds / config.whole_shards for name, seconds in found.items()} | {
        "bytes": float(np.mean([record.shard_bytes for record in store.commits])),
        "bytes_applied": written,
    }


def applied(store: EmbeddingStore, output: Path, config: Config) -> tuple[float, float]:
    """Return the CPU seconds of writing a store's codes but for the pursuit's, and the bytes of a shard of them."""
    sae = SparseAutoencoder(SaeConfig(config.dim, _ATOMS, _K, beta=0.0))
    application = Application.fitted(sae, ("codes",), "float16", normalised=False)
    source, writer = Source(store.shards, ("image", "text"), ()), StoreWriter(str(output))
    grams = application.grams(config.whole_shards * _PAIRS_A_SHARD)
    writer.begin(dataclasses.replace(store.manifest, widths={}), [])
    work = UnitWork(application, source, writer)
    cpu = time.process_time()
    outcomes = work([UnitTask(record, None) for record in store.commits], grams)
    whole = time.process_time() - cpu
    batches = [
        {name: embedding_rows(table[name], config.dim) for name in source.modalities}
        for table in map(source.read, store.commits)
    ]
    cpu = time.process_time()
    for vectors in batches:
        application(vectors, grams)
    pursued = time.process_time() - cpu
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    assert len(records) == config.whole_shards
    return whole - pursued, float(np.mean([record.shard_bytes for record in records]))


def measured_evaluation(folder: Path) -> dict[str, float]:
    """Return how often an evaluation of one SAE reads each shard whole, by running one at two sizes."""
    reads = {}
    for shards in (8, 24):
        rows = np.random.default_rng(0).normal(size=(2, shards * 64, _DIM)).astype(np.float16)
        store = EmbeddingStore.open(str(write_planted_store(folder / f"small-{shards}", *rows, 64)))
        sae = SparseAutoencoder(SaeConfig(dim=_DIM, atoms=32, k=2, beta=0.0, null=True))
        sae.save(folder / "sae")
        measured = MeasuredPairs.of(
            store, "test", Draw(sample=8, in_batches=8, queries=8, seed=0), fit_pairs=64, part_pairs=64
        )
        graph = EvaluationGraph(measured, {str(folder / "sae"): sae})
        asked: Counter[str] = Counter()
        cat = LocalFileSystem.cat_file

        def got(self: Any, path: str, *arguments: Any, asked: Counter[str] = asked, cat: Any = cat, **o: Any) -> bytes:
            asked[str(path).rpartition("/shards/")[0] and "shards"] += 1
            content: bytes = cat(self, path, *arguments, **o)
            return content

        LocalFileSystem.cat_file = got
        try:
            root = folder / f"steps-{shards}"
            step_plan.run_here(step_plan.plan(graph.targets, root), root)
        finally:
            LocalFileSystem.cat_file = cat
        reads[shards] = asked["shards"]
    small, large = reads
    return {"reads_a_shard": (reads[large] - reads[small]) / (large - small), "reads": dict(reads)}  # type: ignore[dict-item]


def line(sizes: tuple[int, int], values: tuple[float, float], shards: float) -> float:
    """Return what a straight line through two measures says, no less than the first."""
    (small, large), (low, high) = sizes, values
    return max(low, low + (high - low) / (large - small) * (shards - small))


def table(results: dict[str, Any], epochs: int) -> str:
    """Return the table, in Markdown."""
    workers, reads = results["workers"], results["evaluation"]["reads_a_shard"]
    place = "s3" if "s3" in results else "disk"

    def driver(name: str, what: str, shards: float, where: str) -> float:
        small, large = sorted(int(size) for size in results[where] if size.isdigit())
        low, high = (results[where][str(size)][name][what] for size in (small, large))
        return line((small, large), (low, high), shards)

    lines = ["| pairs | stage | requests | bytes | CPU hours | largest process |", "|---|---|---|---|---|---|"]
    for pairs in _SCALES:
        shards = pairs / _PAIRS_A_SHARD
        rows = {
            "embed, what the store takes": (
                "embed, the end of a first run",
                3 * shards,
                shards * workers["bytes"],
                shards * workers["written"],
            ),
            f"train, {epochs} epochs, the first of a store": (
                "train, the first of a store",
                epochs * shards,
                (1 + epochs) * shards * workers["bytes"],
                shards * (workers["surveyed"] + epochs * workers["read to train"]),
            ),
            "evaluate every pair, one SAE": (
                "evaluate, the plan",
                reads * shards,
                reads * shards * workers["bytes"],
                reads * shards * workers["read to evaluate"],
            ),
            "apply, codes of every row": (
                "apply, its beginning and its end",
                (1 + 3) * shards,
                shards * (workers["bytes"] + workers["bytes_applied"]),
                shards * workers["applied"],
            ),
        }
        for stage, (name, requests, size, cpu) in rows.items():
            asked, worked = (driver(name, what, shards, place) for what in ("requests", "cpu_seconds"))
            memory = driver(name, "process", shards, "disk")
            lines.append(
                f"| {pairs / 1e6:,.0f} M | {stage} | {requests + asked:,.0f} | {size / 1e9:,.0f} GB | "
                f"{(cpu + worked) / 3600:,.2f} | {memory / 2**30:,.2f} GiB |"
            )
    return "\n".join(lines)


def run(config: Config) -> None:
    """Measure, and print the table; what is left out is as it was measured last."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if config.whole_shards:
            add_measures(_RESULTS, "workers", measured_workers(config, folder / "whole"))
            add_measures(_RESULTS, "evaluation", measured_evaluation(folder))
        if any(config.disk):
            add_measures(_RESULTS, "disk", {str(each): measured_drivers(str(folder), each) for each in config.disk})
        if any(config.s3):
            (folder / "s3").mkdir()
            with seaweedfs(folder / "s3") as server:
                os.environ.update(server.environment)
                place = f"s3://{server.bucket()}"
                add_measures(_RESULTS, "s3", {str(each): measured_drivers(place, each) for each in config.s3})
    print(table(json.loads(_RESULTS.read_text()), config.epochs))


if __name__ == "__main__":
    run(tyro.cli(Config, description=__doc__))
