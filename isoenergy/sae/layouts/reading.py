"""Which module reads which layout."""

import tempfile
from collections.abc import Callable
from json import JSONDecodeError
from pathlib import Path

from safetensors import SafetensorError

from isoenergy.errors import InputError
from isoenergy.sae.layouts import dictionary_learning, overcomplete, saelens, sparsify
from isoenergy.sae.layouts.foreign_source import ForeignSource
from isoenergy.sae.layouts.weights import ForeignWeights

_READERS: dict[str, Callable[[ForeignSource, Path], ForeignWeights]] = {
    "saelens": saelens.read,
    "overcomplete": overcomplete.read,
    "dictionary-learning": dictionary_learning.read,
    "sparsify": sparsify.read,
}


def read_foreign(source: ForeignSource) -> ForeignWeights:
    """Return an autoencoder of another library; raises InputError, with the source, for one that cannot be read."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            return _READERS[source.layout](source, Path(temporary))
        except InputError as error:
            raise error if str(source) in str(error) else InputError(f"{source}: {error}") from error
        except (JSONDecodeError, SafetensorError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise InputError(f"{source} cannot be read as {source.layout} writes it ({error!r})") from error
