"""Training at scale, on paper: `python -m tests.benchmarks.scaling` prints a Markdown table.

Each device takes 512 pairs a step, so the global batch grows with their number, and trains both SAEs of the default
preset: d = 512, 4,096 atoms, k = 20, 5 epochs. The time of a step on one CPU node, and of reading a step's pairs from
shards in one process, are the measured ones of `docs/benchmarks/training.json`; the step of a GPU is derived from an
H200's data sheet, halved for what kernels lose in practice, and not measured. Gradients are reduced in a ring after the
backward pass, overlapping nothing: the worst case.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RESULTS = Path("docs/benchmarks/training.json")
_DIM, _ATOMS, _K, _SAES, _PAIRS, _EPOCHS = 512, 4096, 20, 2, 512, 5
_GRADIENT_BYTES = _SAES * _ATOMS * _DIM * 4
_PAIR_BYTES = 2 * _DIM * 2
_TOTALS = (1e6, 1e7, 1e8, 4e8)


@dataclass(frozen=True)
class Device:
    name: str
    step_seconds: float
    network: float
    """Bytes a second and device, within the ring."""


def devices(measured: dict[str, Any]) -> list[Device]:
    return [
        Device(
            name="2-core CPU node, 10 Gb/s (step measured)",
            step_seconds=measured["paper"]["ours_seconds_a_step"],
            network=1.25e9,
        ),
        Device(
            name="H200, 50 GB/s each (step derived, not measured)",
            step_seconds=2 * _gpu_floor_seconds(flops=60e12, memory=4.3e12),
            network=50e9,
        ),
    ]


def _gpu_floor_seconds(flops: float, memory: float) -> float:
    """Products in IEEE float32, rows of the Gram matrix, the backward pass's gathers, Adam's traffic."""
    rows = 2 * _PAIRS
    products = (2 * _ATOMS * _ATOMS * _DIM + 2 * rows * _DIM * _ATOMS) / flops
    rounds = rows * (_K - 1) * 4 * _ATOMS / memory
    backward = rows * _K * _DIM * 4 * 4 / memory
    adam = _ATOMS * _DIM * 4 * 7 / memory
    return _SAES * (products + rounds + backward + adam)


def main() -> None:
    """Print the table."""
    head = [
        "device",
        "number",
        "pairs/s",
        "network a step and device",
        "a step: compute / network / streaming, ms",
        "limit",
    ]
    head += [f"{total / 1e6:g} M pairs" for total in _TOTALS]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    measured = json.loads(_RESULTS.read_text())
    streamed = measured["reader"]["streaming_gigabytes_per_second"]["median"] * 1e9
    for device in devices(measured):
        for number in (1, 8, 64):
            sent = 2 * (number - 1) / number * _GRADIENT_BYTES
            data = _PAIRS * _PAIR_BYTES / streamed
            parts = {"compute": device.step_seconds, "network": sent / device.network, "streaming": data}
            # the next batch is read meanwhile
            seconds = max(parts["compute"] + parts["network"], parts["streaming"])
            rate = number * _PAIRS / seconds
            cells = [device.name, f"{number}", f"{rate:,.0f}", f"{sent / 1e6:.0f} MB"]
            cells += [" / ".join(f"{part * 1e3:.2f}" for part in parts.values()), max(parts, key=lambda p: parts[p])]
            cells += [_duration(total * _EPOCHS / rate) for total in _TOTALS]
            print(f"| {' | '.join(cells)} |")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"


if __name__ == "__main__":
    main()
