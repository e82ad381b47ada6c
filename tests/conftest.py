"""What tests of several folders share, and which of them one process runs after the other.

What a session has one of (Ray, an MLflow server, a browser; SeaweedFS) is used by tests of one process each, which
begin with it, and it ends with the last of them; the tests of any other file stay together, for the sake of what they
make once. What imports much is imported where it is used.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from isoenergy.bundled import BUNDLED_PAIRS
from tests.group_services import SERVICES, group_of
from tests.pairs.made_up_pairs import RowsWriter, written_rows

if TYPE_CHECKING:
    from tests.encoders.fake_hub import Hub
    from tests.pairs.download.server import Server

os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever token the home directory holds
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # a test that asks Ray for something and has joined none fails
# a job that a script puts into the background ignores SIGINT, and so would what tests start and interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SERVICES = {"on_ray": "ray", "mlflow_server": "ray", "running_proxy": "s3"}
"""The group of tests, and so the process, that a fixture of the session belongs to."""
_TIERS = ("slow", "soak")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put each test into the group that one process runs; begin with those that take longest."""
    groups = [*dict.fromkeys(_SERVICES.values()), ""]
    places = {}
    for item in items:
        tiers = [tier for tier in _TIERS if item.get_closest_marker(tier)]
        assert len(tiers) <= 1, f"{item.nodeid} is of one tier, and says {' and '.join(tiers)}"
        used = [group for name, group in _SERVICES.items() if name in getattr(item, "fixturenames", ())]
        places[item] = max(map(groups.index, used), default=len(groups) - 1)
        item.add_marker(pytest.mark.xdist_group(groups[places[item]] or item.location[0]))
    items.sort(key=places.__getitem__)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End what a group has one of with its last test."""
    yield
    if nextitem is None or group_of(nextitem) != group_of(item):
        SERVICES.close()


def pytest_sessionfinish() -> None:
    """End it also where the tests have been interrupted."""
    SERVICES.close()


@pytest.fixture(scope="session", autouse=True)
def tracking_in_a_temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.getbasetemp()}/mlflow.db")
        yield


@pytest.fixture(scope="session")
def other_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A randomly initialised CLIP in open_clip's folder format."""
    import open_clip  # some seconds, which few tests are about
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("other-encoder")
    model = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    preprocess = {"size": 32, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess}))
    save_file(open_clip.model.CLIP(**model).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def bundled_rows() -> list[dict]:
    """The rows of one bundled shard."""
    return pq.read_table(sorted(BUNDLED_PAIRS.glob("*.parquet"))[0]).to_pylist()


@pytest.fixture
def write_rows() -> RowsWriter:
    return written_rows


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report's figures are made and not drawn, which takes seconds: what its page says is what is asked."""
    from isoenergy.report.figures import drawing

    monkeypatch.setattr(drawing, "as_bytes", lambda _figure, _kind: b"<svg/>")


@pytest.fixture
def server() -> Iterator["Server"]:
    """A web server that answers as the test says."""
    from tests.pairs.download.server import Server

    started = Server().start()
    yield started
    started.stop()


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store of three units."""
    from tests.store.small_store import fill

    return fill(tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Hub"]:
    """A model hub where the token at hand may write to `lab`."""
    from tests.encoders.fake_hub import hub_of_a_lab

    with hub_of_a_lab(tmp_path, monkeypatch) as served:
        yield served
