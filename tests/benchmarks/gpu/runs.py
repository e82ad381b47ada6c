"""Whole uses: the paper-size training in seconds, and images a second of the encoders."""

import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from isoenergy.encoders import load_encoder
from isoenergy.encoders.dual_encoder import Precision
from isoenergy.store.batches import PairBatches
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import ArrayRows, DeviceRows
from isoenergy.training import Metrics, SaveCheckpoint, Trainer, TrainingConfig
from tests.benchmarks.gpu.bench import Bench, Measures
from tests.benchmarks.random_clip import make_open_clip_folder

PAPER_PAIRS, PAPER_DIM, PAPER_EPOCHS = 656_000, 512, 5
_PAPER = (0.0, 4e-4)
_AT_ONCE = 65_536


class _EnoughError(Exception):
    """The benchmark has seen its steps."""


def planted_pairs(bench: Bench, pairs: int, dim: int) -> dict[str, np.ndarray]:
    """Float16 vectors of sums of a few atoms, with one more a modality."""
    generator = torch.Generator(device=bench.device).manual_seed(0)
    atoms = normalize(torch.randn(8 * dim, dim, device=bench.device, generator=generator), dim=1)

    def rows(count: int, bias: Tensor) -> Tensor:
        support = torch.randint(len(atoms), (count, 12), device=bench.device, generator=generator)
        weights = torch.rand(count, 12, device=bench.device, generator=generator)
        return (embedding_bag(support, atoms, per_sample_weights=weights, mode="sum") + bias).half().cpu()

    sizes = [min(_AT_ONCE, pairs - low) for low in range(0, pairs, _AT_ONCE)]
    return {
        name: torch.cat([rows(size, atoms[number]) for size in sizes]).numpy()
        for number, name in enumerate(("image", "text"))
    }


def training(bench: Bench) -> Measures:
    """Seconds a step of several trainings, and of the whole paper-size run if there is time for it."""
    pairs, dim = (512, 16) if bench.tiny else (PAPER_PAIRS, PAPER_DIM)
    paper_batch, large_batch, steps = (16, 64, 3) if bench.tiny else (512, 8192, 300)
    arrays = planted_pairs(bench, pairs, dim)
    in_memory = ArrayRows(arrays)
    here = in_memory.on_device(bench.device)
    six = tuple(n * 1e-4 for n in range(6))
    found: Measures = {}
    for name, betas, batch_pairs, rows, count in (
        ("SAE and SAE-A, the paper's", _PAPER, paper_batch, here, steps),
        ("one SAE-A", (4e-4,), paper_batch, here, steps),
        ("six SAEs", six, paper_batch, here, steps // 3),
        ("one SAE-A, large batches", (4e-4,), large_batch, here, steps // 3),
        ("one SAE-A, large batches from the host's memory", (4e-4,), large_batch, in_memory, steps // 3),
    ):
        found[name] = some_steps(bench, betas, batch_pairs, rows, pairs, dim, count)
        print(name, found[name], flush=True)
    projected = found["SAE and SAE-A, the paper's"]["seconds_a_step"] * PAPER_EPOCHS * (pairs // paper_batch)
    whole: Measures = {"pairs": pairs, "epochs": PAPER_EPOCHS, "projected_seconds": projected}
    if bench.left > 1.5 * projected + 20:
        trainer = trainer_of(bench, _PAPER, paper_batch, here, pairs, dim)
        metrics: list[Metrics] = []
        start = time.perf_counter()
        trainer.run(lambda _step, its, _save: metrics.append(its))
        bench.wait()
        whole["seconds"] = time.perf_counter() - start
        whole["r2"] = {key: value for key, value in metrics[-1].items() if "/r2_" in key}
    return found | {"the whole paper-size run": whole}


def trainer_of(
    bench: Bench, betas: tuple[float, ...], batch_pairs: int, rows: ArrayRows | DeviceRows, pairs: int, dim: int
) -> Trainer:
    config = TrainingConfig(
        beta=betas,
        k=4 if bench.tiny else 20,
        batch_pairs=batch_pairs,
        epochs=PAPER_EPOCHS,
        checkpoint_every=10**9,
        log_every=log_every(bench),
    )
    batches = PairBatches(PairOrder(np.array([0, pairs]), batch_pairs, 0), rows)
    return Trainer(config, batches, dim, bench.device)


def log_every(bench: Bench) -> int:
    """Steps between reports, which read from the device: the default."""
    return 1 if bench.tiny else TrainingConfig().log_every


def some_steps(
    bench: Bench,
    betas: tuple[float, ...],
    batch_pairs: int,
    rows: ArrayRows | DeviceRows,
    pairs: int,
    dim: int,
    count: int,
) -> Measures:
    """Seconds a step, from a report after the first steps to one a whole number of reports later."""
    trainer = trainer_of(bench, betas, batch_pairs, rows, pairs, dim)
    every = log_every(bench)
    times: list[float] = []
    waited: list[float] = []

    def report(_step: int, metrics: Metrics, _save: SaveCheckpoint | None) -> None:
        times.append(time.perf_counter())  # a report has read the device's sums: all steps so far are done
        waited.append(metrics["waiting_for_data"])
        if (len(times) - 1) * every >= count:
            raise _EnoughError

    with suppress(_EnoughError):
        trainer.run(report)
    seconds = (times[-1] - times[0]) / ((len(times) - 1) * every)
    return {
        "seconds_a_step": seconds,
        "rows_per_second": 2 * batch_pairs / seconds,
        "waiting_for_data": float(np.mean(waited[1:])),
        "steps": (len(times) - 1) * every,
    }


def encoders(bench: Bench) -> Measures:
    """Images and texts a second of CLIP's two sizes with random weights, from pixels as bytes on the host."""
    if bench.tiny:
        return {"bundled": encoder(bench, "bundled", "float32", False, (2,))}
    found: Measures = {}
    for arch in ("ViT-B-32", "ViT-L-14"):
        with tempfile.TemporaryDirectory() as folder:
            make_open_clip_folder(Path(folder), arch)
            for compiled in (False, True):
                if bench.left > (90 if compiled else 20):
                    name = f"{arch} in bfloat16{', compiled' * compiled}"
                    found[name] = encoder(bench, f"open_clip:{folder}", "bfloat16", compiled, (256, 1024))
                    print(name, found[name], flush=True)
    return found


def encoder(bench: Bench, name: str, precision: Precision, compiled: bool, batches: tuple[int, ...]) -> Measures:
    model = load_encoder(name, bench.device, precision, compiled)
    found: Measures = {}
    for batch in batches:
        pixels = np.random.default_rng(0).integers(0, 256, (batch, *model.preprocessor.shape), dtype=np.uint8)
        tokens = model.tokenise(["a photo of a red heart"] * batch)
        found[f"batches of {batch}"] = {
            "images_per_second": batch / bench.median_seconds(lambda pixels=pixels: model.encode_pixels(pixels)),
            "texts_per_second": batch / bench.median_seconds(lambda tokens=tokens: model.encode_tokens(tokens)),
        }
    return found
