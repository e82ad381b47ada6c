"""That a step can be captured and replayed as CUDA graphs, shown without a GPU: a tape of its operators stands in."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import isoenergy.pursuit as pursuit
from isoenergy.alignments import Alignment
from isoenergy.codes import sparse_codes
from isoenergy.pursuit import oracle
from isoenergy.pursuit.policy import PursuitPolicy
from isoenergy.pursuit.reverse import reverse
from isoenergy.sae import group
from isoenergy.sparse_encoders import JumpReLU
from isoenergy.store.batches import PairBatches
from isoenergy.training import trainer as trainer_module
from isoenergy.training.step_parts import WARM_UPS, CapturedParts, PlainParts
from isoenergy.training.trainer import Metrics, SaveCheckpoint, Trainer, TrainingConfig
from tests.interpreted import require_passes_in_interpreter
from tests.training.planted_pairs import planted
from tests.training.tape import Tape

META = torch.device("meta")
CONFIG = TrainingConfig(
    beta=(0.0, 1e-2), expansion=3, k=3, epochs=3, batch_pairs=20, learning_rate=2e-2, log_every=2, checkpoint_every=4
)
OF_THE_CLOCK = {"rows_per_second", "waiting_for_data"}
MEANS = {"image": torch.linspace(-0.1, 0.1, 8), "text": torch.linspace(0.2, -0.1, 8)}
BIASED = replace(CONFIG, bias_atoms="means", gradient_clip=1e-3)
ALIGNMENTS = [member() for member in Alignment.members().values() if member() != CONFIG.alignment]


def pursue_by_oracle(
    x: Tensor, dictionary: Tensor, k: int, policy: PursuitPolicy, gram: Tensor, dictionaries: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """`triton_kernels.pursue` without Triton."""
    del gram
    parts = zip(x.chunk(dictionaries), dictionary.chunk(dictionaries), strict=True)
    found = [oracle.pursue(rows, atoms, k, policy) for rows, atoms in parts]
    atoms = len(dictionary) // dictionaries
    counted = [(indices + number * atoms, *rest) for number, (indices, *rest) in enumerate(found)]
    indices, values, residual = (torch.cat(each) for each in zip(*counted, strict=True))
    return indices.int(), values, residual


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    """A step does on a CPU what it does on a GPU, with the oracle for the kernels, and tapes for graphs: those made."""
    kernels = SimpleNamespace(pursue=pursue_by_oracle, reverse=lambda *given: reverse(*given[:-1]))
    monkeypatch.setattr(pursuit, "triton_kernels", kernels, raising=False)
    return act_as_on_a_gpu(monkeypatch)


def act_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    monkeypatch.setattr(pursuit, "_form", lambda *_: "triton")
    monkeypatch.setattr(group, "pays_together", lambda _x, dictionaries, _k: len(dictionaries) > 1)
    monkeypatch.setattr(sparse_codes, "_compiled_for", lambda _: False)
    return tapes_for_graphs(monkeypatch)


def tapes_for_graphs(monkeypatch: pytest.MonkeyPatch) -> list[Tape]:
    tapes: list[Tape] = []

    def tape() -> Tape:
        tapes.append(Tape())
        return tapes[-1]

    monkeypatch.setattr(trainer_module, "graphs_of", lambda _: tape)
    return tapes


def fresh(config: TrainingConfig, captured: bool = True, device: torch.device | None = None, **more: Any) -> Trainer:
    pairs = planted(130, gap=4)
    batches = PairBatches.of_arrays(pairs.images, pairs.texts, config.batch_pairs, 0)
    return Trainer(config, batches, 8, device, means=MEANS, captured=captured, **more)


def run(trainer: Trainer, folder: Path) -> list[Metrics]:
    """Train to the end, with all checkpoints; return what was reported."""
    found: list[Metrics] = []

    def report(step: int, metrics: Metrics, save: SaveCheckpoint | None) -> None:
        found.append(
            {key: value for key, value in metrics.items() if key not in {"rows_per_second", "waiting_for_data"}}
        )
        if save is not None:
            save(folder / str(step))

    trainer.run(report)
    return found


def require_same_files(one: Path, other: Path) -> None:
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    assert {path.name for path in files} >= {"trainer.json", "trainer.safetensors", "sae.safetensors"}
    for path in files:
        assert (one / path).read_bytes() == (other / path).read_bytes(), path


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        replace(CONFIG, beta=1e-2),
        BIASED,
        replace(CONFIG, atom_norm="free", dictionaries="own", learning_rate=2e-3),
        *(replace(CONFIG, alignment=each) for each in ALIGNMENTS if each != CONFIG.alignment),
    ],
    ids=[
        "two",
        "one",
        "bias atoms",
        "own dictionaries",
        *(str(each) for each in ALIGNMENTS if each != CONFIG.alignment),
    ],
)
def test_replayed_steps_are_those_that_were_not_captured(
    as_on_a_gpu: list[Tape], config: TrainingConfig, tmp_path: Path
) -> None:
    plain = run(fresh(config, captured=False), tmp_path / "plain")
    assert as_on_a_gpu == []
    assert run(fresh(config), tmp_path / "captured") == plain
    assert [(tape.warm_ups, tape.replays) for tape in as_on_a_gpu] == [(WARM_UPS, 18 - WARM_UPS)] * 2
    require_same_files(tmp_path / "plain", tmp_path / "captured")


def test_steps_that_are_measured_and_others_have_graphs_of_their_own(as_on_a_gpu: list[Tape], tmp_path: Path) -> None:
    """Each writes its own gradients, and Adam takes those of the graph that has run."""
    for name in ("plain", "captured"):
        trainer = fresh(CONFIG, captured=name == "captured")
        for epoch in range(CONFIG.epochs):
            for number, vectors in enumerate(trainer.batches.epoch(epoch)):
                trainer._step(vectors, measured=number % 2 == 0)
        trainer.save(tmp_path / name)
    assert [tape.replays for tape in as_on_a_gpu] == [9 - WARM_UPS, 18 - WARM_UPS, 9 - WARM_UPS]
    require_same_files(tmp_path / "plain", tmp_path / "captured")


def test_a_captured_run_is_resumed_where_it_was(as_on_a_gpu: list[Tape], tmp_path: Path) -> None:
    """By a new trainer, and by one that has captured its steps already."""
    whole = run(fresh(CONFIG), tmp_path / "whole")
    used = fresh(CONFIG)
    run(used, tmp_path / "used")
    for name, trainer in {"new": fresh(CONFIG), "used": used}.items():
        trainer.load(tmp_path / "whole" / "8")
        assert run(trainer, tmp_path / name)[-1] == whole[-1]
        require_same_files(tmp_path / "whole" / "18", tmp_path / name / "18")
    assert [tape.replays for tape in as_on_a_gpu[2:4]] == [18 - WARM_UPS + 10] * 2


@pytest.mark.usefixtures("as_on_a_gpu")
def test_what_cannot_be_captured_is_said_once_and_trained_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(tape: Tape, part: Callable[[], None]) -> None:
        Tape.capture_all(tape, part)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    plain = run(fresh(CONFIG, captured=False), tmp_path / "plain")
    monkeypatch.setattr(Tape, "capture_all", Tape.capture, raising=False)
    monkeypatch.setattr(Tape, "capture", fail)
    with pytest.warns(RuntimeWarning) as said:
        assert run(fresh(CONFIG), tmp_path / "captured") == plain
    assert [str(each.message) for each in said] == [
        "a training step could not be captured in a CUDA graph, and goes on launch by launch, with the same results "
        "(operation not permitted when stream is capturing)"
    ]
    require_same_files(tmp_path / "plain", tmp_path / "captured")


@pytest.mark.parametrize(
    ("config", "more"),
    [
        (CONFIG, {"captured": False}),
        (replace(CONFIG, revival=0.1), {}),
        (replace(CONFIG, sparse_encoder=JumpReLU()), {}),
        (CONFIG, {"wrap": lambda module: nn.Sequential(module)}),
    ],
    ids=["unasked", "revival", "an encoder that waits", "several processes"],
)
def test_what_waits_is_not_captured(
    monkeypatch: pytest.MonkeyPatch, config: TrainingConfig, more: dict[str, Any]
) -> None:
    tapes_for_graphs(monkeypatch)
    assert isinstance(fresh(CONFIG)._parts, CapturedParts)
    assert isinstance(fresh(config, **more)._parts, PlainParts)


def test_on_a_cpu_nothing_is_captured() -> None:
    assert isinstance(fresh(CONFIG)._parts, PlainParts)


def alternating(parts: PlainParts | CapturedParts, part: Callable[[Tensor], None]) -> None:
    """Run a part on other numbers each time, and now and then on fewer."""
    for number in range(3 * WARM_UPS):
        parts.run("part", part, torch.full((3,), 2.0**number))
        parts.run("part", part, torch.full((1,), -(3.0**number)))


class Sum:
    """What a part may do with a batch: as a graph can repeat it, and not."""

    def __init__(self) -> None:
        self.total, self.calls, self.batch = torch.zeros(3), 0, torch.zeros(3)

    def in_place(self, x: Tensor) -> None:
        self.total += 2 * x

    def bound_anew(self, x: Tensor) -> None:
        self.total = self.total + 2 * x

    def by_a_count(self, x: Tensor) -> None:
        self.calls += 1
        self.total += self.calls * x

    def of_what_is_no_input(self, x: Tensor) -> None:
        self.batch = self.batch * 2 + 1
        self.total += x * self.batch


@pytest.mark.parametrize(
    ("part", "right"),
    [(Sum.in_place, True), (Sum.bound_anew, False), (Sum.by_a_count, False), (Sum.of_what_is_no_input, False)],
)
def test_a_tape_is_as_wrong_as_a_graph_would_be(part: Callable[[Sum, Tensor], None], right: bool) -> None:
    plain, captured = Sum(), Sum()
    alternating(PlainParts(), partial(part, plain))
    parts = CapturedParts(Tape, [])
    alternating(parts, partial(part, captured))
    assert len(parts._parts) == 2  # one for each size
    assert torch.equal(plain.total, captured.total) == right


@pytest.mark.parametrize("measured", [True, False])
@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, beta=1e-2), BIASED], ids=["two", "one", "bias atoms"])
def test_a_later_step_gives_a_gpu_the_same_operators_numbers_and_memory(config: TrainingConfig, measured: bool) -> None:
    """By the very operators of a GPU, on the meta device; only where they are read are the batches' numbers others."""
    pytest.importorskip("triton")
    trainer = fresh(config, device=META)
    told = [[line for tape in tapes for line in tape.told()] for tapes in recorded_steps(trainer, 5, measured)]
    assert {name for name, _ in told[0]} >= {"isoenergy.pursue.default", "isoenergy.reverse.default"}
    assert told[1] == told[2] == told[3] == told[4]


def test_adam_is_given_other_numbers_each_time() -> None:
    """So it is no part: the learning rate and the first momentum are a schedule's."""
    trainer = fresh(CONFIG, device=META)
    recorded_steps(trainer, 1, measured=True)
    told = []
    for _ in range(2):
        with Tape() as tape:
            trainer._optimizer.step()
        trainer._schedule.step()
        told.append(tape.told())
    assert [name for name, _ in told[0]] == [name for name, _ in told[1]]
    assert told[0] != told[1]


def recorded_steps(trainer: Trainer, count: int, measured: bool) -> list[list[Tape]]:
    """Take steps; return the tapes of each one's parts, which read their batch from the same memory each time."""
    memory: dict[Any, Tensor] = {}
    steps = []
    for vectors in islice(trainer.batches.epoch(0), count):
        parts = Recorded(memory)
        trainer._parts = parts
        trainer._step(vectors, measured)
        steps.append(parts.tapes)
    return steps


class Recorded(PlainParts):
    def __init__(self, memory: dict[Any, Tensor]) -> None:
        self.memory, self.tapes = memory, list[Tape]()

    def run(self, name: Any, part: Callable[..., None], *inputs: Tensor) -> None:
        places = [self.memory.setdefault((name, number, x.shape), x) for number, x in enumerate(inputs)]
        self.tapes.append(Tape())
        with self.tapes[-1]:
            part(*places)


def check_in_interpreter(folder: Path) -> None:
    """Two SAEs at once and one, by Triton's kernels."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        tapes = act_as_on_a_gpu(monkeypatch)
        for config in (CONFIG, replace(CONFIG, beta=1e-2)):
            small = replace(config, batch_pairs=2, window_pairs=8)
            for captured in (False, True):
                trainer = fresh(small, captured=captured)
                for vectors in islice(trainer.batches.epoch(0), WARM_UPS + 3):
                    trainer._step(vectors, measured=True)
                trainer.save(folder / str(captured))
            require_same_files(folder / "True", folder / "False")
        assert [tape.replays for tape in tapes] == [3] * 4
        assert all("isoenergy.pursue" in str(tape.told()) for tape in tapes[::2])


def test_replayed_kernels_give_what_they_gave(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    require_passes_in_interpreter(
        f"from tests.training.test_captured_steps import *; check_in_interpreter(Path({str(tmp_path)!r}))"
    )


@pytest.mark.gpu
@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: nothing is shown of one")
def test_graphs_give_what_launches_give_on_a_gpu(tmp_path: Path) -> None:
    """With sums in order; a capture that fails would warn."""
    torch.use_deterministic_algorithms(True)
    try:
        for config in (CONFIG, replace(CONFIG, beta=1e-2)):
            reports = [
                run(fresh(config, captured, torch.device("cuda")), tmp_path / str(captured))
                for captured in (False, True)
            ]
            assert reports[0] == reports[1]
            require_same_files(tmp_path / "False", tmp_path / "True")
    finally:
        torch.use_deterministic_algorithms(False)
