"""What β weighs, as a setting; the terms themselves are `isoenergy.objective`'s."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from isoenergy.settings.variants import Variant

if TYPE_CHECKING:
    from torch import Tensor

    from isoenergy.codes.sparse_codes import Codes

# settings are read where torch is not: each term is imported when it is asked for


class Alignment(Variant):
    """What β weighs: a term that is smaller the more both modalities use the same atoms."""

    noun: ClassVar[str] = "alignment"
    needs_pairs: ClassVar[bool] = True
    """Whether row i of both codes must belong to one pair."""
    over_all: ClassVar[bool] = False
    """Whether the term is that of the rows of all processes, not the mean over this one's."""

    def __call__(self, image: "Codes", text: "Codes", atoms: int) -> "Tensor":
        """Return the term, a scalar to be minimised."""
        raise NotImplementedError

    @property
    def of_the_rest(self) -> "Alignment":
        """The term of codes whose bias atoms are left out already: nothing else is exempt."""
        return self

    def largest_beta(self, dim: int, k: int) -> float:
        """Return the β from which the term weighs more than all of the reconstruction, of rows of unit norm.

        The reconstruction's loss is then between 0 and 1/dim, and the term here between two numbers that are 1 apart.
        """
        del k
        return 1 / dim


@dataclass(frozen=True)
class MaskedCosine(Alignment):
    """Minus the cosine of paired codes, each modality's top atom exempt: as in the paper's code."""

    name: str = field(default="masked-cosine", init=False)

    def __call__(self, image: "Codes", text: "Codes", atoms: int) -> "Tensor":
        """Return the term."""
        from isoenergy.objective import masked_cosine_alignment

        del atoms
        return masked_cosine_alignment(image, text)

    @property
    def of_the_rest(self) -> "Alignment":
        """The cosine: the mask is for bias atoms, by rank, as nobody knows which they are."""
        return Cosine()


@dataclass(frozen=True)
class Cosine(Alignment):
    """Minus the cosine of paired codes: as in the paper's text."""

    name: str = field(default="cosine", init=False)

    def __call__(self, image: "Codes", text: "Codes", atoms: int) -> "Tensor":
        """Return the term."""
        from isoenergy.objective import cosine_alignment

        del atoms
        return cosine_alignment(image, text)


@dataclass(frozen=True)
class IsoEnergy(Alignment):
    """The difference of both modalities' energies, atom by atom: needs no pairs."""

    name: str = field(default="iso-energy", init=False)
    needs_pairs: ClassVar[bool] = False
    over_all: ClassVar[bool] = True

    def __call__(self, image: "Codes", text: "Codes", atoms: int) -> "Tensor":
        """Return the term."""
        from isoenergy.objective import iso_energy_penalty

        return iso_energy_penalty(image, text, atoms)


@dataclass(frozen=True)
class GroupSparse(Alignment):
    """The norm of a pair's two coefficients, summed over atoms: sparse over the pair rather than over each row."""

    name: str = field(default="group-sparse", init=False)

    def largest_beta(self, dim: int, k: int) -> float:
        """Return it where the term is that of pairs that share their k atoms, all of one strength: the root of 2 k."""
        return 1 / (dim * math.sqrt(2 * k))

    def __call__(self, image: "Codes", text: "Codes", atoms: int) -> "Tensor":
        """Return the term."""
        from isoenergy.objective import group_sparsity

        del atoms
        return group_sparsity(image, text)
