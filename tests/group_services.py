"""What a group of tests has one of (Ray, an MLflow server, SeaweedFS): it ends with the last test of the group.

To the end of the session they would take a fifth of a core, idle.
"""

from contextlib import ExitStack

import pytest

SERVICES = ExitStack()
"""Those that run; a fixture of the session enters them, and whoever closes it ends them."""


def group_of(item: pytest.Item) -> str:
    """Return the name of the tests that one process runs after the other."""
    marker = item.get_closest_marker("xdist_group")
    assert marker is not None
    return str(marker.args[0])
