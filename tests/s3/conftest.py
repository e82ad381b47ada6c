"""SeaweedFS, and a proxy in front of it that makes faults."""

from collections.abc import Iterator

import pytest

from tests.s3.proxy import FaultProxy
from tests.s3.seaweedfs import S3Server, seaweedfs

_STARTS = 3


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server for the session; the environment leads to it, also that of processes started later."""
    for attempt in range(_STARTS):
        try:
            with seaweedfs(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as environment:
                for name, value in server.environment.items():
                    environment.setenv(name, value)
                yield server
            return
        except OSError:  # another process may have taken a port
            if attempt == _STARTS - 1:
                raise


@pytest.fixture(scope="session")
def running_proxy(s3: S3Server) -> Iterator[FaultProxy]:
    proxy = FaultProxy(s3.endpoint)
    with proxy.running():
        yield proxy


@pytest.fixture
def proxy(running_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy to the server, which passes everything on until it is told otherwise; the environment leads to it."""
    running_proxy.begin_anew()
    monkeypatch.setenv("AWS_ENDPOINT_URL", running_proxy.url)
    yield running_proxy
    running_proxy.begin_anew()
