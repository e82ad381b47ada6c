"""Real processes over gloo: any number of them with the same global batches end with the same weights and metrics."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isoenergy.alignments import Cosine, GroupSparse, IsoEnergy
from isoenergy.distributed import NodeGroup, from_first, largest_of_all, rows_of_all, sum_of_all
from isoenergy.sae.group import SaeGroup
from isoenergy.sparse_encoders import BatchTopK, JumpReLU, ReLU, TopK
from isoenergy.store.batches import PairBatches
from isoenergy.training.trainer import Metrics, Trainer, TrainingConfig
from tests.node_processes import run_processes

DIM, BATCH = 16, 20  # 20 pairs: 7, 7 and 6 for three workers
CONFIG = TrainingConfig(
    beta=(0.0, 1e-3), expansion=20, k=4, epochs=2, batch_pairs=BATCH, learning_rate=5e-3, log_every=3
)
CASES = {
    "matching-pursuit": CONFIG,
    "shared-gram": CONFIG,
    "iso-energy": replace(CONFIG, alignment=IsoEnergy(), beta=(1e-3, 1e-2)),
    "cosine": replace(CONFIG, alignment=Cosine(), atom_norm="free"),
    "revival": replace(CONFIG, revival=0.1, dead_after=2),
    "batch-top-k": replace(CONFIG, sparse_encoder=BatchTopK(), alignment=IsoEnergy(), revival=0.1, dead_after=2),
    "jump-relu": replace(CONFIG, sparse_encoder=JumpReLU(), input="centred"),
    "top-k": replace(CONFIG, sparse_encoder=TopK(), alignment=GroupSparse(), revival=0.1, dead_after=2),
    "bias-atoms": replace(CONFIG, bias_atoms="means", revival=0.1, dead_after=2),
    "relu": replace(CONFIG, sparse_encoder=ReLU(), alignment=IsoEnergy(), gradient_clip=1e-3),
}
OF_THE_CLOCK = ("rows_per_second", "waiting_for_data")


def pairs() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    mixture = generator.dirichlet([0.3] * 12, size=130) @ generator.normal(size=(12, DIM))
    noise = 0.05 * generator.normal(size=(2, 130, DIM))
    return tuple((mixture + noise[side] + (1 - 2 * side) * np.eye(DIM)[0]).astype(np.float16) for side in range(2))


def train(name: str, rank: int, workers: int, node: NodeGroup) -> tuple[dict[str, Tensor], list[Metrics]]:
    """Train a case as a Ray worker does."""
    grams = []

    def wrap(module: nn.Module) -> nn.Module:
        assert isinstance(module, SaeGroup)
        if name == "shared-gram":
            module.share_grams(node, -(-BATCH // workers))
            grams.extend(module._grams)
        if workers == 1:
            return module
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)

    images, texts = pairs()
    batches = PairBatches.of_arrays(images, texts, BATCH, 0, rank, workers)
    means = {"image": torch.linspace(-0.1, 0.1, DIM), "text": torch.linspace(0.2, -0.1, DIM)}
    there = [torch.from_numpy(rows[:30]) for rows in (images, texts)]
    validation = there if rank == 0 else [rows[:0] for rows in there]
    trainer = Trainer(CASES[name], batches, DIM, wrap=wrap, means=means, validation=tuple(validation))
    history: list[Metrics] = []
    trainer.run(lambda _step, metrics, _save: history.append(metrics))
    assert len(grams) == (2 if name == "shared-gram" and workers > 1 else 0)
    return trainer.group.state_dict() | {"idle_steps": trainer._idle_steps}, history


def selections(rank: int, workers: int) -> dict[str, Tensor]:
    """What the sums and selections over all processes give, of the numbers 0 to 29 shared among them."""
    first, last = (30 * edge // workers for edge in (rank, rank + 1))
    own = torch.arange(float(first), float(last), requires_grad=True)
    total = sum_of_all(own.square().sum())
    total.backward()
    return {
        "total": total.detach(),
        "share of the gradient": own.grad[0] / workers - 2 * first,
        "rows": torch.tensor(rows_of_all(last - first, own.device)),
        "largest": largest_of_all(own.detach(), 13),
        "all": largest_of_all(own.detach(), 50),
        "first": from_first(torch.tensor([float(rank)])),
    }


def work(rank: int, workers: int, folder: Path) -> None:
    if workers > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    node = NodeGroup.form()
    assert (node.rank, node.size) == (rank, workers)
    save_file(selections(rank, workers), folder / f"selections-{rank}.safetensors")
    for name in CASES:
        weights, history = train(name, rank, workers, node)
        save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / f"{name}-{rank}.safetensors")
        (folder / f"{name}-{rank}.json").write_text(json.dumps(history))
    if workers > 1:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("alone")
    work(0, 1, folder)
    return folder


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """How many processes there were, and what they came to."""
    workers, folder = request.param, tmp_path_factory.mktemp("together")
    run_processes(work, (workers, folder), workers)
    return workers, folder


@pytest.mark.parametrize("name", CASES)
def test_workers_end_with_the_weights_of_one(alone: Path, together: tuple[int, Path], name: str) -> None:
    workers, folder = together
    expected = load_file(alone / f"{name}-0.safetensors")
    untrained = SaeGroup(CASES[name].saes(DIM)).state_dict()
    for rank in range(workers):
        found = load_file(folder / f"{name}-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for key, tensor in found.items():
            torch.testing.assert_close(
                tensor, expected[key], rtol=1e-4, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
            )
    for key, tensor in untrained.items():
        if "dictionary" in key:
            assert (expected[key] - tensor).abs().max() > 1e-2


@pytest.mark.parametrize("name", CASES)
def test_workers_report_the_metrics_of_one(alone: Path, together: tuple[int, Path], name: str) -> None:
    workers, folder = together
    expected = json.loads((alone / f"{name}-0.json").read_text())
    assert "beta-0.001/validation_r2" in expected[-1]
    for rank in range(workers):
        found = json.loads((folder / f"{name}-{rank}.json").read_text())
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            for key in one.keys() - set(OF_THE_CLOCK):
                assert one[key] == pytest.approx(other[key], rel=1e-3, abs=1e-6), key


def test_atoms_die_and_are_revived_alike(alone: Path) -> None:
    history = json.loads((alone / "revival-0.json").read_text())
    assert any(metrics["beta-0/dead_atoms"] > 0 and metrics["beta-0/revival_loss"] > 0 for metrics in history)


def test_sums_and_selections_are_those_of_all_rows(alone: Path, together: tuple[int, Path]) -> None:
    for workers, folder in ((1, alone), together):
        for rank in range(workers):
            found = load_file(folder / f"selections-{rank}.safetensors")
            assert found["total"] == sum(number**2 for number in range(30))
            assert found["share of the gradient"] == 0
            assert found["rows"] == 30
            assert found["largest"].tolist() == [float(number) for number in range(29, 16, -1)]
            assert found["all"].tolist() == [float(number) for number in range(29, -1, -1)]
            assert found["first"] == 0
