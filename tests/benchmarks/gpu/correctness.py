"""The CUDA form against the oracle in float64: every shape and rule, whatever lies where in memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from isoenergy.codes import SparseCodes
from isoenergy.pursuit import PursuitPolicy, gram_matrix, matching_pursuit, triton_kernels
from isoenergy.pursuit.gram import matmul_precision
from isoenergy.pursuit.together import pursue_together
from isoenergy.store.batches import PairBatches
from isoenergy.store.order import PairOrder
from isoenergy.store.row_sources import DeviceRows
from isoenergy.training import Trainer, TrainingConfig
from isoenergy.training.step_parts import WARM_UPS, CapturedParts
from tests.benchmarks.gpu.bench import Bench, Measures
from tests.benchmarks.pursuit_models import Shape, planted

PAPER = PursuitPolicy()
POLICIES = (PAPER, PursuitPolicy("absolute", tolerance=0.3), PursuitPolicy("non-negative"))
TINY = (Shape(5, 12, 40, 4), Shape(6, 16, 64, 5), Shape(1, 7, 65, 3), Shape(0, 8, 16, 2), Shape(4, 8, 33, 1))
WHOLE = (
    Shape(1024, 512, 4096, 20),
    Shape(777, 500, 4100, 7),
    Shape(1, 512, 4096, 20),
    Shape(0, 512, 4096, 20),
    Shape(5, 12, 40, 4),
    Shape(64, 64, 1000, 1),
    Shape(33, 96, 2049, 9),
    Shape(512, 768, 8192, 32),
    Shape(256, 1152, 16384, 32),
    Shape(128, 1152, 32767, 16),
)
_NEAR_TIE = {torch.float32: 1e-5, torch.float64: 1e-12}
_DOUBLE_ATOMS = 8192
_SAME_LOSSES = 1e-3


class Checks:
    """What was looked at, and what of it was wrong."""

    def __init__(self) -> None:
        self.found: list[Measures] = []

    def add(self, name: str, right: bool, **facts: float) -> None:
        self.found.append({"check": name, "right": bool(right), **facts})
        print("right" if right else "WRONG", name, facts, flush=True)

    def measures(self) -> Measures:
        return {"checks": self.found, "wrong": [each["check"] for each in self.found if not each["right"]]}


def correctness(bench: Bench) -> Measures:
    """Return all checks, and the names of those that failed."""
    checks = Checks()
    for shape in TINY if bench.tiny else WHOLE:
        for policy in POLICIES:
            for dtype in (torch.float32, torch.float64):
                if dtype == torch.float32 or shape.atoms <= _DOUBLE_ATOMS:
                    against_oracle(bench, checks, shape, policy, dtype)
    exact_ties(bench, checks)
    on_chip_and_streamed(bench, checks)
    several_at_once(bench, checks)
    layouts(bench, checks)
    gradients_in_order(bench, checks)
    if bench.on_gpu:
        settings(bench, checks)
        beyond_32_bits(bench, checks)
        waiting(bench, checks)
    as_graphs(bench, checks)
    return checks.measures()


def rows_of(bench: Bench, shape: Shape, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Planted rows and atoms, two of which are there twice: exact ties."""
    x, dictionary = planted(shape, seed=shape.batch, device=bench.device)
    dictionary[shape.atoms // 2] = dictionary[0]
    dictionary[-1] = dictionary[1]
    return x.to(dtype), dictionary.to(dtype)


def against_oracle(bench: Bench, checks: Checks, shape: Shape, policy: PursuitPolicy, dtype: torch.dtype) -> None:
    """Codes and gradients of the public function; they may choose otherwise where two atoms are alike."""
    x, dictionary = rows_of(bench, shape, dtype)
    exact_at = [part.double().clone().requires_grad_() for part in (x, dictionary)]
    at = [part.clone().requires_grad_() for part in (x, dictionary)]
    exact = matching_pursuit(*exact_at, shape.k, policy=policy, backend="oracle")
    codes = matching_pursuit(*at, shape.k, policy=policy, backend="triton")
    same = (codes.indices == exact.indices).all(dim=1)
    value_error = _largest((codes.values - exact.values)[same])
    residual_error = _largest((codes.residual - exact.residual)[same])
    facts = {
        "same_rows": same.double().mean().item() if shape.batch else 1.0,
        "error": max(value_error, residual_error),
    }
    double = dtype == torch.float64
    right = facts["error"] < (1e-10 if double else 2e-5)
    right &= ties_only(x, dictionary, codes, exact, ~same)
    if shape.batch:
        facts["gradient_error"] = gradient_error(at, codes, exact_at, exact, same)
        right &= facts["gradient_error"] < (1e-10 if double else 1e-3)
    name = f"{shape} {policy.selection}{' tolerance' * (policy.tolerance is not None)} {str(dtype)[6:]}"
    checks.add(name, right, **facts)


def _largest(differences: Tensor) -> float:
    return differences.detach().abs().max().item() if differences.numel() else 0.0


def gradient_error(
    at: list[Tensor], codes: SparseCodes, exact_at: list[Tensor], exact: SparseCodes, same: Tensor
) -> float:
    """The relative error of both gradients together, through the rows that chose the same."""
    generator = torch.Generator().manual_seed(1)
    by_value, by_residual = (
        torch.randn(part.shape, generator=generator, dtype=torch.float64).to(same.device) * same.unsqueeze(1)
        for part in (exact.values, exact.residual)
    )
    for of in (codes, exact):
        loss = (of.values * by_value.to(of.values)).sum() + (of.residual * by_residual.to(of.residual)).sum()
        loss.backward()
    pairs = [(mine.grad, theirs.grad) for mine, theirs in zip(at, exact_at, strict=True)]
    return max(((a.double() - b).norm() / b.norm().clamp_min(1e-30)).item() for a, b in pairs if a is not None)


def ties_only(x: Tensor, dictionary: Tensor, codes: SparseCodes, exact: SparseCodes, other: Tensor) -> bool:
    """Whether each of some rows first chose otherwise where the exact correlations differ by next to nothing."""
    for row in other.nonzero()[:64, 0].tolist():
        residual = x[row].double()
        chosen = zip(codes.indices[row].tolist(), exact.indices[row].tolist(), exact.values[row].tolist(), strict=True)
        for mine, right, value in chosen:
            scores = dictionary[[mine, right]].double() @ residual
            if mine != right:
                if abs(scores[0].abs() - scores[1].abs()) > _NEAR_TIE[x.dtype]:
                    return False
                break
            residual = residual - value * dictionary[right].double()
    return True


def exact_ties(bench: Bench, checks: Checks) -> None:
    """Small whole numbers, with which nothing is rounded: of equal atoms it is always the first."""
    batch, dim, atoms, k = (6, 6, 150, 3) if bench.tiny else (512, 8, 4096, 3)
    generator = torch.Generator().manual_seed(0)
    x, dictionary = (
        torch.randint(-1, 2, (rows, dim), generator=generator).float().to(bench.device) for rows in (batch, atoms)
    )
    for policy in POLICIES:
        found, exact = (
            matching_pursuit(x, dictionary, k, policy=policy, backend=form).indices for form in ("triton", "oracle")
        )
        checks.add(f"exact ties, {policy.selection}", torch.equal(found, exact))


def on_chip_and_streamed(bench: Bench, checks: Checks) -> None:
    """The streamed kernel, and correlations in several blocks, against the oracle."""
    shape = Shape(4, 8, 70, 4) if bench.tiny else Shape(64, 256, 40000, 8)
    x, dictionary = rows_of(bench, shape, torch.float32)
    whole = triton_kernels._BLOCK_BYTES
    for policy in POLICIES:
        exact = matching_pursuit(x.double(), dictionary.double(), shape.k, policy=policy, backend="oracle")
        for name, on_chip, block in (("streamed", 16, whole), ("in blocks", 2**16, 4 * shape.atoms * 3)):
            triton_kernels._BLOCK_BYTES = block
            with matmul_precision("full"):
                found = triton_kernels.pursue(x, dictionary, shape.k, policy, gram_matrix(dictionary), on_chip)
            triton_kernels._BLOCK_BYTES = whole
            codes = SparseCodes(found[0].clamp_min(0), *found[1:])
            other = (codes.indices != exact.indices).any(dim=1)
            same_rows = 1 - other.double().mean().item()
            checks.add(
                f"{name} {shape} {policy.selection}",
                ties_only(x, dictionary, codes, exact, other),
                same_rows=same_rows,
            )


def several_at_once(bench: Bench, checks: Checks) -> None:
    """The dictionaries of a pass in one launch, each against the oracle."""
    shape = Shape(4, 12, 40, 3) if bench.tiny else Shape(1024, 512, 4096, 20)
    x, dictionary = rows_of(bench, shape, torch.float32)
    dictionaries = [dictionary, dictionary.roll(1, 0), dictionary.flip(1)]
    for number, codes in enumerate(pursue_together(x, dictionaries, shape.k, PAPER)):
        exact = matching_pursuit(x.double(), dictionaries[number].double(), shape.k, backend="oracle")
        other = (codes.indices != exact.indices).any(dim=1)
        right = ties_only(x, dictionaries[number], codes, exact, other)
        checks.add(f"dictionary {number} of three at once", right, same_rows=1 - other.double().mean().item())


def layouts(bench: Bench, checks: Checks) -> None:
    """Rows, dictionary and Gram matrix that do not lie one number after the other."""
    shape = Shape(4, 12, 40, 3) if bench.tiny else Shape(300, 512, 4096, 20)
    x, dictionary = rows_of(bench, shape, torch.float32)
    gram = gram_matrix(dictionary)
    apart = torch.empty(len(gram), 2 * len(gram), device=gram.device)[:, ::2].copy_(gram)
    expected = matching_pursuit(x, dictionary, shape.k, backend="triton").indices
    given: dict[str, tuple[Tensor, Tensor, Tensor]] = {
        "rows in wider ones": (torch.cat([x, x], 1)[:, : shape.dim], dictionary, gram),
        "a dictionary by columns": (x, dictionary.T.contiguous().T, gram),
        "a Gram matrix by columns": (x, dictionary, gram.T.contiguous().T),
        "a Gram matrix whose numbers lie two apart": (x, dictionary, apart),
    }
    for name, (rows, atoms, its_gram) in given.items():
        codes = matching_pursuit(rows, atoms, shape.k, backend="triton", gram=its_gram)
        checks.add(name, torch.equal(codes.indices, expected))


def gradients_in_order(bench: Bench, checks: Checks) -> None:
    """The same bits twice, where torch is asked for them; rows that all choose one atom among them."""
    shape = Shape(6, 12, 40, 3) if bench.tiny else Shape(1024, 512, 4096, 20)
    x, dictionary = rows_of(bench, shape, torch.float32)
    x[: shape.batch // 2] = dictionary[3]
    found = []
    torch.use_deterministic_algorithms(True)
    try:
        for _ in range(2):
            at = dictionary.clone().requires_grad_()
            matching_pursuit(x, at, shape.k, backend="triton").residual.square().mean().backward()
            found.append(at.grad)
    finally:
        torch.use_deterministic_algorithms(False)
    checks.add("a gradient in order, twice", torch.equal(*found))


def settings(bench: Bench, checks: Checks) -> None:
    """The same codes whatever the process has set, and on another stream."""
    shape = Shape(300, 512, 4096, 20)
    x, dictionary = rows_of(bench, shape, torch.float32)

    def indices() -> Tensor:
        return matching_pursuit(x, dictionary, shape.k, backend="triton").indices

    expected = indices()

    def check(name: str, found: Callable[[], Tensor]) -> None:
        checks.add(name, torch.equal(found(), expected))

    for precision in ("high", "medium", "highest"):
        torch.set_float32_matmul_precision(precision)
        check(f"float32 where torch is set to {precision}", indices)
    with torch.autocast("cuda", torch.bfloat16):
        check("float32 in an autocast region", indices)
    stream = torch.cuda.Stream(bench.device)
    stream.wait_stream(torch.cuda.current_stream(bench.device))
    with torch.cuda.stream(stream):
        found = indices()
    stream.synchronize()
    check("another stream", lambda: found)
    for other in range(1, torch.cuda.device_count()):
        place = f"cuda:{other}"
        codes = matching_pursuit(x.to(place), dictionary.to(place), shape.k, backend="triton")
        checks.add(f"on {place}, which is not the current one", torch.equal(codes.indices.to(bench.device), expected))
    codes = matching_pursuit(x, dictionary, shape.k, backend="triton", precision="tf32")
    same = (codes.indices == expected).all(dim=1).double().mean().item()
    checks.add("tf32, if it is asked for", same > 0.9, same_rows=same)


def beyond_32_bits(bench: Bench, checks: Checks) -> None:
    """Offsets above 2³¹: into the Gram matrix, and into rows."""
    memory = torch.cuda.get_device_properties(bench.device).total_memory
    if memory < 60 * 2**30:
        checks.add("offsets beyond 2³¹ were not tried: they take 60 GiB", True)
        return
    x, dictionary = planted(Shape(256, 64, 50_000, 4), device=bench.device)
    x[:128] = dictionary[-128:]
    codes = matching_pursuit(x, dictionary, 4, backend="triton")
    checks.add("rows of a Gram matrix beyond 2³¹ numbers", bool((codes.indices[:128, 0] >= 50_000 - 128).all()))
    dictionary = normalize(torch.randn(64, 512, device=bench.device), dim=1)
    x = torch.randn(4_400_000, 512, device=bench.device)
    codes = matching_pursuit(x, dictionary, 2, backend="triton")
    exact = matching_pursuit(x[-512:].double(), dictionary.double(), 2, backend="oracle")
    same = (codes.indices[-512:] == exact.indices).all(dim=1).double().mean().item()
    checks.add("rows beyond 2³¹ numbers", same > 0.99, same_rows=same)


def waiting(bench: Bench, checks: Checks) -> None:
    """A step of training under CUDA's own watch for what waits: launch by launch, and as graphs once there are some."""
    for captured in (False, True):
        trainer = trainer_of(bench, TrainingConfig(beta=(0.0, 4e-4)), 512, captured)
        batches = list(trainer.batches.epoch(0))
        for vectors in batches[: WARM_UPS + 1]:
            trainer._step(vectors, True)
        bench.wait()
        torch.cuda.set_sync_debug_mode("error")
        name = f"a step waits for nothing{', as graphs' * captured}"
        try:
            for vectors in batches[WARM_UPS + 1 :]:
                trainer._step(vectors, True)
            checks.add(name, True)
        except RuntimeError as error:
            checks.add(f"{name} ({error})", False)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def trainer_of(bench: Bench, config: TrainingConfig, dim: int, captured: bool) -> Trainer:
    """A trainer on random pairs on the device, eight batches an epoch."""
    generator = torch.Generator().manual_seed(0)
    pairs = 8 * config.batch_pairs
    vectors = {name: torch.randn(pairs, dim, generator=generator).to(bench.device) for name in ("image", "text")}
    order = PairOrder(np.array([0, pairs]), config.batch_pairs, 0)
    return Trainer(config, PairBatches(order, DeviceRows(vectors)), dim, bench.device, captured=captured)


def as_graphs(bench: Bench, checks: Checks) -> None:
    """Steps as CUDA graphs and launch by launch: the same bits in order, else as near as two of the latter are."""
    for in_order in (True, False):
        name = f"24 steps as graphs{', in order' * in_order}"
        torch.use_deterministic_algorithms(in_order)
        try:
            plain, again, graphs = (some_steps(bench, captured) for captured in (False, False, True))
        except RuntimeError as error:
            checks.add(f"{name} ({error})", False)
            continue
        finally:
            torch.use_deterministic_algorithms(False)
        moved = (plain.after - plain.before).norm()
        apart, of_two = ((each.after - plain.after).norm().div(moved).item() for each in (graphs, again))
        losses = max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(graphs.losses, plain.losses, strict=True))
        right = apart == losses == 0 if in_order else apart < max(10 * of_two, 1e-4) and losses < _SAME_LOSSES
        checks.add(name, right and graphs.captured == bench.on_gpu, apart=apart, of_two_plain=of_two, losses=losses)


@dataclass(frozen=True)
class Steps:
    before: Tensor
    """All weights."""
    after: Tensor
    losses: list[float]
    """Of each step and SAE."""
    captured: bool


def some_steps(bench: Bench, captured: bool) -> Steps:
    """Train the paper's two SAEs for three epochs of eight steps."""
    config = TrainingConfig(beta=(0.0, 4e-4), epochs=3, log_every=1, checkpoint_every=10**9)
    if bench.tiny:
        config = replace(config, expansion=4, k=3, batch_pairs=8)
    trainer = trainer_of(bench, config, 16 if bench.tiny else 512, captured)
    before = weights_of(trainer)
    losses: list[float] = []
    trainer.run(lambda _step, metrics, _save: losses.extend(v for key, v in metrics.items() if "_loss" in key))
    parts = trainer._parts
    return Steps(before, weights_of(trainer), losses, isinstance(parts, CapturedParts) and not parts.gave_up)


def weights_of(trainer: Trainer) -> Tensor:
    return torch.cat([parameter.detach().flatten().double() for parameter in trainer.group.parameters()])
