"""The pursuit against the two public Matching Pursuit SAEs, in one process a shape: `make bench`.

Every measure of a peer comes from interleaved pairs (ours, theirs, ours, theirs …) on the same dictionary and rows; a
ratio is the median over the pairs. A step is forward, reconstruction and paired alignment, backward and Adam.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import matplotlib.pyplot as plt
import torch
import tyro
from scipy.linalg.blas import ssyrk
from torch import Tensor
from tqdm import tqdm

from isoenergy.compiling.products import onednn_is_faster
from isoenergy.pursuit import (
    PursuitPolicy,
    cpu,
    gram_matrix,
    matching_pursuit,
    plan_pursuit,
    screen,
    screen_gram_matrix,
)
from isoenergy.pursuit.passing_gram import passing_gram_matrix
from tests.benchmarks.precisions import as_tf32, as_three_tf32
from tests.benchmarks.pursuit_models import SHAPES, Model, Ours, Overcomplete, SaeLens, Shape, planted, step

AGREEMENT_ROWS = 512


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    shapes: tuple[int, ...] = tuple(range(len(SHAPES)))
    """Which of the six shapes, counted from 0."""
    pairs: int = 7
    """Interleaved pairs a peer at the small shapes; the large ones take as many as fit in `seconds`, at least one."""
    seconds: float = 30.0
    """Time for the pairs with one peer at one shape, past which no further pair starts."""
    peer_memory: float = 3e9
    """Bytes of saved tensors that a peer may keep; a larger batch is cut to what it can hold."""
    output: Path = Path("docs/benchmarks/pursuit")
    """Writes this name with .json and .png."""


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median(function: Callable[[], object], repeats: int = 5) -> float:
    function()
    return statistics.median(timed(function) for _ in range(repeats))


def compare(
    action: Callable[[Model, Tensor], object], ours: Model, peer: Model, x: Tensor, peer_batch: int, settings: Settings
) -> dict:
    """Rows/s of both from interleaved pairs, after one to warm up; the ratio is the median of the pairs' ratios."""
    mine, theirs = [], []
    start = time.perf_counter()
    for pair in range(settings.pairs + 1):
        pair_of_times = timed(lambda: action(ours, x)), timed(lambda: action(peer, x[:peer_batch]))
        last = time.perf_counter() - start > settings.seconds
        if pair or last:  # a first pair that takes all the time is kept: it is long against any warming up
            mine.append(len(x) / pair_of_times[0])
            theirs.append(peer_batch / pair_of_times[1])
        if last:
            break
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return {
        "rows_per_second": statistics.median(mine),
        "peer_rows_per_second": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "peer_batch": peer_batch,
    }


def saved_bytes_a_row(model: Model, x: Tensor) -> float:
    """Bytes that a step keeps for backward, without the parameters and the rows themselves."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(x)
    for tensor in (x, *model.sae.parameters()):
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(kept.values()) / len(x)


def agreement(shape: Shape, peers: list[Model], x: Tensor, dictionary: Tensor) -> dict[str, float]:
    """Share of rows with the float64 choices: the sequence for our forms, the set of atoms for a peer's dense codes."""
    x = x[:AGREEMENT_ROWS]
    exact = matching_pursuit(x.double(), dictionary.double(), shape.k, backend="oracle")
    shares = {}
    for form in ("oracle", "cpu", "screen", "residual"):
        codes = matching_pursuit(x, dictionary, shape.k, backend=form)
        shares[form] = _share(codes.indices == exact.indices)
    rounded = as_tf32(x), as_tf32(dictionary)
    codes = matching_pursuit(*rounded, shape.k, gram=gram_matrix(rounded[1]))
    shares["tf32 operands, emulated"] = _share(codes.indices == exact.indices)
    left, right = as_three_tf32(dictionary)
    indices, _, _ = cpu.pursue(as_three_tf32(x)[0], right, shape.k, PursuitPolicy(), left @ right.T)
    shares["3×TF32, emulated"] = _share(indices == exact.indices)
    support = exact.to_dense(shape.atoms) != 0
    for peer in peers:
        shares[peer.name] = _share((peer.encode(x) != 0) == support)
    return shares


def _share(equal: Tensor) -> float:
    return equal.all(dim=1).double().mean().item()


def unavoidable(shape: Shape, x: Tensor, dictionary: Tensor) -> dict[str, float]:
    """Seconds that the parts of a step take at this machine's own speed, with nothing between them."""
    scores = torch.empty(min(shape.batch, 4096), shape.atoms)
    blocks = shape.batch / len(scores)
    gram = dictionary @ dictionary.T
    chosen = torch.randint(shape.atoms, (2048,))
    gram_rows = torch.empty(len(chosen), shape.atoms)
    atom_rows = torch.empty(len(chosen), shape.dim)
    columns = dictionary.numpy().T
    triangle = gram.numpy().T
    picks = shape.batch / len(chosen)
    copy_gram_rows = median(lambda: torch.index_select(gram, 0, chosen, out=gram_rows))
    copy_atoms = median(lambda: torch.index_select(dictionary, 0, chosen, out=atom_rows))
    return {
        "correlations": blocks * median(lambda: torch.mm(x[: len(scores)], dictionary.T, out=scores)),
        "symmetric Gram product": median(lambda: ssyrk(1.0, columns, c=triangle, trans=1, overwrite_c=1), 3),
        "rows of G at copy speed": picks * (shape.k - 1) * copy_gram_rows,
        "the backward's gathers": picks * shape.k * copy_atoms,
    }


def measure(shape: Shape, settings: Settings) -> dict:
    x, dictionary = planted(shape)
    result: dict = {"shape": asdict(shape), "plan": str(plan_pursuit(*asdict(shape).values())), "peers": {}}
    peers: list[Model] = []
    for kind in (Overcomplete, SaeLens):
        peer = kind(dictionary, shape.k)
        peers.append(peer)
        ours = Ours(dictionary, shape.k)  # steps change it
        batch = min(shape.batch, int(settings.peer_memory / kind.bytes_a_row(shape)) // 2 * 2)
        result["peers"][kind.name] = {
            "encode": compare(lambda model, rows: model.encode(rows), ours, peer, x, batch, settings),
            "step": compare(step, ours, peer, x, batch, settings),
            "saved_bytes_a_row": saved_bytes_a_row(peer, x[: min(batch, 64)]),
        }
    ours = Ours(dictionary, shape.k)
    result["saved_bytes_a_row"] = saved_bytes_a_row(ours, x)
    repeats = 15 if shape.batch * shape.atoms <= 2**25 else 3
    result["gram_seconds"] = median(lambda: gram_matrix(dictionary), repeats)
    result["gram_in_kept_memory_seconds"] = median(lambda: passing_gram_matrix(dictionary, "full"), repeats)
    result["step_seconds"] = median(lambda: step(ours, x), repeats)
    parts = unavoidable(shape, x, dictionary)
    result["unavoidable_seconds"] = parts
    result["step_over_unavoidable"] = result["step_seconds"] / sum(parts.values())
    result["agreement"] = agreement(shape, peers, x, dictionary)
    gram = screen_gram_matrix(dictionary)
    candidates = screen.pursue_and_count(x[:AGREEMENT_ROWS], dictionary, shape.k, PursuitPolicy(), gram)[3]
    result["candidates_a_round"] = candidates.double().mean().item() / shape.k
    return result


def measure_apart(shape: Shape, settings: Settings) -> dict:
    """Measure in a process of its own: what the peers leave behind of one shape is memory that the next one needs."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, shape, settings).result()


def table(results: list[dict]) -> str:
    lines = [
        "| batch, dim, atoms, k | encode rows/s | × overcomplete | × SAELens "
        "| step rows/s | × overcomplete | × SAELens "
        "| kept a row, bytes (ours / oc / SL) | step ÷ unavoidable | as float64 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        shape = Shape(**result["shape"])
        peers = [result["peers"][kind.name] for kind in (Overcomplete, SaeLens)]
        cells = [str(shape)]
        for action in ("encode", "step"):
            cells.append(f"{statistics.median(peer[action]['rows_per_second'] for peer in peers):,.0f}")
            for peer in peers:
                cut = f" (at {peer[action]['peer_batch']:,})" if peer[action]["peer_batch"] < shape.batch else ""
                cells.append(f"{peer[action]['ratio']:.1f}{cut}")
        kept = [result["saved_bytes_a_row"], *(peer["saved_bytes_a_row"] for peer in peers)]
        cells.append(" / ".join(f"{size:,.0f}" for size in kept))
        cells.append(f"{result['step_over_unavoidable']:.2f}")
        cells.append(f"{result['agreement'][plan_pursuit(*asdict(shape).values()).form]:.1%}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(results: list[dict], path: Path) -> None:
    """Rows/s of a step by shape, ours and theirs, on a logarithmic axis, with the ratio over each peer's bar."""
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), sharey=True, layout="constrained")
    shapes = [str(Shape(**result["shape"])) for result in results]
    for axis, action in zip(axes, ("encode", "step"), strict=True):
        places = range(len(shapes))
        mine = [result["peers"]["overcomplete"][action]["rows_per_second"] for result in results]
        axis.bar([p - 0.27 for p in places], mine, 0.26, label="isoenergy", color="#1b7f79")
        for offset, name, colour in ((0.0, "overcomplete", "#d98c3f"), (0.27, "SAELens", "#8c7fb8")):
            peers = [result["peers"][name][action] for result in results]
            bars = axis.bar(
                [p + offset for p in places], [p["peer_rows_per_second"] for p in peers], 0.26, label=name, color=colour
            )
            axis.bar_label(bars, [f"×{p['ratio']:.0f}" for p in peers], fontsize=8)
        axis.set_yscale("log")
        axis.set_xticks(list(places), shapes, rotation=20, ha="right", fontsize=8)
        axis.set_title({"encode": "encode, dictionary frozen", "step": "training step"}[action])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("rows a second")
    axes[1].legend(frameon=False)
    figure.suptitle("Matching Pursuit by (batch, dim, atoms, k); over a peer's bar, how many times faster isoenergy is")
    figure.savefig(path, dpi=130)


def machine() -> dict:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    size = 2048
    a, b, c = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    source, target = torch.randn(2**24), torch.empty(2**24)
    return {
        "processor": models[0],
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "float32 products": "oneDNN" if onednn_is_faster() else "MKL",
        "python": platform.python_version(),
        "gemm_gflops": 2 * size**3 / median(lambda: torch.mm(a, b, out=c)) / 1e9,
        "copy_gb_per_second": 2 * 4 * 2**24 / median(lambda: target.copy_(source)) / 1e9,
    }


def main(settings: Settings) -> None:
    report = {"machine": machine(), "results": []}
    for number in tqdm(settings.shapes, desc="shapes"):
        report["results"].append(measure_apart(SHAPES[number], settings))
        settings.output.parent.mkdir(parents=True, exist_ok=True)
        settings.output.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
        tqdm.write(table(report["results"][-1:]).splitlines()[-1])
    draw(report["results"], settings.output.with_suffix(".png"))
    print(json.dumps(report["machine"]))
    print(table(report["results"]))


if __name__ == "__main__":
    main(tyro.cli(Settings))
