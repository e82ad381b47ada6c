"""What every sparse encoder is: a module that chooses atoms."""

from typing import Generic, TypeVar

from torch import Tensor, nn

from isoenergy.codes.sparse_codes import Codes

CodesT = TypeVar("CodesT", bound=Codes)


class EncoderModule(nn.Module, Generic[CodesT]):
    """The part of an autoencoder that chooses atoms; the dictionary belongs to the autoencoder."""

    def forward(self, x: Tensor, dictionary: Tensor, gram: Tensor | None = None) -> CodesT:
        """Encode `(batch, dim)` rows over `(atoms, dim)`; `gram`, if given, is of this very dictionary."""
        raise NotImplementedError

    def penalty(self, codes: CodesT, dictionary: Tensor) -> Tensor:
        """Return what is added to the loss so that codes are sparse; 0 where they are by construction."""
        del dictionary
        return codes.residual.new_zeros(())

    def revival(self, x: Tensor, codes: CodesT, dictionary: Tensor, dead: Tensor) -> Tensor:
        """Return the loss, a mean over all entries, by which the atoms of `dead`, `(atoms,)` bool, learn.

        It says how much of the residual they leave; nothing but them has a gradient. 0 without dead atoms.
        """
        raise NotImplementedError
