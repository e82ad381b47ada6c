"""Codes: which atoms make up a row, and how strongly.

Sparse codes are k indices and k coefficients a row, never batch × atoms. Encoders that have no fixed number of atoms a
row (ReLU, JumpReLU, BatchTopK) compute batch × atoms anyway; while they train, their codes are dense. Both answer the
same questions, so that objectives and metrics are written once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from isoenergy.codes.numpy_codes import NumpyCodes, require_atom_mask


class Codes(Protocol):
    """What sparse and dense codes have in common."""

    @property
    def residual(self) -> Tensor:
        """`(batch, dim)`, the input minus its reconstruction."""
        ...

    def split(self, rows: int) -> tuple[Self, Self]:
        """Return the first `rows` rows and the rest."""
        ...

    def parts(self, count: int) -> Sequence[Self]:
        """Return the rows in `count` parts of equal length."""
        ...

    def strongest_atom(self) -> Tensor:
        """`(batch, 1)` index of each row's largest coefficient, without gradient."""
        ...

    def without(self, *atoms: Tensor) -> Self:
        """Return the codes with, in each row, the coefficients of the given atoms, `(batch, 1)` each, set to 0."""
        ...

    def inner(self, other: Self) -> Tensor:
        """`(batch,)` inner products with the rows of other codes of the same kind."""
        ...

    def group_norms(self, other: Self) -> Tensor:
        """`(batch,)`: the sum over atoms of the L2 norm of both codes' coefficients."""
        ...

    def energy(self, atoms: int) -> Tensor:
        """`(atoms,)` mean over rows of the squared coefficient."""
        ...

    def absolute(self) -> Tensor:
        """`(batch,)` sum of the absolute coefficients."""
        ...

    def fires(self, atoms: int) -> Tensor:
        """`(atoms,)` float32 number of rows in which each atom has a coefficient other than 0."""
        ...

    def to_sparse(self) -> "SparseCodes":
        """Return k indices and coefficients a row, k being what the fullest row has."""
        ...


@dataclass(frozen=True)
class SparseCodes:
    """The outcome of a pursuit, one row a sample.

    indices: `(batch, k)` int32, the atom chosen in each round. An atom may repeat in a row: its values add.
    values: `(batch, k)`, the coefficient of each round.
    residual: `(batch, dim)`, what is left of the input after the last round; reconstruction = input - residual.
    """

    indices: Tensor
    values: Tensor
    residual: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, rows: int) -> tuple["SparseCodes", "SparseCodes"]:
        """Return the first `rows` rows and the rest."""
        return self.rows(slice(rows)), self.rows(slice(rows, None))

    def parts(self, count: int) -> list["SparseCodes"]:
        """Return the rows in `count` parts of equal length."""
        rows = len(self) // count
        return [self.rows(slice(rows * number, rows * (number + 1))) for number in range(count)]

    def rows(self, chosen: slice | Tensor) -> "SparseCodes":
        """Return some of the rows, by place or by number."""
        return SparseCodes(self.indices[chosen], self.values[chosen], self.residual[chosen])

    def to_dense(self, atoms: int) -> Tensor:
        """Return the codes as a dense `(batch, atoms)` array. For small cases and tests: it is batch × atoms."""
        dense = self.values.new_zeros(len(self), atoms)
        return dense.scatter_add(1, self.indices.long(), self.values)

    def to_sparse(self) -> "SparseCodes":
        """Return the codes as they are."""
        return self

    def numpy(self) -> NumpyCodes:
        """Return the codes as arrays, without gradient."""
        indices, values, residual = (x.detach().cpu().numpy() for x in (self.indices, self.values, self.residual))
        return NumpyCodes(indices, values, residual)

    def merged_values(self) -> Tensor:
        """Return `(batch, k)` values in which a repeated atom's sum stands at its first place and zeros at the others.

        Squares, absolute values and counts of a code are only right on merged values.
        """
        if _compiled_for(self.values) and not (torch.is_grad_enabled() and self.values.requires_grad):
            from isoenergy.codes import within_rows

            return within_rows.merged(self.indices, self.values)
        atoms, order = self.indices.sort(dim=1, stable=True)
        first = torch.ones_like(atoms, dtype=torch.bool)
        first[:, 1:] = atoms[:, 1:] != atoms[:, :-1]
        run = first.cumsum(1) - 1
        totals = torch.zeros_like(self.values).scatter_add(1, run, self.values.gather(1, order))
        merged = torch.where(first, totals.gather(1, run), 0.0)
        return torch.zeros_like(self.values).scatter(1, order, merged)

    @cached_property
    def _merged(self) -> Tensor:
        """`merged_values` without gradient, worked out once."""
        with torch.no_grad():
            return self.merged_values()

    def strongest_atom(self) -> Tensor:
        """`(batch, 1)` index of each row's largest merged coefficient."""
        place = self._merged.argmax(dim=1, keepdim=True)
        return self.indices.gather(1, place)

    def without(self, *atoms: Tensor) -> "SparseCodes":
        """Return the codes with, in each row, the coefficients of the given atoms, `(batch, 1)` each, set to 0."""
        kept = torch.ones_like(self.indices, dtype=torch.bool)
        for atom in atoms:
            kept &= self.indices != atom
        return SparseCodes(self.indices, self.values * kept, self.residual)

    def inner(self, other: "SparseCodes") -> Tensor:
        """`(batch,)` inner products of the codes' rows."""
        products: Tensor = _Inner.apply(self.indices, self.values, other.indices, other.values)
        return products

    def group_norms(self, other: "SparseCodes") -> Tensor:
        """`(batch,)`: the sum over atoms of the L2 norm of both codes' coefficients."""
        mine, theirs = self.merged_values(), other.merged_values()
        meet = self.indices.unsqueeze(2) == other.indices.unsqueeze(1)
        partner = (meet * theirs.unsqueeze(1)).sum(2)
        alone = theirs.abs() * ~(meet & (mine != 0).unsqueeze(2)).any(1)
        squares = mine.square() + partner.square()
        # a repeated atom's later places are empty: they count neither it nor its partner
        counts = (mine != 0) & (squares > 0)
        norms = torch.where(counts, squares, 1.0).sqrt() * counts
        return norms.sum(1) + alone.sum(1)

    def energy(self, atoms: int) -> Tensor:
        """`(atoms,)` mean over rows of the squared coefficient."""
        merged = self.merged_values() if torch.is_grad_enabled() else self._merged
        return self._by_atom(merged.square(), atoms) / max(len(self), 1)

    def absolute(self) -> Tensor:
        """`(batch,)` sum of the absolute coefficients."""
        return self.merged_values().abs().sum(1)

    def fires(self, atoms: int) -> Tensor:
        """`(atoms,)` float32 number of rows in which each atom has a coefficient other than 0."""
        return self._by_atom((self._merged != 0).float(), atoms)

    def _by_atom(self, numbers: Tensor, atoms: int) -> Tensor:
        """`(atoms,)` sums of `(batch, k)` numbers, in float32 at least."""
        numbers = numbers.to(torch.promote_types(numbers.dtype, torch.float32))
        return numbers.new_zeros(atoms).index_add(0, self.indices.flatten(), numbers.flatten())

    def keep(self, atom_mask: Tensor | npt.NDArray[np.bool_]) -> "SparseCodes":
        """Zero the coefficients of every atom outside `atom_mask`, `(atoms,)` bool, with no re-encoding (paper 4.1).

        Raises ValueError for what is not such a mask.
        """
        if isinstance(atom_mask, np.ndarray) and atom_mask.dtype == np.bool_:
            atom_mask = torch.from_numpy(atom_mask.copy()).to(self.indices.device)
        is_bool = isinstance(atom_mask, Tensor) and atom_mask.dtype == torch.bool
        require_atom_mask(atom_mask, is_bool, int(self.indices.max()) if self.indices.numel() else -1)
        assert isinstance(atom_mask, Tensor)
        return SparseCodes(self.indices, self.values * atom_mask[self.indices], self.residual)

    def scaled(self, factors: Tensor) -> "SparseCodes":
        """Multiply every atom's coefficients by its entry of `factors`, `(atoms,)` floats, with no re-encoding."""
        return SparseCodes(self.indices, self.values * factors[self.indices].to(self.values), self.residual)


@dataclass(frozen=True)
class DenseCodes:
    """Codes of an encoder whose rows differ in their number of atoms.

    values: `(batch, atoms)`. residual: `(batch, dim)`, the input minus its reconstruction.
    """

    values: Tensor
    residual: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def split(self, rows: int) -> tuple["DenseCodes", "DenseCodes"]:
        """Return the first `rows` rows and the rest."""
        first = DenseCodes(self.values[:rows], self.residual[:rows])
        return first, DenseCodes(self.values[rows:], self.residual[rows:])

    def parts(self, count: int) -> list["DenseCodes"]:
        """Return the rows in `count` parts of equal length."""
        both = zip(self.values.chunk(count), self.residual.chunk(count), strict=True)
        return [DenseCodes(values, residual) for values, residual in both]

    def to_sparse(self) -> SparseCodes:
        """Return k indices and coefficients a row, k being what the fullest row has."""
        counts = (self.values != 0).sum(1)
        width = max(int(counts.max()) if len(self) else 0, 1)
        order = self.values.detach().abs().topk(width, dim=1).indices
        return SparseCodes(order.int(), self.values.gather(1, order), self.residual)

    def strongest_atom(self) -> Tensor:
        """`(batch, 1)` index of each row's largest coefficient."""
        return self.values.detach().argmax(dim=1, keepdim=True)

    def without(self, *atoms: Tensor) -> "DenseCodes":
        """Return the codes with, in each row, the coefficients of the given atoms, `(batch, 1)` each, set to 0."""
        values = self.values
        for atom in atoms:
            values = values.scatter(1, atom.long(), 0.0)
        return DenseCodes(values, self.residual)

    def inner(self, other: "DenseCodes") -> Tensor:
        """`(batch,)` inner products of the codes' rows."""
        return (self.values * other.values).sum(1)

    def group_norms(self, other: "DenseCodes") -> Tensor:
        """`(batch,)`: the sum over atoms of the L2 norm of both codes' coefficients."""
        squares = self.values.square() + other.values.square()
        return (torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)).sum(1)

    def energy(self, atoms: int) -> Tensor:
        """`(atoms,)` mean over rows of the squared coefficient."""
        return self.values.square().sum(0).view(atoms) / max(len(self), 1)

    def absolute(self) -> Tensor:
        """`(batch,)` sum of the absolute coefficients."""
        return self.values.abs().sum(1)

    def fires(self, atoms: int) -> Tensor:
        """`(atoms,)` float32 number of rows in which each atom has a coefficient other than 0."""
        return (self.values.detach() != 0).sum(0).view(atoms).float()


def concatenate(parts: Sequence[SparseCodes], least_k: int) -> SparseCodes:
    """Return the rows of all parts, residuals left out; a part with fewer atoms a row is filled up with zeros.

    least_k: atoms a row if there are no rows.
    """
    k = max((part.indices.shape[1] for part in parts), default=least_k)

    def filled(tensors: list[Tensor], like: torch.dtype) -> Tensor:
        padded = [nn.functional.pad(tensor, (0, k - tensor.shape[1])) for tensor in tensors]
        return torch.cat([torch.zeros(0, k, dtype=like), *padded])

    indices = filled([part.indices for part in parts], torch.int32)
    values = filled([part.values for part in parts], torch.float32)
    return SparseCodes(indices, values, torch.empty(len(indices), 0))


class _Inner(torch.autograd.Function):
    """Inner products of codes; which atoms meet is found again in backward, not kept: that is batch × k²."""

    @staticmethod
    def forward(ctx: Any, a_indices: Tensor, a_values: Tensor, b_indices: Tensor, b_values: Tensor) -> Tensor:
        met = _met(a_indices, b_indices, b_values)
        ctx.with_itself = a_indices is b_indices and a_values is b_values
        ctx.save_for_backward(a_indices, a_values, b_indices, met)
        return (a_values * met).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        a_indices, a_values, b_indices, met = ctx.saved_tensors
        gradient = gradient.unsqueeze(1)
        by_a = gradient * met if ctx.needs_input_grad[1] else None
        if ctx.with_itself:
            return None, by_a, None, by_a
        by_b = gradient * _met(b_indices, a_indices, a_values) if ctx.needs_input_grad[3] else None
        return None, by_a, None, by_b


def _met(a_indices: Tensor, b_indices: Tensor, b_values: Tensor) -> Tensor:
    """`(batch, k)`: what the other code has at each atom of this one; all k² meetings count, so repeats add up."""
    if _compiled_for(b_values):
        from isoenergy.codes import within_rows

        return within_rows.met(a_indices, b_indices, b_values)
    meet = a_indices.unsqueeze(2) == b_indices.unsqueeze(1)
    return torch.bmm(meet.to(b_values.dtype), b_values.unsqueeze(2)).squeeze(2)


def _compiled_for(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
