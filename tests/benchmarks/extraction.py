"""How fast embedding is: against the bare encoder, on a cluster that loses a node, and against clip-retrieval.

Run it on a machine that does nothing else. Each part adds its measures to `docs/benchmarks/extraction.json`.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch
import tyro

from isoenergy.encoders import load_encoder, load_preprocessor
from isoenergy.extraction.embedding import PIXELS, encode, encoder_inputs, prepare
from isoenergy.pairs.formats.webdataset import WebDatasetPairs
from isoenergy.settings.image_choices import AS_SEEN
from isoenergy.store import EmbeddingStore
from tests.benchmarks import extraction_cluster
from tests.benchmarks.random_clip import make_open_clip_folder
from tests.benchmarks.results import add_measures
from tests.benchmarks.tars import describe_tars, make_tars
from workflows import embed
from workflows.embed import EmbedConfig

_RESULTS = Path("docs/benchmarks/extraction.json")
_BARE_BATCHES = 8


@dataclass(frozen=True)
class Encoder:
    """The pipeline's pairs/s over those of the bare encoder on decoded batches: ViT-B/32, 224-640 px JPEGs in tars."""

    pairs: int = 2048
    per_tar: int = 128
    batch_rows: int = 64


@dataclass(frozen=True)
class Peer:
    """`isoenergy embed` and clip-retrieval's `clip_inference`, whole commands, on the same tars and weights."""

    python: Path
    """The interpreter of clip-retrieval's environment: see tests/benchmarks/clip_retrieval/README.md."""
    pairs: int = 1024
    per_tar: int = 128
    batch_rows: int = 64
    workers: int = 2
    """clip-retrieval's decoding processes."""
    rounds: int = 2


@dataclass(frozen=True)
class Cluster:
    """Pairs through four nodes of two fake GPUs each, whose encoder sleeps as L/14 takes; one node is killed."""

    pairs: int = 1_000_000


def against_bare(config: Encoder, folder: Path) -> dict[str, Any]:
    """Bare encoder, pipeline, bare encoder again: each in processes of its own."""
    tars = make_tars(folder / "tars", config.pairs, config.per_tar, seed=0)
    make_open_clip_folder(folder / "clip")
    name = f"open_clip:{folder / 'clip'}"
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        before = pool.apply(_bare, (folder / "tars", name, config.batch_rows))
        (store,) = embed.run(
            EmbedConfig(
                pairs=str(folder / "tars"), output=str(folder / "store"), encoder=name, batch_rows=config.batch_rows
            )
        )
        ray.shutdown()
        after = pool.apply(_bare, (folder / "tars", name, config.batch_rows))
    run = json.loads((folder / "store" / "summary.json").read_text())["run"]
    bare = median([before["pairs_per_second"], after["pairs_per_second"]])
    preparing = median([before["decode_seconds_a_pair"], after["decode_seconds_a_pair"]])
    steady = _steady_pairs_per_second(folder / "store", store)
    # What two cores could come to that only read, decode and encode: decoding is one core's work, encoding both's.
    cores = torch.get_num_threads()
    ideal = 1 / (1 / bare + preparing / cores)
    return {
        "pairs": config.pairs,
        "batch_rows": config.batch_rows,
        "pictures": describe_tars(tars),
        "bare_pairs_per_second": [before["pairs_per_second"], after["pairs_per_second"]],
        "pipeline_pairs_per_second": run["pairs_per_second"],
        "steady_pairs_per_second": steady,
        "pipeline_over_bare": run["pairs_per_second"] / bare,
        "steady_over_bare": steady / bare,
        "decode_share": 1 - ideal / bare,
        "engine_loss": 1 - steady / ideal,
        "run": run,
    }


def _bare(tars: Path, name: str, batch_rows: int) -> dict[str, float]:
    source = WebDatasetPairs(str(tars))
    preprocessor = load_preprocessor(name)
    (first, *_) = source.units(1)
    raw = list(islice(source.read(first, batch_rows), _BARE_BATCHES))
    torch.set_num_threads(torch.get_num_threads())
    start = time.perf_counter()
    prepared = [prepare(part, (), {f"{PIXELS}0": preprocessor}, AS_SEEN) for part in raw]
    decoding = (time.perf_counter() - start) / sum(map(len, raw))
    encoder = load_encoder(name)
    inputs = [encoder_inputs(part, f"{PIXELS}0", encoder) for part in prepared]
    rates = []
    for number in range(2 * len(inputs) + 1):
        batch = inputs[number % len(inputs)]
        start = time.perf_counter()
        encode(encoder, batch, "float16")
        if number:  # the first one warms up
            rates.append(len(batch) / (time.perf_counter() - start))
    return {"pairs_per_second": median(rates), "decode_seconds_a_pair": decoding}


def _steady_pairs_per_second(folder: Path, store: EmbeddingStore) -> float:
    """From the first commit to the last."""
    times = {record.unit: (folder / "commits" / f"{record.unit}.json").stat().st_mtime for record in store.commits}
    first = min(store.commits, key=lambda record: times[record.unit])
    return (store.rows_in - first.rows_in) / (max(times.values()) - times[first.unit])


def against_peer(config: Peer, folder: Path) -> dict[str, Any]:
    """Both commands in turn, alternating."""
    tars = make_tars(folder / "tars", config.pairs, config.per_tar, seed=0)
    weights = make_open_clip_folder(folder / "clip")
    rounds: list[dict[str, Any]] = []
    for number in range(config.rounds):
        ours = [sys.executable, "-m", "workflows.embed", "--pairs", str(folder / "tars")]
        ours += ["--encoder", f"open_clip:{folder / 'clip'}", "--batch-rows", str(config.batch_rows)]
        ours += ["--output", str(folder / f"ours-{number}")]
        start = time.perf_counter()
        subprocess.run(ours, check=True)
        seconds = time.perf_counter() - start
        store = EmbeddingStore.open(str(folder / f"ours-{number}"))
        theirs = [str(config.python), "tests/benchmarks/clip_retrieval/run.py", str(folder / "tars")]
        theirs += [str(folder / f"theirs-{number}"), str(weights), "--batch-size", str(config.batch_rows)]
        theirs += ["--num-prepro-workers", str(config.workers)]
        printed = subprocess.run(theirs, check=True, stdout=subprocess.PIPE, text=True).stdout
        rounds.append(
            {
                "ours_seconds": seconds,
                "ours_steady_pairs_per_second": _steady_pairs_per_second(folder / f"ours-{number}", store),
                "theirs": json.loads(printed.splitlines()[-1]),
            }
        )
    return {"pairs": config.pairs, "pictures": describe_tars(tars), "rounds": rounds}


def main() -> None:
    """Run one part and add its measures to the file."""
    config = tyro.cli(Encoder | Peer | Cluster, description=__doc__)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        match config:
            case Encoder():
                part, measures = "encoder", against_bare(config, Path(folder))
            case Peer():
                part, measures = "peer", against_peer(config, Path(folder))
            case Cluster():
                part, measures = "cluster", extraction_cluster.run(config.pairs, Path(folder))
    add_measures(_RESULTS, part, measures)


if __name__ == "__main__":
    main()
