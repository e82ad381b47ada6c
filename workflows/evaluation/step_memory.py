"""What a step of an evaluation needs of its node: laws measured by `tests/benchmarks/evaluation_memory.py`."""

from isoenergy.metrics.transport import MOST_TRANSPORTED

GIGABYTE = 2**30
"""Of a process with torch and a block of rows."""
_BYTES_A_MEETING = 90
"""Of the cross moments, an entry for two atoms that fire in one pair, and what is worked out from it."""
_BYTES_KEPT_OF_A_MEETING = 24
"""Of the cross moments alone."""
_BYTES_OF_TRANSPORT = 40
"""Of two atoms between which energy can move: costs, the plan, and the solver's own."""
_BYTES_OF_GRAM = 4


def encoding(atoms: int, k: int, pairs: int) -> int:
    """Return the bytes of a step that encodes `pairs` and sums where atoms meet."""
    return meetings(atoms, k, pairs) + _BYTES_OF_GRAM * atoms**2


def meetings(atoms: int, k: int, pairs: int) -> int:
    """Return the bytes of a step that holds the cross moments of `pairs`: codes have `k` atoms at the most."""
    return GIGABYTE + _BYTES_A_MEETING * min(atoms**2, pairs * k**2)


def transport(atoms: int, others: int, k: int, pairs: int) -> int:
    """Return the bytes of a step that holds cross moments and moves energy between two dictionaries."""
    costs = _BYTES_OF_TRANSPORT * min(atoms, MOST_TRANSPORTED) * min(others, MOST_TRANSPORTED)
    kept = _BYTES_KEPT_OF_A_MEETING * min(max(atoms, others) ** 2, pairs * k**2)
    return max(meetings(max(atoms, others), k, pairs), GIGABYTE + kept + costs)
