"""Arrays as people have them, in the form that torch takes."""

from typing import Any

import numpy as np
import numpy.typing as npt


def as_float_array(x: Any) -> npt.NDArray[np.floating]:
    """Return what numpy makes of `x` as floats of native byte order and at most 64 bits, contiguous and writable.

    It is copied where it has to be: read-only ones, as pyarrow gives them, and reversed ones. Raises ValueError, with
    its type and shape, for what holds no floats.
    """
    array = np.asarray(x)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"floats are expected, got {array.dtype} of shape {array.shape}")
    native = np.dtype(f"f{min(array.dtype.itemsize, 8)}")
    return np.require(array, native, ["C", "W"])
