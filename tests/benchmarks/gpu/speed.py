"""Rows a second against the public peers' own code, what a step launches, and what its parts take."""

import statistics
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from isoenergy.codes import SparseCodes
from isoenergy.objective import masked_cosine_alignment
from isoenergy.pursuit import PursuitPolicy, gram_matrix, plan_pursuit, triton_kernels
from isoenergy.pursuit.gram import correlations, matmul_precision
from isoenergy.training import TrainingConfig
from isoenergy.training.step_parts import WARM_UPS
from tests.benchmarks.gpu.bench import Bench, Measures
from tests.benchmarks.gpu.correctness import trainer_of
from tests.benchmarks.precisions import as_three_tf32
from tests.benchmarks.pursuit_models import SHAPES, Model, Ours, Overcomplete, SaeLens, Shape, planted, step

LARGE = Shape(16384, 512, 4096, 20)
TINY = Shape(16, 16, 64, 3)
PEERS = {"overcomplete": Overcomplete, "sae_lens": SaeLens}
_PEERS_SHARE_OF_MEMORY = 0.6
_SECONDS_A_SHAPE = 25.0


def encode(model: Model, rows: Tensor) -> None:
    model.encode(rows)


ACTIONS: dict[str, Callable[[Model, Tensor], None]] = {"encode": encode, "step": step}


def speed(bench: Bench) -> Measures:
    """Each of the README's shapes and a large one, for as long as there is time."""
    found = []
    for shape in (TINY,) if bench.tiny else (LARGE, *SHAPES):
        if bench.left < _SECONDS_A_SHAPE:
            found.append({"shape": asdict(shape), "left_out": "no time"})
            continue
        found.append(at_shape(bench, shape))
        print(found[-1], flush=True)
    return {"shapes": found}


def at_shape(bench: Bench, shape: Shape) -> Measures:
    """Rows a second of ours and of each peer that is installed, and how many times one is the other."""
    x, dictionary = planted(shape, device=bench.device)
    form = plan_pursuit(*asdict(shape).values(), bench.device).form
    measures: Measures = {"shape": asdict(shape), "form": form}
    measures["isoenergy"] = timed(bench, Ours(dictionary, shape.k), x)
    for package, kind in PEERS.items():
        if find_spec(package) is None:
            measures[kind.name] = {"left_out": f"{package} is not installed: `pip install isoenergy[bench]`"}
            continue
        rows = x[: peer_rows(bench, shape, kind.bytes_a_row(shape))]
        theirs = timed(bench, kind(dictionary, shape.k), rows)
        again = timed(bench, Ours(dictionary, shape.k), x)
        ratios = {
            action: statistics.mean([measures["isoenergy"][action], again[action]]) / theirs[action]
            for action in ACTIONS
        }
        measures[kind.name] = theirs | {"rows": len(rows), "ratio": ratios}
    return measures


def timed(bench: Bench, model: Model, x: Tensor) -> dict[str, float]:
    """Rows a second of both actions."""
    return {name: len(x) / bench.median_seconds(partial(action, model, x)) for name, action in ACTIONS.items()}


def peer_rows(bench: Bench, shape: Shape, bytes_a_row: int) -> int:
    """As many rows of a batch as a peer's saved tensors have room for; an even number, for pairs."""
    if not bench.on_gpu:
        return shape.batch
    free, _ = torch.cuda.mem_get_info(bench.device)
    return max(2, min(shape.batch, int(_PEERS_SHARE_OF_MEMORY * free / bytes_a_row)) // 2 * 2)


def launches(bench: Bench) -> Measures:
    """What a step at the paper's batch gives the device to do, how long that takes, and how long the step.

    First the model that `speed` measures, then a trainer's two SAEs, launch by launch and as CUDA graphs.
    """
    shape = TINY if bench.tiny else Shape(1024, 512, 4096, 20)
    x, dictionary = planted(shape, device=bench.device)
    found = {"shape": asdict(shape)} | of_a_step(bench, partial(step, Ours(dictionary, shape.k), x))
    config = TrainingConfig(beta=(0.0, 4e-4), batch_pairs=shape.batch // 2, atoms=shape.atoms, k=shape.k, epochs=1000)
    for captured in (False, True):
        trainer = trainer_of(bench, config, shape.dim, captured)
        vectors = next(trainer.batches.epoch(0))
        name = f"a trainer's step of two SAEs, {'as graphs' if captured else 'launch by launch'}"
        found[name] = of_a_step(bench, partial(trainer._step, vectors, measured=True))
    return found


def of_a_step(bench: Bench, action: Callable[[], object]) -> Measures:
    """What `launches` tells of a step."""
    for _ in range(WARM_UPS + 2):
        action()
    bench.wait()
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * bench.on_gpu
    with profile(activities=activities) as profiled:
        action()
        bench.wait()
    events = profiled.events()
    on_device = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    waits = [event.name for event in events if "Synchronize" in event.name]
    by_time = sorted(profiled.key_averages(), key=lambda event: -event.device_time_total)[:12]
    return {
        "operators": sum(event.name.startswith(("aten::", "isoenergy::")) for event in events),
        "launches": sum("Launch" in event.name for event in events),
        "kernels_and_copies": len(on_device),
        "waits": len(waits) - 1 if bench.on_gpu else 0,  # one is this function's
        "device_milliseconds": sum(event.time_range.elapsed_us() for event in on_device) / 1e3,
        "step_milliseconds": bench.median_seconds(action) * 1e3,
        "longest": [[event.key[:60], event.count, event.device_time_total / 1e3] for event in by_time if bench.on_gpu],
    }


def operations(bench: Bench) -> Measures:
    """Milliseconds of what a step is made of, and of products in other precisions."""
    shapes = (TINY,) if bench.tiny else (Shape(1024, 512, 4096, 20), LARGE, Shape(16384, 1152, 16384, 32))
    return {"shapes": [of_a_shape(bench, shape) for shape in shapes if bench.tiny or bench.left > _SECONDS_A_SHAPE]}


def of_a_shape(bench: Bench, shape: Shape) -> Measures:
    x, dictionary = planted(shape, device=bench.device)
    paper = PursuitPolicy()
    with matmul_precision("full"):
        gram = gram_matrix(dictionary)
        indices, values, residual = triton_kernels.pursue(x, dictionary, shape.k, paper, gram)
    by_value, by_residual = torch.full_like(values, 1e-6), residual * (2 / residual.numel())
    gradients = (values, residual, by_value, by_residual)
    learned = values.clone().requires_grad_()

    def align() -> None:
        masked_cosine_alignment(*SparseCodes(indices, learned, residual).split(shape.batch // 2)).backward()

    def in_full(action: Callable[[], object]) -> float:
        with matmul_precision("full"):
            return bench.median_seconds(action) * 1e3

    reverse = triton_kernels.reverse
    alike = torch.zeros_like(indices)
    milliseconds = {
        "correlations": in_full(lambda: correlations(x, dictionary)),
        "Gram matrix": in_full(lambda: gram_matrix(dictionary)),
        "correlations and rounds": in_full(lambda: triton_kernels.pursue(x, dictionary, shape.k, paper, gram)),
        "reverse": in_full(lambda: reverse(dictionary, indices, *gradients)),
        "reverse, in order": in_full(lambda: reverse(dictionary, indices, *gradients, in_order=True)),
        "reverse, all rows on one atom": in_full(lambda: reverse(dictionary, alike, *gradients)),
        "alignment, both ways": in_full(align),
    }
    half = x.bfloat16(), dictionary.bfloat16()
    milliseconds["correlations in bf16, not used"] = in_full(lambda: correlations(*half))
    if bench.on_gpu:
        with matmul_precision("tf32"):
            left, right = as_three_tf32(x)[0], as_three_tf32(dictionary)[1]
            milliseconds["correlations in 3×TF32, not used"] = (
                bench.median_seconds(lambda: correlations(left, right)) * 1e3
            )
            milliseconds["splitting rows for it"] = bench.median_seconds(lambda: as_three_tf32(x)) * 1e3
            milliseconds["correlations in TF32, if asked for"] = (
                bench.median_seconds(lambda: correlations(x, dictionary)) * 1e3
            )
    return {"shape": asdict(shape), "milliseconds": milliseconds}
