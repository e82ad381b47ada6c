"""The pursuit against the two public Matching Pursuit SAEs, in one process: `make bench`.

Every measure of a peer comes from interleaved pairs (ours, theirs, ours, theirs …) on the same dictionary and rows; a
ratio is the median over the pairs. A step is forward, reconstruction and paired alignment, backward and Adam.
"""
# ruff: noqa: E402 - matplotlib is prepared before overcomplete is imported

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
matplotlib.cm.get_cmap = matplotlib.colormaps.get_cmap  # overcomplete 0.3 asks for it; gone since matplotlib 3.9

import matplotlib.pyplot as plt
import torch
import tyro
from overcomplete.sae import MpSAE
from sae_lens.saes.matching_pursuit_sae import MatchingPursuitTrainingSAE, MatchingPursuitTrainingSAEConfig
from scipy.linalg.blas import ssyrk
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize
from tqdm import tqdm

from isoenergy import SparseAutoencoder
from isoenergy.compiling.products import onednn_is_faster
from isoenergy.objective import masked_cosine_alignment, reconstruction_loss
from isoenergy.pursuit import gram_matrix, matching_pursuit, plan_pursuit
from isoenergy.pursuit.gram import passing_gram_matrix
from isoenergy.sae.sae_config import SaeConfig

BETA = 4e-4
LEARNING_RATE = 5e-4
AGREEMENT_ROWS = 512


@dataclass(frozen=True)
class Shape:
    batch: int
    dim: int
    atoms: int
    k: int

    def __str__(self) -> str:
        return f"({self.batch:,}, {self.dim:,}, {self.atoms:,}, {self.k})"


SHAPES = (
    Shape(256, 512, 4096, 20),
    Shape(1024, 512, 4096, 20),
    Shape(8192, 512, 4096, 20),
    Shape(4096, 512, 4096, 8),
    Shape(4096, 768, 8192, 32),
    Shape(16384, 1152, 16384, 32),
)


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    shapes: tuple[int, ...] = tuple(range(len(SHAPES)))
    """Which of the six shapes, counted from 0."""
    pairs: int = 7
    """Interleaved pairs a peer at the small shapes; the large ones take as many as fit in `seconds`, at least one."""
    seconds: float = 30.0
    """Time for the pairs with one peer at one shape, past which no further pair starts."""
    peer_memory: float = 8e9
    """Bytes of saved tensors that a peer may keep; a larger batch is cut to what it can hold."""
    output: Path = Path("docs/benchmarks/pursuit")
    """Writes this name with .json and .png."""


def planted(shape: Shape, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit atoms, and unit rows that are sums of a few of them plus noise: `(batch, dim)` and `(atoms, dim)`."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = normalize(torch.randn(shape.atoms, shape.dim, generator=generator), dim=1)
    support = torch.randint(shape.atoms, (shape.batch, shape.k), generator=generator)
    weights = torch.rand(shape.batch, shape.k, generator=generator)
    rows = torch.nn.functional.embedding_bag(support, dictionary, per_sample_weights=weights, mode="sum")
    rows += 0.3 * rows.norm(dim=1, keepdim=True) * normalize(torch.randn(rows.shape, generator=generator), dim=1)
    return normalize(rows, dim=1), dictionary


def dense_masked_cosine(codes: Tensor) -> Tensor:
    """The alignment as the paper's code has it, on dense codes: each modality's top atom is zeroed in both."""
    image, text = codes.chunk(2)
    tops = torch.stack([image.argmax(dim=1), text.argmax(dim=1)], dim=1)
    mask = torch.ones_like(image).scatter(1, tops, 0.0)
    return -cosine_similarity(image * mask, text * mask, dim=1).mean()


class Ours:
    name = "isoenergy"

    def __init__(self, dictionary: Tensor, k: int) -> None:
        self.sae = SparseAutoencoder(SaeConfig(dictionary.shape[1], len(dictionary), k, BETA))
        with torch.no_grad():
            self.sae.dictionary.copy_(dictionary)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), LEARNING_RATE, fused=True)
        self.gram = gram_matrix(self.sae.dictionary)

    @torch.no_grad()
    def encode(self, x: Tensor) -> None:
        matching_pursuit(x, self.sae.dictionary, self.sae.config.k, gram=self.gram)

    def loss(self, x: Tensor) -> Tensor:
        codes = self.sae(x)
        image, text = codes.split(len(x) // 2)
        return reconstruction_loss(codes) + BETA * masked_cosine_alignment(image, text)

    def after_step(self) -> None:
        self.sae.project_atoms()


class Overcomplete:
    name = "overcomplete"

    def __init__(self, dictionary: Tensor, k: int) -> None:
        self.sae = MpSAE(dictionary.shape[1], len(dictionary), k=k)
        with torch.no_grad():
            self.sae.dictionary._weights.copy_(dictionary)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), LEARNING_RATE, fused=True)

    @staticmethod
    def bytes_a_row(shape: Shape) -> int:
        return 9 * shape.atoms * shape.k

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.sae.encode(x)[1]

    def loss(self, x: Tensor) -> Tensor:
        _, codes, reconstruction = self.sae(x)
        return (x - reconstruction).square().mean() + BETA * dense_masked_cosine(codes)

    def after_step(self) -> None:
        pass


class SaeLens:
    name = "SAELens"

    def __init__(self, dictionary: Tensor, k: int) -> None:
        config = MatchingPursuitTrainingSAEConfig(
            d_in=dictionary.shape[1],
            d_sae=len(dictionary),
            decoder_init_norm=1.0,
            residual_threshold=0.0,
            max_iterations=k,
            stop_on_duplicate_support=False,
        )
        self.sae = MatchingPursuitTrainingSAE(config)
        with torch.no_grad():
            self.sae.W_dec.copy_(dictionary)
        self.optimizer = torch.optim.Adam(self.sae.parameters(), LEARNING_RATE, fused=True)

    @staticmethod
    def bytes_a_row(shape: Shape) -> int:
        return 8 * shape.dim * shape.k + 40 * shape.atoms

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        return self.sae.encode(x)

    def loss(self, x: Tensor) -> Tensor:
        codes, _ = self.sae.encode_with_hidden_pre(x)
        return (x - self.sae.decode(codes)).square().mean() + BETA * dense_masked_cosine(codes)

    def after_step(self) -> None:
        pass


Model = Ours | Overcomplete | SaeLens


def step(model: Model, x: Tensor) -> None:
    loss = model.loss(x)
    model.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    model.optimizer.step()
    model.after_step()


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
    for form in ("oracle", "cpu", "residual"):
        codes = matching_pursuit(x, dictionary, shape.k, backend=form)
        shares[form] = _share(codes.indices == exact.indices)
    rounded = _as_tf32(x), _as_tf32(dictionary)
    codes = matching_pursuit(*rounded, shape.k, gram=gram_matrix(rounded[1]))
    shares["tf32 operands, emulated"] = _share(codes.indices == exact.indices)
    support = exact.to_dense(shape.atoms) != 0
    for peer in peers:
        shares[peer.name] = _share((peer.encode(x) != 0) == support)
    return shares


def _share(equal: Tensor) -> float:
    return equal.all(dim=1).double().mean().item()


def _as_tf32(tensor: Tensor) -> Tensor:
    """Round float32 to TF32's 10 bits of mantissa, to nearest."""
    bits = tensor.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


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
    ours = Ours(dictionary, shape.k)
    result: dict = {"shape": asdict(shape), "plan": str(plan_pursuit(*asdict(shape).values())), "peers": {}}
    peers: list[Model] = []
    for kind in (Overcomplete, SaeLens):
        peer = kind(dictionary, shape.k)
        peers.append(peer)
        batch = min(shape.batch, int(settings.peer_memory / kind.bytes_a_row(shape)) // 2 * 2)
        result["peers"][kind.name] = {
            "encode": compare(lambda model, rows: model.encode(rows), ours, peer, x, batch, settings),
            "step": compare(step, ours, peer, x, batch, settings),
            "saved_bytes_a_row": saved_bytes_a_row(peer, x[: min(batch, 64)]),
        }
    result["saved_bytes_a_row"] = saved_bytes_a_row(ours, x)
    repeats = 15 if shape.batch * shape.atoms <= 2**25 else 3
    result["gram_seconds"] = median(lambda: gram_matrix(dictionary), repeats)
    result["gram_in_kept_memory_seconds"] = median(lambda: passing_gram_matrix(dictionary, "full"), repeats)
    result["step_seconds"] = median(lambda: step(ours, x), repeats)
    parts = unavoidable(shape, x, dictionary)
    result["unavoidable_seconds"] = parts
    result["step_over_unavoidable"] = result["step_seconds"] / sum(parts.values())
    result["agreement"] = agreement(shape, peers, x, dictionary)
    return result


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
        cells.append(f"{result['agreement']['cpu']:.1%}")
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
        report["results"].append(measure(SHAPES[number], settings))
        settings.output.parent.mkdir(parents=True, exist_ok=True)
        settings.output.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n")
        tqdm.write(table(report["results"][-1:]).splitlines()[-1])
    draw(report["results"], settings.output.with_suffix(".png"))
    print(json.dumps(report["machine"]))
    print(table(report["results"]))


if __name__ == "__main__":
    main(tyro.cli(Settings))
