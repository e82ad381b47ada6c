"""How fast evaluation is: against a dense one as the paper's code does it, and by the number of pairs.

Run it on a machine that does nothing else. Each part adds its measures to `docs/benchmarks/evaluation.json`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import ray
import torch
import tyro

from isoenergy.evaluation.concepts import load_codes, load_statistics
from isoenergy.evaluation.measured_rows import unit_rows
from isoenergy.metrics.bridges import gamma_bridge, sigma_bridge
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.statistics.concept_statistics import ConceptStatistics
from isoenergy.store import EmbeddingStore
from tests.benchmarks.planted_store import planted_modalities, write_planted_store
from tests.benchmarks.results import add_measures
from tests.benchmarks.worker_memory import WorkerMemory
from workflows import evaluate
from workflows.cluster import engine
from workflows.evaluate import SUMMARY_FILE, EvaluateConfig

_RESULTS = Path("docs/benchmarks/evaluation.json")
_K = 20
_LINEAR = (
    "encoding",
    "statistics_from_codes",
    "reconstruction",
    "energies",
    "cross_moments",
    "interventions",
    "baselines",
    "recall",
)
"""What the dense evaluation does once for every pair; the rest costs the same however many there are."""
_PASSES = 6
"""In which the dense evaluation encodes: reconstruction, energies, cross moments and three interventions."""
_WITHOUT_SEARCH = (
    *("statistics", "geometry", "bridges", "bridge-intervals", "dictionary", "exemplars", "projection"),
    *("spectra", "atom-map", "partners", "explorer"),
)
_MOST_MEMORY = 2e9
_LINEARITY = 1.25


@dataclass(frozen=True)
class Dense:
    """Statistics with the Sigma-bridge, and the whole evaluation, against dense codes on the same pairs."""

    pairs: int = 200_000
    peer_pairs: int = 20_000
    """Pairs that the dense evaluation is timed on; what is linear in them is scaled up to `pairs`."""
    dim: int = 512
    atoms: int = 4096
    sample: int = 2000
    """Pairs for transport and p_acc, of both."""


@dataclass(frozen=True)
class Scale:
    """Time and the workers' memory by the number of pairs."""

    pairs: tuple[int, ...] = (250_000, 1_000_000, 2_000_000)
    """Rising numbers of pairs, at least two."""
    dim: int = 128
    atoms: int = 1024
    queries: int = 500


@dataclass(frozen=True)
class Memory:
    """What workers hold in all steps but the full gallery's search, and what follows from that."""

    pairs: int = 200_000
    dim: int = 512
    atoms: int = 4096


def dense(config: Dense, folder: Path) -> dict[str, Any]:
    """Both on two threads: ours as two Ray workers of one thread each."""
    store, sae = _planted(config.pairs, config.dim, config.atoms, folder)
    measured, found = _dense(config, store, sae)
    ours = _ours(store, sae, folder)
    with WorkerMemory() as memory:
        summary, whole = _evaluated(store, sae, folder, "--sample", str(config.sample))
    rows = config.pairs / config.peer_pairs
    theirs = {
        part: {name: value * (rows if name in _LINEAR else 1) for name, value in seconds.items()}
        for part, seconds in measured.items()
    }
    one_pass = theirs["statistics"]
    results = summary["saes"][0]["results"]
    return {
        "pairs": config.pairs,
        "peer_pairs": config.peer_pairs,
        "dim": config.dim,
        "atoms": config.atoms,
        "k": _K,
        "share_of_atom_pairs_that_meet": ours.pop("meeting_share"),
        "statistics_and_sigma_bridge": _compared(
            sum(one_pass.values()), ours["statistics_steps"] + ours["sigma_bridge"]
        ),
        "the_same_from_given_codes": _compared(
            one_pass["statistics_from_codes"] + one_pass["sigma_bridge"],
            ours["statistics_from_codes"] + ours["sigma_bridge"],
        ),
        "whole": _compared(sum(theirs["everything"].values()), whole),
        "theirs": {"passes": _PASSES, "measured_seconds": measured, "seconds": theirs, "found": found},
        "ours": {
            "seconds": ours,
            "steps_seconds": _seconds(summary),
            "peak_resident_bytes": _by_kind(memory.peaks),
            "high_water_bytes": memory.high_water,
            "own_bytes": memory.own,
            "found": {
                **{name: results[name] for name in ("mse", "r2", "l0", "l1")},
                "p_acc": results["geometry"]["p_acc"],
                "rho": results["bridges"]["rho"],
                "fda": results["bridges"]["fda"],
            },
        },
    }


def _compared(theirs: float, ours: float) -> dict[str, float]:
    return {"theirs_seconds": theirs, "ours_seconds": ours, "ratio": theirs / ours}


def scale(config: Scale, folder: Path) -> dict[str, Any]:
    """Evaluate ever more pairs of one kind, and watch the workers."""
    runs = []
    for pairs in config.pairs:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            store, sae = _planted(pairs, config.dim, config.atoms, Path(place))
            with WorkerMemory() as memory:
                summary, seconds = _evaluated(store, sae, Path(place), "--queries", str(config.queries))
        steps = _seconds(summary)
        runs.append(
            {
                "pairs": pairs,
                "seconds": seconds,
                "all_steps_seconds": sum(steps.values()),
                "steps_seconds": steps,
                "microseconds_a_pair": {name: 1e6 * value / pairs for name, value in steps.items()},
                "peak_resident_bytes": _by_kind(memory.peaks),
                "high_water_bytes": memory.high_water,
                "own_bytes": memory.own,
            }
        )
        print(json.dumps(runs[-1], indent=2))
    slopes = [
        1e6 * (after["all_steps_seconds"] - before["all_steps_seconds"]) / (after["pairs"] - before["pairs"])
        for before, after in pairwise(runs)
    ]
    most = max(run["high_water_bytes"] for run in runs)
    return {
        "dim": config.dim,
        "atoms": config.atoms,
        "k": _K,
        "queries": config.queries,
        "runs": runs,
        "microseconds_a_further_pair": slopes,
        "linear": max(slopes) <= _LINEARITY * min(slopes),
        "most_bytes_a_worker": most,
        "under_2_gb": most < _MOST_MEMORY,
    }


def memory(config: Memory, folder: Path) -> dict[str, Any]:
    """Evaluate without the search, and watch the workers; how fast other work lets it be does not matter."""
    store, sae = _planted(config.pairs, config.dim, config.atoms, folder)
    with WorkerMemory() as memory:
        _evaluate(store, sae, folder, "--only", *(f"*/{step}" for step in _WITHOUT_SEARCH))
    return {
        **asdict(config),
        "k": _K,
        "peak_resident_bytes": _by_kind(memory.peaks),
        "high_water_bytes": memory.high_water,
        "own_bytes": memory.own,
    }


def _planted(pairs: int, dim: int, atoms: int, folder: Path) -> tuple[Path, Path]:
    """Write a store whose pairs are all of the test split, and the SAE whose atoms they are made of."""
    images, texts, dictionary = planted_modalities(pairs, dim, atoms)
    sae = SparseAutoencoder(SaeConfig(dim, atoms, _K, 0.0))
    with torch.no_grad():
        sae.dictionary.copy_(dictionary)
    sae.save(folder / "sae")
    return write_planted_store(folder / "store", images, texts, 8192, "test"), folder / "sae"


def _dense(config: Dense, store: Path, sae: Path) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Return the seconds of one pass with the bridge, and of everything, and what was found."""
    from tests.benchmarks.dense_evaluation import Clock, DenseEvaluation  # overcomplete, which no other part needs

    arrays = _first_pairs(store, config.peer_pairs)
    dictionary = SparseAutoencoder.load(sae).dictionary.detach()
    seconds = {}
    clock = Clock()
    peer = DenseEvaluation(dictionary, _K, *arrays, clock)
    energies, cross = peer.statistics()
    peer.rho(cross, energies)
    seconds["statistics"] = clock.seconds
    peer.clock = Clock()
    found = peer.everything(config.sample)
    seconds["everything"] = peer.clock.seconds
    return seconds, found


def _first_pairs(store: Path, pairs: int) -> tuple[torch.Tensor, torch.Tensor]:
    arrays = EmbeddingStore.open(str(store)).to_arrays("test")
    return unit_rows(arrays.images[:pairs]), unit_rows(arrays.texts[:pairs])


def _ours(store: Path, sae: Path, folder: Path) -> dict[str, Any]:
    """Time the steps up to the statistics, then what follows from given codes and statistics in this process."""
    from tests.benchmarks.dense_evaluation import Clock

    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    output = folder / "statistics"
    engine.connect()
    start = time.perf_counter()
    evaluate.run(EvaluateConfig(store=str(store), saes=(str(sae),), output=str(output), only=("*/statistics",)))
    steps = time.perf_counter() - start
    ray.shutdown()
    done = {json.loads(file.read_text())["name"]: file.parent for file in (output / "steps").glob("*/step.json")}
    parts = [load_codes(place) for name, place in done.items() if "/codes/" in name]
    (whole,) = (load_statistics(place, cross=True) for name, place in done.items() if name.endswith("/statistics"))
    dictionary = SparseAutoencoder.load(sae).dictionary.detach().numpy()
    clock = Clock()
    start = time.perf_counter()
    again = ConceptStatistics.zeros(whole.atoms)
    for codes in parts:
        again.update(*codes)
    cross = again.cross
    start = clock.add("statistics_from_codes", start)
    sigma_bridge(whole, dictionary)
    start = clock.add("sigma_bridge", start)
    gamma_bridge(whole, dictionary)
    clock.add("gamma_bridge", start)
    return {"statistics_steps": steps, **clock.seconds, "meeting_share": cross.nnz / whole.atoms**2}


def _evaluated(store: Path, sae: Path, folder: Path, *more: str) -> tuple[dict[str, Any], float]:
    """Run `isoenergy evaluate`, the whole command; return its summary and the seconds."""
    start = time.perf_counter()
    output = _evaluate(store, sae, folder, *more)
    seconds = time.perf_counter() - start
    return json.loads((output / SUMMARY_FILE).read_text()), seconds


def _evaluate(store: Path, sae: Path, folder: Path, *more: str) -> Path:
    output = folder / "evaluation"
    command = [sys.executable, "-m", "workflows.evaluate", "--store", str(store), "--saes", str(sae)]
    command += ["--output", str(output), *more]
    subprocess.run(command, check=True, env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"})
    return output


def _seconds(summary: dict[str, Any]) -> dict[str, float]:
    """Seconds by kind of step, all parts together."""
    return {_kind(node["name"]): node["seconds"] for node in summary["graph"]}


def _by_kind(peaks: dict[str, int]) -> dict[str, int]:
    most: dict[str, int] = {}
    for name, peak in peaks.items():
        most[_kind(name)] = max(peak, most.get(_kind(name), 0))
    return most


def _kind(step: str) -> str:
    """The step without the number of the part and the name of the SAE."""
    group, *rest = step.split("/")
    return f"{group}/{rest[0]}" if group == "embeddings" else rest[0]


def main() -> None:
    """Run one part and add its measures to the file."""
    config = tyro.cli(Dense | Scale | Memory, description=__doc__)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        match config:
            case Dense():
                part, measures = "dense", dense(config, Path(folder))
            case Scale():
                part, measures = "scale", scale(config, Path(folder))
            case Memory():
                part, measures = "memory", memory(config, Path(folder))
    add_measures(_RESULTS, part, measures)


if __name__ == "__main__":
    main()
