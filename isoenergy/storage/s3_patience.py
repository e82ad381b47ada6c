"""How long a storage that does not answer is waited for."""

import math
import os

from isoenergy.errors import InputError

VARIABLE = "ISOENERGY_S3_PATIENCE"
"""Minutes for which a request to S3 is tried again, from the first on; 0: for some seconds."""
_MINUTES_ONCE_ANSWERED = 30.0


def storage_patience(answered: bool) -> float:
    """Return for how many seconds a request may be tried again.

    answered: whether the storage has answered this process before; one that never did may be a slip in its address, and
    is waited for only where VARIABLE is set. Raises InputError if that holds no number.
    """
    text = os.environ.get(VARIABLE)
    if text is None:
        return 60 * _MINUTES_ONCE_ANSWERED if answered else 0.0
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes >= 0:
        raise InputError(f"{VARIABLE} must be minutes, 0 or more, got {text!r}")
    return 60 * minutes
