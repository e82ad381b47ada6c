"""How much memory the steps of an evaluation take that could grow with atoms².

`python -m tests.benchmarks.evaluation_memory`: each is measured at its peak in a process of its own, with codes whose
atoms fire as often as Zipf's law has it. The laws of `workflows/evaluation/step_memory.py` must be above what is
measured; rc 1 if one is not.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from isoenergy.codes.sparse_codes import SparseCodes
from isoenergy.metrics.atom_places import umap_places
from isoenergy.metrics.bridges import BridgeThresholds, sigma_bridge
from isoenergy.metrics.partners import strongest_partners
from isoenergy.metrics.transport import strongest_atoms, transport_plan
from isoenergy.statistics.concept_statistics import ConceptStatistics
from tests.benchmarks.results import add_measures
from workflows.evaluation import step_memory

DIM, K, BLOCK = 256, 20, 8192
_UNCUT = BridgeThresholds(gram=0.0, cross=0.0)


def main() -> int:
    """Measure, print a table and write it as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atoms", type=int, nargs="+", default=[4096, 65_536])
    parser.add_argument("--transported", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--pairs", type=int, default=40_000)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measured(options.step, options.atoms[0], options.pairs)))
        return 0
    sizes = {step: options.transported if step == "transport" else options.atoms for step in STEPS}
    rows = []
    for step, of_step in sizes.items():
        for atoms in of_step:
            command = [sys.executable, "-m", __spec__.name, "--step", step, "--atoms", str(atoms)]
            command += ["--pairs", str(options.pairs)]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for row in rows:
        line = "{step:10} {atoms:7,} atoms: peak {peak_gb:6.2f} GB, law {law_gb:6.2f} GB, {cpu_seconds:7.1f} CPU s"
        print(line.format(**row))
    if options.output:
        add_measures(options.output, "evaluation_memory", {"pairs": options.pairs, "steps": rows})
    return int(any(row["peak_gb"] > row["law_gb"] for row in rows))


def measured(step: str, atoms: int, pairs: int) -> dict[str, object]:
    """Run a step here and return its peak beside what the law says."""
    law = step_memory.meetings(atoms, K, pairs)
    if step == "transport":
        law = step_memory.transport(atoms, atoms, K, pairs)
    start = time.process_time()
    STEPS[step](atoms, pairs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = time.process_time() - start
    return {"step": step, "atoms": atoms, "peak_gb": peak / 1e9, "law_gb": law / 1e9, "cpu_seconds": seconds}


def _statistics(atoms: int, pairs: int, seed: int = 0) -> ConceptStatistics:
    generator = torch.Generator().manual_seed(seed)
    found = ConceptStatistics.zeros(atoms)
    for start in range(0, pairs, BLOCK):
        rows = min(BLOCK, pairs - start)
        codes = []
        for _ in range(2):
            zipf = (atoms ** torch.rand(rows, K, generator=generator) - 1).long().clamp(0, atoms - 1)
            codes.append(SparseCodes(zipf, torch.rand(rows, K, generator=generator), torch.zeros(rows, 1)))
        found.update(codes[0], codes[1])
    return found


def _dictionary(atoms: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((atoms, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _merge(atoms: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(2):
            _statistics(atoms, pairs // 2, number).save(Path(folder) / str(number))
        first, second = (ConceptStatistics.load(Path(folder) / str(number)) for number in range(2))
        first.merge(second).save(Path(folder) / "whole")


def _bridge(atoms: int, pairs: int) -> None:
    sigma_bridge(_statistics(atoms, pairs), _dictionary(atoms))


def _partners(atoms: int, pairs: int) -> None:
    strongest_partners(sigma_bridge(_statistics(atoms, pairs), _dictionary(atoms), _UNCUT), 6)


def _map(atoms: int, pairs: int) -> None:
    del pairs
    umap_places(_dictionary(atoms), 0)


def _transport(atoms: int, pairs: int) -> None:
    statistics, dictionary = _statistics(atoms, pairs), _dictionary(atoms)
    kept = strongest_atoms(statistics.energy)
    transport_plan(dictionary, dictionary, statistics.image.energy * kept, statistics.text.energy * kept)


STEPS: dict[str, Callable[[int, int], None]] = {
    "merge": _merge,
    "bridge": _bridge,
    "partners": _partners,
    "map": _map,
    "transport": _transport,
}

if __name__ == "__main__":
    sys.exit(main())
