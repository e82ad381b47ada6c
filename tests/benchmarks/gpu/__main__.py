"""What one GPU gives: correctness first, then speed. `python -m tests.benchmarks.gpu`, under eight minutes.

Each part writes its measures to a JSON file as it ends: what ran out of time is done by the next run, which skips the
parts that are there. Peers are compared with where they are installed (`pip install isoenergy[bench]`). Without a GPU,
`TRITON_INTERPRET=1 python -m tests.benchmarks.gpu --device cpu --tiny --output /tmp/gpu` runs every part at shapes for
Triton's interpreter, to see that they run. The exit code is 1 if anything was wrong or failed; speed fails nothing.
"""

import gc
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import tyro

import isoenergy
from tests.benchmarks.gpu.bench import Bench, Measures


@dataclass(frozen=True)
class Settings:
    """What to run, and where."""

    device: Literal["cuda", "cpu"] = "cuda"
    tiny: bool = False
    """Shapes for Triton's interpreter."""
    seconds: float = 460.0
    """After which no further part begins."""
    only: tuple[str, ...] = ()
    """These parts alone: correctness, speed, launches, training, encoders, operations."""
    again: bool = False
    """Run parts whose measures are there already."""
    output: Path = Path("docs/benchmarks/gpu")
    """Writes this name with .json and .png."""


@dataclass(frozen=True)
class Part:
    run: Callable[[Bench], Measures]
    seconds: float
    """What is to be left for it to begin."""


def parts() -> dict[str, Part]:
    """The parts, in the order in which they run."""
    from tests.benchmarks.gpu import correctness, runs, speed  # the kernels look at TRITON_INTERPRET when defined

    return {
        "correctness": Part(correctness.correctness, 60),
        "speed": Part(speed.speed, 40),
        "launches": Part(speed.launches, 15),
        "training": Part(runs.training, 60),
        "encoders": Part(runs.encoders, 40),
        "operations": Part(speed.operations, 30),
    }


def environment(device: torch.device) -> Measures:
    """What measures depend on: others are not added to a file of these."""
    import triton

    found = {
        "isoenergy": isoenergy.__version__,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": platform.python_version(),
        "device": "the CPU, in Triton's interpreter",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "device": properties.name,
            "memory_GiB": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return found


def kept(file: Path, fresh: Measures, again: bool) -> Measures:
    """The report that a run before left, if it is of this machine; else a new one."""
    if again or not file.exists():
        return fresh
    report: Measures = json.loads(file.read_text())
    if any(report.get(key) != fresh[key] for key in ("environment", "tiny")):
        print(f"{file} is of another machine or version, {report.get('environment')}: begun anew")
        return fresh
    return report


def is_done(measures: Measures | None) -> bool:
    """Whether a part has run to its end, and nothing was wrong."""
    return measures is not None and not measures.keys() & {"left_out", "failed"} and not measures.get("wrong")


def run_part(name: str, part: Part, bench: Bench) -> Measures:
    """Return a part's measures, or why there are none."""
    if not bench.tiny and bench.left < part.seconds:
        return {"left_out": f"{bench.left:.0f} s left, and it takes {part.seconds:.0f}: run again"}
    print(f"== {name}", flush=True)
    start = time.perf_counter()
    try:
        measures = part.run(bench)
    except Exception as error:  # the next parts may tell why
        traceback.print_exc()
        measures = {"failed": f"{type(error).__name__}: {error}"[:400]}
    gc.collect()
    if bench.on_gpu:
        torch.cuda.empty_cache()
    return measures | {"seconds": time.perf_counter() - start}


def main(settings: Settings) -> int:
    """Run what is not done; return the exit code."""
    if settings.device == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        print("on a CPU the kernels run in Triton's interpreter alone: set TRITON_INTERPRET=1, and give --tiny")
        return 2
    if settings.device == "cuda" and not torch.cuda.is_available():
        print("no GPU that torch can use: nothing was measured")
        return 2
    device = torch.device(settings.device)
    bench = Bench(device, settings.tiny, time.monotonic() + settings.seconds)
    file = settings.output.with_suffix(".json")
    report = kept(file, {"environment": environment(device), "tiny": settings.tiny, "parts": {}}, settings.again)
    file.parent.mkdir(parents=True, exist_ok=True)
    for name, part in parts().items():
        if (settings.only and name not in settings.only) or is_done(report["parts"].get(name)):
            continue
        report["parts"][name] = run_part(name, part, bench)
        file.write_text(json.dumps(report, indent=2) + "\n")
    from tests.benchmarks.gpu.drawing import draw

    draw(report, settings.output.with_suffix(".png"))
    for name, measures in report["parts"].items():
        what = [f"wrong: {each}" for each in measures.get("wrong", [])] + [
            f"{key}: {measures[key]}" for key in ("failed", "left_out") if key in measures
        ]
        print(name, "; ".join(what) or "done")
    return int(any(measures.get("wrong") or "failed" in measures for measures in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings)))
