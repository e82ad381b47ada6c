"""That a step of training never waits for a GPU, shown without one.

The step runs on torch's meta device, whose tensors have shapes and no values: `item`, `bool`, `nonzero` and boolean
indexing raise there. Copies from the host, which wait unless they are told not to, are recorded.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from isoenergy.store.batches import PairBatches
from isoenergy.training import Trainer, TrainingConfig

META = torch.device("meta")
PAIRS, DIM = 64, 16
_COPIES = ("aten._to_copy", "aten.copy_")


class WaitingCopies(TorchDispatchMode):
    """Records what brings numbers from the host to the device and waits for them to be there."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.operators: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: object, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = str(func).removesuffix(".default")
        self.operators[name] += 1
        if name == "aten.lift_fresh":  # torch.tensor and new_tensor, of Python's numbers
            waits = result.device == META
        else:
            non_blocking = kwargs.get("non_blocking", name == "aten.copy_" and args[2:] == (True,))
            waits = name in _COPIES and result.device == META and _from_host(name, args) and not non_blocking
        if waits:
            self.names.append(name)
        return result


def _from_host(name: str, args: Sequence[Any]) -> bool:
    source: Tensor = args[1 if name == "aten.copy_" else 0]
    return source.device.type == "cpu"


def steps(config: TrainingConfig, measured: bool) -> WaitingCopies:
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(PAIRS, DIM, generator=generator).half() for _ in range(2))
    batches = PairBatches.of_arrays(images, texts, config.batch_pairs, 0)
    trainer = Trainer(config, batches, DIM, META, means={name: torch.ones(DIM) for name in ("image", "text")})
    first, *others = list(batches.epoch(0))
    trainer._step(first, measured)  # Adam makes its state here
    with WaitingCopies() as copies:
        for vectors in others:
            trainer._step(vectors, measured)
    assert trainer.step == len(others) + 1
    return copies


@pytest.mark.parametrize("measured", [True, False])
def test_a_step_of_two_saes_waits_for_nothing(measured: bool) -> None:
    pytest.importorskip("triton")
    copies = steps(TrainingConfig(beta=(0.0, 4e-4), expansion=4, k=3, batch_pairs=16, epochs=1), measured)
    assert copies.operators["isoenergy.pursue"] == copies.operators["isoenergy.reverse"] == PAIRS // 16 - 1  # at once
    assert copies.names == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.isfinite().all()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: x.cpu(),
    ],
)
def test_what_waits_for_values_is_noticed(wait: Callable[[Tensor], object]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.ones(3, device=META))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.new_tensor(3.0),
        lambda x: torch.tensor([1, 2], device=x.device),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
    ],
)
def test_copies_that_wait_are_noticed(wait: Callable[[Tensor], object]) -> None:
    with WaitingCopies() as copies:
        wait(torch.ones(3, device=META))
    assert copies.names
    with WaitingCopies() as copies:
        torch.ones(3).to(META, non_blocking=True)
        torch.ones(3, device=META).copy_(torch.ones(3), non_blocking=True)
    assert copies.names == []
