"""A Gram matrix that the processes of a node compute together: each some panels of it, in memory that all map.

Every data-parallel worker needs the whole matrix; on a CPU, computing it takes as long as pursuing the rows of a small
batch. The result is that of `gram_matrix`, or of `screen_gram_matrix`, and nothing is left behind by a kill.
"""

import os

import numpy as np
import torch
from torch import Tensor

from isoenergy.distributed import NodeGroup
from isoenergy.pursuit.gram import GRAM_PANEL, even_parts, matmul_precision, padded_row, write_panel
from isoenergy.pursuit.screen_gram import SCREEN_PANEL, screen_row, write_screen_panel


class SharedGram:
    """The `(atoms, atoms)` inner products of a dictionary of which each process holds the same copy."""

    def __init__(self, atoms: int, node: NodeGroup, screens: bool = False) -> None:
        """Map the memory; all processes of the node must call it together.

        screens: whether it is that of `screen_gram_matrix`, not of `gram_matrix`.
        """
        self._screens = screens
        row = screen_row(atoms) if screens else padded_row(atoms, torch.float32)
        number = np.dtype(np.int16 if screens else np.float32)
        given: str | None = None
        descriptor: int | None = None
        if node.rank == 0:
            descriptor = os.memfd_create("isoenergy-gram")
            os.truncate(descriptor, number.itemsize * atoms * row)  # zeros, as lie behind the screen's rows
            given = f"/proc/{os.getpid()}/fd/{descriptor}"
        place = node.gather(given)[0]
        assert place is not None
        memory = torch.from_numpy(np.memmap(place, number, "r+", shape=(atoms, row)))
        self.gram: Tensor = (memory.view(torch.bfloat16) if screens else memory)[:, :atoms]
        node.barrier()
        if descriptor is not None:
            os.close(descriptor)
        # Panel p costs p times as much as the first: taken in turn, to and fro, the shares are nearly equal.
        turns = [*range(node.size), *reversed(range(node.size))]
        panels = even_parts(atoms, SCREEN_PANEL if screens else GRAM_PANEL)
        self._panels = [p for number, p in enumerate(panels) if turns[number % len(turns)] == node.rank]

    def compute(self, dictionary: Tensor) -> None:
        """Write this process's panels; `gram` is whole once all processes of the node have passed a barrier."""
        with torch.no_grad(), matmul_precision("full"):
            atoms = dictionary.to(torch.bfloat16) if self._screens else dictionary
            write = write_screen_panel if self._screens else write_panel
            for low, high in self._panels:
                write(self.gram, atoms, low, high)
