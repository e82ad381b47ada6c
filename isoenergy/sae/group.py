"""Several SAEs on the same batches: one for each β and seed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn

from isoenergy.codes.sparse_codes import Codes
from isoenergy.distributed import NodeGroup
from isoenergy.objective import reconstruction_loss
from isoenergy.pursuit import plan_pursuit
from isoenergy.pursuit.shared_gram import SharedGram
from isoenergy.pursuit.together import pays_together, pursue_together
from isoenergy.sae.autoencoder import SparseAutoencoder
from isoenergy.sae.joint import Autoencoder, JointAutoencoder, build_autoencoder
from isoenergy.sae.sae_config import SaeConfig
from isoenergy.sparse_encoders import MatchingPursuit
from isoenergy.sparse_encoders.matching_pursuit import PursuitModule

_NORM_FLOOR = 1e-6
LOSSES = ("reconstruction_loss", "alignment", "sparsity_penalty", "revival_loss")


@dataclass(frozen=True)
class RowSums:
    """What is reported of a forward pass beside its losses, over this process's rows."""

    squared_errors: Tensor
    """`(SAEs, modalities)` sums over all entries."""
    fires: Tensor
    """`(SAEs, modalities, atoms)` rows in which each atom fires."""
    energies: Tensor
    """`(SAEs, modalities, atoms)` sums of the squared coefficients."""
    inputs: Tensor
    """`(modalities, 4)` number, sum and sum of squares of the input's entries, and the number of rows."""


@dataclass(frozen=True)
class GroupOutput:
    """What a forward pass gives, over this process's rows."""

    losses: Tensor
    """`(SAEs, 4)`, in the order of `LOSSES`."""
    sums: RowSums | None
    """None if they were not asked for."""


@dataclass(frozen=True)
class _Encoded:
    """The rows that one dictionary serves, and their codes."""

    sae: SparseAutoencoder
    rows: Tensor
    codes: Codes


class SaeGroup(nn.Module):
    """SAEs of one size; those of one seed start from the same initialisation, whatever their β."""

    def __init__(self, saes: Mapping[str, tuple[SaeConfig, int]], revival: float = 0.0) -> None:
        """Draw the SAEs anew.

        saes: each one's configuration and the seed of its initialisation, by name.
        revival: weight of the loss by which dead atoms learn what the others leave; 0: it is not computed.
        """
        super().__init__()
        self._revival = revival
        self.names = list(saes)
        self.saes: list[Autoencoder] = [
            build_autoencoder(sae, torch.Generator().manual_seed(seed)) for sae, seed in saes.values()
        ]
        self._seeds = [seed for _, seed in saes.values()]
        self.modalities = self.saes[0].config.modalities
        self._registered = nn.ModuleList(self.saes)
        self._grams: dict[SparseAutoencoder, SharedGram] = {}
        self._node = NodeGroup()

    def start_from(self, batches: Iterator[Sequence[Tensor]]) -> None:
        """Let autoencoders with a dictionary for each modality begin with the directions of pairs, as many as atoms.

        batches: raw vectors, `(pairs, width)` a modality. Those of one seed begin alike, whatever their β.
        """
        joint = [sae for sae in self.saes if isinstance(sae, JointAutoencoder)]
        if not joint:
            return
        found: list[Sequence[Tensor]] = []
        while sum(len(part[0]) for part in found) < joint[0].config.atoms and (batch := next(batches, None)):
            found.append(batch)
        device = joint[0].dictionaries[0].dictionary.device
        vectors = [torch.cat(parts).to(device).float() for parts in zip(*found, strict=True)]
        for sae, seed in zip(joint, self._seeds, strict=True):
            order = torch.randperm(len(vectors[0]), generator=torch.Generator().manual_seed(seed)).to(device)
            sae.start_from({m: sae.prepare(x[order], m) for m, x in zip(self.modalities, vectors, strict=True)})

    def share_grams(self, node: NodeGroup, pairs: int) -> None:
        """Compute Gram matrices once a node, for `pairs` pairs a process, if there are several and it pays."""
        if node.size == 1:
            return
        for sae in (part for each in self.saes for part in each.dictionaries):
            its = sae.config
            rows = pairs * len(its.modalities) * node.size
            plan = plan_pursuit(rows, its.dim, its.atoms, its.k, "cpu")
            if isinstance(its.sparse_encoder, MatchingPursuit) and plan.form in ("cpu", "screen"):
                self._node, self._grams[sae] = node, SharedGram(its.atoms, node, plan.form == "screen")

    def forward(self, vectors: Sequence[Tensor], dead: Tensor, measured: bool = True) -> GroupOutput:
        """Encode raw vectors, `(pairs, width)` a modality, with every SAE, whose dead atoms are `dead`.

        dead: `(SAEs, atoms)` bool.
        measured: whether to sum up what reports need: a third of the time of a step with few atoms. If not, an
        alignment that weighs nothing is not computed either, and given as 0.
        """
        rows = {m: self.saes[0].prepare(part, m) for m, part in zip(self.modalities, vectors, strict=True)}
        together = [torch.cat([rows[m] for m in part.config.modalities]) for part in self.saes[0].dictionaries]
        for sae, gram in self._grams.items():
            gram.compute(sae.dictionary)
        if self._grams:
            self._node.barrier()
        by_part = [self._encode(number, x) for number, x in enumerate(together)]
        losses, sums = [], []
        for each, encoded, its_dead in zip(self.saes, zip(*by_part, strict=True), dead, strict=True):
            codes = [part for block in encoded for part in block.codes.parts(len(block.sae.config.modalities))]
            losses.append(self._losses(each, encoded, codes, its_dead, measured))
            if measured:
                sums.append(_sums_of_codes(codes, each.config.atoms))
        if not measured:
            return GroupOutput(torch.stack(losses), None)
        errors, fires, energies = (torch.stack(part) for part in zip(*sums, strict=True))
        return GroupOutput(torch.stack(losses), RowSums(errors, fires, energies, _sums_of_entries(list(rows.values()))))

    def _encode(self, number: int, rows: Tensor) -> list[_Encoded]:
        """Encode rows with every SAE's dictionary of this number; on a GPU all pursuits at once."""
        parts = [each.dictionaries[number] for each in self.saes]
        dictionaries = [part.dictionary for part in parts]
        pursuit = self._common_pursuit
        if self.training and pursuit is not None and pays_together(rows, dictionaries, pursuit.k):
            codes: Sequence[Codes] = pursue_together(rows, dictionaries, pursuit.k, pursuit.policy)
        else:
            grams = [self._grams.get(part) for part in parts]
            codes = [part(rows, None if gram is None else gram.gram) for part, gram in zip(parts, grams, strict=True)]
        return [_Encoded(part, rows, its) for part, its in zip(parts, codes, strict=True)]

    @property
    def is_of_pursuit(self) -> bool:
        """Whether all atoms are chosen by matching pursuit, in training nothing of which waits for a GPU."""
        return all(isinstance(part.encoder, PursuitModule) for each in self.saes for part in each.dictionaries)

    @property
    def _common_pursuit(self) -> PursuitModule | None:
        """The encoder, if every dictionary's is the same pursuit."""
        parts = [part for each in self.saes for part in each.dictionaries]
        first = parts[0].encoder
        alike = len({(part.config.atoms, part.config.k, part.config.sparse_encoder) for part in parts}) == 1
        return first if alike and isinstance(first, PursuitModule) else None

    def _losses(
        self, sae: Autoencoder, encoded: Sequence[_Encoded], codes: Sequence[Codes], dead: Tensor, measured: bool
    ) -> Tensor:
        zero = encoded[0].rows.new_zeros(())
        alignment = zero
        if measured or sae.config.beta > 0:
            with torch.set_grad_enabled(torch.is_grad_enabled() and sae.config.beta > 0):
                aligned, term = codes, sae.config.alignment
                if sae.config.bias_count:
                    aligned, term = [_without_bias(part, sae.config.bias_count) for part in codes], term.of_the_rest
                terms = [term(*pair, sae.config.atoms) for pair in combinations(aligned, 2)]
                alignment = _mean(terms) if terms else zero  # of one modality alone
        reconstruction = _over_entries(encoded, lambda block: reconstruction_loss(block.codes))
        penalty = _over_entries(encoded, lambda block: block.sae.encoder.penalty(block.codes, block.sae.dictionary))
        revival = zero
        if self._revival:
            revival = _over_entries(
                encoded,
                lambda block: block.sae.encoder.revival(block.rows, block.codes, block.sae.dictionary, dead),
            )
        return torch.stack([reconstruction, alignment, penalty, revival])

    @torch.no_grad()
    def clip_gradients(self, largest: float) -> None:
        """Scale the gradients of each SAE whose norm is above `largest` down to it, as `nn.utils.clip_grad_norm_`."""
        gradients = [[p.grad for p in sae.parameters() if p.grad is not None] for sae in self.saes]
        norms = torch._foreach_norm([gradient for own in gradients for gradient in own])
        for own, own_norms in zip(gradients, torch.stack(norms).split([len(own) for own in gradients]), strict=True):
            scale = (largest / (torch.linalg.vector_norm(own_norms) + _NORM_FLOOR)).clamp_max(1.0)
            torch._foreach_mul_(own, scale)

    def hold_frozen_atoms(self) -> None:
        """Take the gradient of the atoms that training leaves as they are."""
        for sae in (part for each in self.saes for part in each.dictionaries):
            sae.hold_frozen_atoms()

    def project_atoms(self) -> None:
        """Rescale every atom of every SAE to unit norm, unless atoms are free."""
        for sae in self.saes:
            sae.project_atoms()


def _without_bias(codes: Codes, bias_atoms: int) -> Codes:
    rows = codes.residual.shape[0]
    numbers = torch.arange(bias_atoms, device=codes.residual.device)
    return codes.without(*(number.expand(rows, 1) for number in numbers))


@torch.no_grad()
def _sums_of_codes(codes: Sequence[Codes], atoms: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return `RowSums.squared_errors`, `fires` and `energies` of one SAE."""
    errors = torch.stack([part.residual.square().sum() for part in codes])
    fires = torch.stack([part.fires(atoms) for part in codes])
    energies = torch.stack([part.energy(atoms) * len(part.residual) for part in codes])
    return errors, fires, energies


def _sums_of_entries(rows: Sequence[Tensor]) -> Tensor:
    # new_full writes its number on the device; new_tensor would copy it there, and wait
    sums = [(x.new_full((), x.numel()), x.sum(), x.square().sum(), x.new_full((), len(x))) for x in rows]
    return torch.stack([torch.stack(part) for part in sums])


def _mean(terms: Sequence[Tensor]) -> Tensor:
    return terms[0] if len(terms) == 1 else torch.stack(list(terms)).mean()


def _over_entries(encoded: Sequence[_Encoded], loss: Callable[[_Encoded], Tensor]) -> Tensor:
    """Return the mean of a loss over the entries of all dictionaries' rows: rows of unit norm weigh alike."""
    if len(encoded) == 1:
        return loss(encoded[0])
    entries = sum(block.rows.numel() for block in encoded)
    return torch.stack([loss(block) * (block.rows.numel() / entries) for block in encoded]).sum()
