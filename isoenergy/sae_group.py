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

_NORM_FLOOR = 1e-6
LOSSES = ("reconstruction_loss", "alignment", "sparsity_penalty", "revival_loss")


@dataclass(frozen=True)
class RowSums:
    """What is reported of a forward pass beside its losses, over this process's rows."""

    squared_errors: Tensor
    """`(SAEs, 2)` sums over all entries, images and texts."""
    fires: Tensor
    """`(SAEs, 2, atoms)` rows in which each atom fires, by modality."""
    energies: Tensor
    """`(SAEs, 2, atoms)` sums of the squared coefficients, by modality."""
    inputs: Tensor
    """`(2, 3)` number, sum and sum of squares of the input's entries, by modality."""


@dataclass(frozen=True)
class GroupOutput:
    """What a forward pass gives, over this process's rows."""

    losses: Tensor
    """`(SAEs, 4)`, in the order of `LOSSES`."""
    sums: RowSums | None
    """None if they were not asked for."""


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

    def forward(self, images: Tensor, texts: Tensor, dead: Tensor, measured: bool = True) -> GroupOutput:
        """Encode `(pairs, dim)` raw embeddings with every SAE, whose dead atoms are `dead`, `(SAEs, atoms)` bool.

        measured: whether to sum up what reports need: a third of the time of a step with few atoms. If not, an
        alignment that weighs nothing is not computed either, and given as 0.
        """
        rows = torch.cat([self.saes[0].prepare(part, m) for part, m in zip((images, texts), MODALITIES, strict=True)])
        for sae, gram in zip(self.saes, self._grams, strict=False):
            gram.compute(sae.dictionary)
        if self._grams:
            self._node.barrier()
        grams: Sequence[Tensor | None] = [gram.gram for gram in self._grams] or [None] * len(self.saes)
        losses, sums = [], []
        for sae, its_gram, its_dead in zip(self.saes, grams, dead, strict=True):
            codes = sae(rows, its_gram)
            both: tuple[Codes, Codes] = codes.split(len(rows) // 2)
            losses.append(self._losses(sae, rows, codes, both, its_dead, measured))
            if measured:
                sums.append(_sums_of_codes(both, sae.config.atoms))
        if not measured:
            return GroupOutput(torch.stack(losses), None)
        errors, fires, energies = (torch.stack(part) for part in zip(*sums, strict=True))
        return GroupOutput(torch.stack(losses), RowSums(errors, fires, energies, _sums_of_entries(rows)))

    def _losses(
        self,
        sae: SparseAutoencoder,
        rows: Tensor,
        codes: Codes,
        both: tuple[Codes, Codes],
        dead: Tensor,
        measured: bool,
    ) -> Tensor:
        zero = rows.new_zeros(())
        alignment = zero
        if measured or sae.config.beta > 0:
            with torch.set_grad_enabled(torch.is_grad_enabled() and sae.config.beta > 0):
                alignment = self._config.alignment(*both, sae.config.atoms)
        revival = sae.encoder.revival(rows, codes, sae.dictionary, dead) if self._config.revival else zero
        penalty = sae.encoder.penalty(codes, sae.dictionary)
        return torch.stack([reconstruction_loss(codes), alignment, penalty, revival])

    @torch.no_grad()
    def clip_gradients(self, largest: float) -> None:
        """Scale the gradients of each SAE whose norm is above `largest` down to it, as `nn.utils.clip_grad_norm_`."""
        gradients = [[p.grad for p in sae.parameters() if p.grad is not None] for sae in self.saes]
        norms = torch._foreach_norm([gradient for own in gradients for gradient in own])
        for own, own_norms in zip(gradients, torch.stack(norms).split([len(own) for own in gradients]), strict=True):
            scale = (largest / (torch.linalg.vector_norm(own_norms) + _NORM_FLOOR)).clamp_max(1.0)
            torch._foreach_mul_(own, scale)

    def project_atoms(self) -> None:
        """Rescale every atom of every SAE to unit norm, unless atoms are free."""
        for sae in self.saes:
            sae.project_atoms()


@torch.no_grad()
def _sums_of_codes(both: tuple[Codes, Codes], atoms: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return `RowSums.squared_errors`, `fires` and `energies` of one SAE."""
    errors = torch.stack([part.residual.square().sum() for part in both])
    fires = torch.stack([part.fires(atoms) for part in both])
    energies = torch.stack([part.energy(atoms) * len(part.residual) for part in both])
    return errors, fires, energies


def _sums_of_entries(rows: Tensor) -> Tensor:
    sums = [(part.new_tensor(part.numel()), part.sum(), part.square().sum()) for part in rows.chunk(2)]
    return torch.stack([torch.stack(part) for part in sums])
