from collections.abc import Iterator

import pytest

from tests.pairs.download.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server().start()
    yield started
    started.stop()
