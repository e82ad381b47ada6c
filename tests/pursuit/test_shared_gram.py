"""A Gram matrix that several processes compute together is bit for bit the one that each would compute alone."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from isoenergy.distributed import NodeGroup
from isoenergy.pursuit import gram_matrix, matching_pursuit, screen_gram_matrix
from isoenergy.pursuit.shared_gram import SharedGram
from tests.node_processes import run_processes

SIZES = [1, 255, 256, 257, 1100]


def work(rank: int, workers: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=workers)
    node = NodeGroup.form()
    for atoms in SIZES:
        shared, bf16 = SharedGram(atoms, node), SharedGram(atoms, node, screens=True)
        for seed in range(3):  # as steps of a training do, with new atoms each time
            dictionary = torch.randn(atoms, 24, generator=torch.Generator().manual_seed(seed))
            shared.compute(dictionary.requires_grad_())
            node.barrier()
            assert torch.equal(shared.gram, gram_matrix(dictionary))
            assert not shared.gram.requires_grad
            bf16.compute(dictionary)
            node.barrier()
            assert torch.equal(bf16.gram, screen_gram_matrix(dictionary))
            rows = torch.randn(5, 24, generator=torch.Generator().manual_seed(9))
            codes = matching_pursuit(rows, dictionary, 3, backend="cpu", gram=shared.gram)
            assert torch.equal(codes.indices, matching_pursuit(rows, dictionary, 3, backend="cpu").indices)
            node.barrier()
    del shared, bf16, codes
    assert not [path for path in Path("/proc/self/fd").iterdir() if "isoenergy-gram" in str(path.resolve())]
    dist.destroy_process_group()


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_it_is_the_gram_matrix_and_leaves_no_descriptor_behind(workers: int, tmp_path: Path) -> None:
    run_processes(work, (workers, str(tmp_path)), workers)


def test_a_process_alone_computes_all_of_it() -> None:
    dictionary = torch.randn(600, 24, generator=torch.Generator().manual_seed(0))
    shared = SharedGram(600, NodeGroup())
    shared.compute(dictionary)
    assert torch.equal(shared.gram, gram_matrix(dictionary))
