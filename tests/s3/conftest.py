"""SeaweedFS, and a proxy in front of it that makes faults.

The environment leads to the proxy from the beginning: a filesystem keeps the address that it was made with, and would
else reach what an earlier test had there. It is not waited for: a test that makes an outage wants to see its end.
"""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from isoenergy.storage import s3_patience
from tests.group_services import SERVICES
from tests.s3.proxy import FaultProxy
from tests.s3.seaweedfs import S3Server, seaweedfs

_STARTS = 3


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    for _ in range(_STARTS - 1):
        with suppress(OSError):  # another process may have taken a port
            return SERVICES.enter_context(seaweedfs(tmp_path_factory.mktemp("s3")))
    return SERVICES.enter_context(seaweedfs(tmp_path_factory.mktemp("s3")))


@pytest.fixture(scope="session")
def running_proxy(seaweed: S3Server) -> FaultProxy:
    proxy = FaultProxy(seaweed.endpoint)
    SERVICES.enter_context(proxy.running())
    environment = SERVICES.enter_context(pytest.MonkeyPatch.context())
    leading = {"AWS_ENDPOINT_URL": proxy.url, s3_patience.VARIABLE: "0"}
    for name, value in (seaweed.environment | leading).items():
        environment.setenv(name, value)
    return proxy


@pytest.fixture(scope="session")
def s3(seaweed: S3Server, running_proxy: FaultProxy) -> S3Server:  # noqa: ARG001
    """One server for all tests that ask for it; the environment leads to it, also that of processes started later."""
    return seaweed


@pytest.fixture
def proxy(running_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The proxy to the server, which passes everything on until it is told otherwise."""
    running_proxy.begin_anew()
    yield running_proxy
    running_proxy.begin_anew()
