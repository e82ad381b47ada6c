"""`isoenergy embed` from tars in a bucket to a store in a bucket, through faults: every pair once, the same bytes."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isoenergy.store import EmbeddingStore, StoreWriter
from tests.pairs.made_up_pairs import encoded_image
from tests.s3.proxy import Fault, FaultProxy, Request, share
from tests.s3.seaweedfs import S3Server
from tests.workflows.cluster.own_ray import joined_ray
from workflows import embed
from workflows.embed import EmbedConfig

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.server]
TARS, PAIRS = 6, 40
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.TORN, Fault.RESET]
BEFORE_THE_OUTAGE = 2


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """A bucket with tars in `pairs/`."""
    name = s3.bucket()
    for tar in range(TARS):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for pair in range(PAIRS):
                number = tar * PAIRS + pair
                image = encoded_image("JPEG", seed=number)
                for suffix, content in (("jpg", image), ("txt", f"number {number}".encode())):
                    member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        s3.filesystem.pipe_file(f"{name}/pairs/{tar:05d}.tar", sink.getvalue())
    return f"s3://{name}"


@pytest.fixture(scope="module")
def on_ray(s3: S3Server) -> Iterator[None]:
    """Ray whose workers have the server's keys: one that was started earlier need not."""
    del s3
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_MAX_ATTEMPTS", "3")
        with joined_ray():
            yield


@pytest.fixture(scope="module")
def undisturbed(bucket: str, other_encoder: Path, on_ray: None) -> EmbeddingStore:
    del on_ray
    return embedded(bucket, "undisturbed", other_encoder)


def settings(bucket: str, store: str, encoder: Path) -> dict[str, Any]:
    return {
        "pairs": f"{bucket}/pairs",
        "output": f"{bucket}/{store}",
        "encoder": f"open_clip:{encoder}",
        "batch_rows": 16,
    }


def embedded(bucket: str, store: str, encoder: Path) -> EmbeddingStore:
    (done,) = embed.run(EmbedConfig(**settings(bucket, store, encoder)))
    return done


def test_through_faults_and_an_outage_the_same_command_completes_the_same_store(
    bucket: str, undisturbed: EmbeddingStore, proxy: FaultProxy, other_encoder: Path
) -> None:
    faults = share(0.2, *PASSING)

    def then_an_outage(request: Request) -> Fault | None:
        commits = {r.target for r in proxy.requests if r.method == "PUT" and "/commits/" in r.target}
        return Fault.RESET if len(commits) > BEFORE_THE_OUTAGE else faults(request)

    proxy.rule = then_an_outage
    options = settings(bucket, "disturbed", other_encoder)
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "workflows.cli", "embed", *words]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr
    message = stopped.stderr.strip().splitlines()[-1]
    assert message.startswith(f"isoenergy: {options['output']}")
    assert "Connection reset" in message
    proxy.begin_anew()
    assert 0 < len(StoreWriter(options["output"]).committed()) < TARS

    proxy.rule = faults
    store = embedded(bucket, "disturbed", other_encoder)
    assert sum(proxy.done[fault] for fault in PASSING) > TARS
    keys = [f"{number // PAIRS:05d}.tar/{number:09d}" for number in range(TARS * PAIRS)]
    assert sorted(store.to_arrays().keys.tolist()) == keys
    assert store.rejected == {}
    assert store.commits == undisturbed.commits
