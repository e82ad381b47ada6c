"""The screen beside the float32 form, on one thread: `python -m tests.benchmarks.screen`.

Seconds are those of the processor, from interleaved pairs (float32, screen, float32, screen …): a ratio is the median
over the pairs. A step is forward, reconstruction and paired alignment, backward and Adam.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
import tyro
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from isoenergy.compiling.products import bf16_speed
from isoenergy.pursuit import PursuitPolicy, gram_matrix, matching_pursuit, oracle, screen, screen_gram_matrix
from tests.benchmarks.pursuit_models import Ours, Shape, planted, step

NOISE_OF_HIGH_R2 = 0.02**0.5


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    pairs: int = 7
    """Interleaved pairs of a measure, after one to warm up."""
    batches: tuple[int, ...] = (1024, 8192)
    """Rows of a step."""
    oracle_rows: int = 256
    """Rows that are compared with float64's."""
    output: Path = Path("docs/benchmarks/screen.json")


def processor_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(float32: Callable[[], object], screened: Callable[[], object], pairs: int) -> dict[str, float]:
    float32(), screened()
    found = [(processor_seconds(float32), processor_seconds(screened)) for _ in range(pairs)]
    first, second = (statistics.median(times) for times in zip(*found, strict=True))
    return {"float32": first, "screen": second, "ratio": statistics.median(a / b for a, b in found)}


def clean_rows(shape: Shape, dictionary: Tensor) -> Tensor:
    """Sums of k atoms of nearly one size, and noise of 2 % of their energy."""
    generator = torch.Generator().manual_seed(1)
    support = torch.randint(shape.atoms, (shape.batch, shape.k), generator=generator)
    weights = 0.5 + torch.rand(shape.batch, shape.k, generator=generator)
    rows = normalize(embedding_bag(support, dictionary, per_sample_weights=weights, mode="sum"), dim=1)
    return normalize(rows + NOISE_OF_HIGH_R2 * normalize(torch.randn(rows.shape, generator=generator), dim=1), dim=1)


def measure_step(shape: Shape, pairs: int) -> dict[str, float]:
    x, dictionary = planted(shape)
    models = Ours(dictionary, shape.k), Ours(dictionary, shape.k)

    def in_float32() -> None:
        with patch("isoenergy.pursuit.plan.bf16_speed", lambda: 0):
            step(models[0], x)

    return compare(in_float32, lambda: step(models[1], x), pairs)


def measure_encoding(x: Tensor, dictionary: Tensor, k: int, settings: Settings) -> dict[str, float]:
    grams = gram_matrix(dictionary), screen_gram_matrix(dictionary)

    def encode(gram: Tensor) -> None:
        matching_pursuit(x, dictionary, k, gram=gram)

    found = compare(lambda: encode(grams[0]), lambda: encode(grams[1]), settings.pairs)
    some = x[: settings.oracle_rows]
    exact = oracle.pursue(some.double(), dictionary.double(), k, PursuitPolicy())
    for name, gram in zip(("float32", "screen"), grams, strict=True):
        codes = matching_pursuit(some, dictionary, k, gram=gram)
        found[f"{name}_rows_as_float64"] = float((codes.indices == exact[0]).all(1).double().mean())
        found[f"{name}_largest_error"] = float((codes.values - exact[1]).abs().max())
    candidates = screen.pursue_and_count(x, dictionary, k, PursuitPolicy(), grams[1])[3]
    r2 = 1 - float(exact[2].square().sum() / (some.double() - some.double().mean(0)).square().sum())
    return {**found, "r2": r2, "candidates_a_round": float(candidates.double().mean()) / k}


def machine() -> dict[str, object]:
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {"processor": names[0].partition(":")[2].strip(), "torch": torch.__version__, "bf16_speed": bf16_speed()}


def main(settings: Settings) -> None:
    torch.set_num_threads(1)
    shape = Shape(1024, 512, 4096, 20)
    x, dictionary = planted(shape)
    report: dict[str, object] = {
        **machine(),
        "frozen encoding": measure_encoding(x, dictionary, shape.k, settings),
        "frozen encoding at high R²": measure_encoding(clean_rows(shape, dictionary), dictionary, shape.k, settings),
    }
    for batch in settings.batches:
        report[f"step of {batch:,} rows"] = measure_step(Shape(batch, 512, 4096, 20), settings.pairs)
    settings.output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(json.dumps(report, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main(tyro.cli(Settings))
