"""Which form of the pursuit to run: a small cost model that shows its reasoning.

The Gram form computes batch·dim·atoms correlations once and atoms²·dim for G (half of them on a CPU), then reads
batch·(k-1) rows of G. The residual form computes batch·dim·atoms in each of the k rounds. So G pays when
batch·(k-1) is well above atoms, and when there is room for its atoms² numbers. The screen does the same with bf16
products and rows of half the bytes, and then a few float32 products a round.

How fast bf16 products are is a rule by what the processor says of itself, not a race: a training that is resumed on the
same machine must take the form that it began with, however busy the machine was either time.
"""

import importlib.util
import os
from dataclasses import dataclass
from typing import Literal

import torch

from isoenergy.compiling.products import bf16_speed

Form = Literal["oracle", "cpu", "screen", "triton", "residual"]
Backend = Literal["auto", "oracle", "cpu", "screen", "triton", "residual"]

_GRAM_SHARE_OF_MEMORY = 0.25
_SCREEN_FROM = 0.005  # seconds of a core: for less, those that compiling the screen takes, once, do not pay
_ATOMS_A_ROUND = 2  # of whose numbers reading would take as long as candidates and what follows them do


@dataclass(frozen=True)
class _Rates:
    """What a device does a second in float32, to within a factor of two: only ratios of costs matter here."""

    flops: float
    gram_bytes: float
    """Bytes of rows of G that the rounds get through."""
    score_bytes: float
    """Bytes of correlations that a product by tiles writes and reads again."""


# One core of a server with AVX-512; measured by tests/benchmarks/pursuit.py on two.
_CPU_CORE = _Rates(flops=150e9, gram_bytes=14e9, score_bytes=20e9)
# An H200 in IEEE float32, from its data sheet: not measured.
_CUDA = _Rates(flops=60e12, gram_bytes=4e12, score_bytes=4e12)


@dataclass(frozen=True)
class Plan:
    """A choice of form, and why; `print` it."""

    form: Form
    seconds: dict[Form, float]
    """What each possible form is expected to take."""
    gram_bytes: int
    memory: int
    """Bytes of memory on the device."""
    shape: str

    def __str__(self) -> str:
        lines = [f"Matching Pursuit of {self.shape}: {self.form}"]
        lines += [f"  {form:8} {seconds * 1e3:10.2f} ms expected" for form, seconds in self.seconds.items()]
        share = self.gram_bytes / self.memory
        room = "fits" if share <= _GRAM_SHARE_OF_MEMORY else "does not fit"
        lines.append(
            f"  the Gram matrix takes {self.gram_bytes / 2**20:,.0f} MiB, {share:.1%} of the device's memory: "
            f"it {room} in the {_GRAM_SHARE_OF_MEMORY:.0%} allowed"
        )
        return "\n".join(lines)


def plan_pursuit(
    batch: int,
    dim: int,
    atoms: int,
    k: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    has_gram: bool = False,
    gram_dtype: torch.dtype | None = None,
) -> Plan:
    """Choose the form for `batch` rows of width `dim`, a dictionary of `atoms` and `k` rounds.

    has_gram: the Gram matrix is there already, so that it costs nothing.
    gram_dtype: of that one, bfloat16 if it is the screen's; None: `dtype`.
    """
    device = torch.device(device)
    size = torch.empty(0, dtype=dtype).element_size()
    rates, memory = _rates(device), _memory(device)
    flops = rates.flops * 4 / size
    product = 2 * batch * dim * atoms / flops
    gram_product = (1 if device.type == "cpu" else 2) * atoms * atoms * dim / flops
    gram_bytes = atoms * atoms * size
    seconds: dict[Form, float] = {
        "residual": k * (product + 2 * batch * atoms * size / rates.score_bytes),
    }
    gram_form = _gram_form(device)
    screens = has_gram and gram_dtype == torch.bfloat16
    if gram_form and not screens and (has_gram or gram_bytes <= _GRAM_SHARE_OF_MEMORY * memory):
        rounds = batch * (k - 1) * atoms * size / rates.gram_bytes
        seconds[gram_form] = product + rounds + (0 if has_gram else gram_product)
    speed = bf16_speed() if device.type == "cpu" and dtype == torch.float32 else 0
    pays = speed and not has_gram and min(seconds.values()) * rates.flops >= _SCREEN_FROM * _CPU_CORE.flops
    if screens or (pays and gram_bytes / 2 <= _GRAM_SHARE_OF_MEMORY * memory):
        rounds = batch * k * (atoms * 2 / rates.gram_bytes + dim * 4 * _ATOMS_A_ROUND / rates.gram_bytes)
        seconds["screen"] = (product + (0 if has_gram else gram_product)) / max(speed, 1) + rounds
    shape = f"{batch:,} × {dim:,}, {atoms:,} atoms, k = {k}, {str(dtype).removeprefix('torch.')} on {device.type}"
    form = min(seconds, key=lambda name: seconds[name])
    return Plan(form, seconds, gram_bytes // 2 if form == "screen" else gram_bytes, memory, shape)


def _gram_form(device: torch.device) -> Form | None:
    if device.type == "cpu":
        return "cpu"
    return "triton" if device.type in ("cuda", "meta") and importlib.util.find_spec("triton") else None


def _rates(device: torch.device) -> _Rates:
    if device.type != "cpu":
        return _CUDA
    cores = torch.get_num_threads()
    return _Rates(_CPU_CORE.flops * cores, _CPU_CORE.gram_bytes * cores, _CPU_CORE.score_bytes * cores)


def _memory(device: torch.device) -> int:
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
