"""How long a stage waits for what it has asked for."""

from isoenergy.errors import InputError

PATIENCE_MINUTES = 30.0


def require_patience(minutes: float) -> None:
    """Raise InputError unless a stage may wait for `minutes`."""
    if not minutes > 0:
        raise InputError(f"patience must be above 0 minutes, got {minutes}")
