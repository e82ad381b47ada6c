"""Several SAEs on the same batches: one for each β and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from isoenergy.codes import Codes
from isoenergy.distributed import NodeGroup
from isoenergy.objective import reconstruction_loss
from isoenergy.pursuit import plan_pursuit
from isoenergy.pursuit.shared_gram import SharedGram
from isoenergy.sae import MODALITIES, SparseAutoencoder
from isoenergy.sparse_encoders import MatchingPursuit
from isoenergy.training_config import TrainingConfig

LOSSES = ("reconstruction_loss", "alignment", "sparsity_penalty", "revival_loss")


@dataclass(frozen=True)
class GroupOutput:
    """What a forward pass gives, over this process's rows."""

    losses: Tensor
    """`(SAEs, 4)`, in the order of `LOSSES`."""
    squared_errors: Tensor
    """`(SAEs, 2)` sums over all entries, images and texts."""
    fires: Tensor
    """`(SAEs, 2, atoms)` rows in which each atom fires, by modality."""
    energies: Tensor
    """`(SAEs, 2, atoms)` sums of the squared coefficients, by modality."""
    inputs: Tensor
    """`(2, 3)` number, sum and sum of squares of the input's entries, by modality."""


class SaeGroup(nn.Module):
    """SAEs of one size; those of one seed start from the same initialisation, whatever their β."""

    def __init__(self, config: TrainingConfig, dim: int) -> None:
        super().__init__()
        self._config = config
        saes = config.saes(dim)
        self.names = list(saes)
        self.saes = [SparseAutoencoder(sae, torch.Generator().manual_seed(seed)) for sae, seed in saes.values()]
        self._registered = nn.ModuleList(self.saes)
        self._grams: list[SharedGram] = []
        self._node = NodeGroup()

    def share_grams(self, node: NodeGroup, rows: int) -> None:
        """Compute Gram matrices once a node, for `rows` rows a process, if there are several and it pays."""
        sae = self.saes[0].config
        plan = plan_pursuit(rows * node.size, sae.dim, sae.atoms, sae.k, "cpu")
        if node.size > 1 and isinstance(sae.sparse_encoder, MatchingPursuit) and plan.form == "cpu":
            self._node, self._grams = node, [SharedGram(sae.atoms, node) for _ in self.saes]

    def forward(self, images: Tensor, texts: Tensor, dead: Tensor) -> GroupOutput:
        """Encode `(pairs, dim)` raw embeddings with every SAE, whose dead atoms are `dead`, `(SAEs, atoms)` bool."""
        rows = torch.cat([self.saes[0].prepare(part, m) for part, m in zip((images, texts), MODALITIES, strict=True)])
        for sae, gram in zip(self.saes, self._grams, strict=False):
            gram.compute(sae.dictionary)
        if self._grams:
            self._node.barrier()
        grams: Sequence[Tensor | None] = [gram.gram for gram in self._grams] or [None] * len(self.saes)
        outputs = [self._one(*each, rows) for each in zip(self.saes, grams, dead, strict=True)]
        losses, errors, fires, energies = (torch.stack(part) for part in zip(*outputs, strict=True))
        return GroupOutput(losses, errors, fires, energies, _sums(rows))

    def _one(self, sae: SparseAutoencoder, gram: Tensor | None, dead: Tensor, rows: Tensor) -> tuple[Tensor, ...]:
        codes = sae(rows, gram)
        both: tuple[Codes, Codes] = codes.split(len(rows) // 2)
        with torch.set_grad_enabled(torch.is_grad_enabled() and sae.config.beta > 0):
            alignment = self._config.alignment(*both, sae.config.atoms)
        zero = alignment.new_zeros(())
        revival = sae.encoder.revival(rows, codes, sae.dictionary, dead) if self._config.revival else zero
        penalty = sae.encoder.penalty(codes, sae.dictionary)
        with torch.no_grad():
            errors = torch.stack([part.residual.square().sum() for part in both])
            fires = torch.stack([part.fires(sae.config.atoms) for part in both])
            energies = torch.stack([part.energy(sae.config.atoms) * len(part.residual) for part in both])
        return torch.stack([reconstruction_loss(codes), alignment, penalty, revival]), errors, fires, energies

    def project_atoms(self) -> None:
        """Rescale every atom of every SAE to unit norm, unless atoms are free."""
        for sae in self.saes:
            sae.project_atoms()


def _sums(rows: Tensor) -> Tensor:
    sums = [(part.new_tensor(part.numel()), part.sum(), part.square().sum()) for part in rows.chunk(2)]
    return torch.stack([torch.stack(part) for part in sums])
