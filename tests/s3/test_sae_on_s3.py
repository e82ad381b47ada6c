"""An autoencoder in a bucket is the one on disk, through faults; and what is none is named."""

from pathlib import Path

import pytest

from isoenergy import SparseAutoencoder
from isoenergy.errors import InputError
from isoenergy.storage import s3 as s3_module
from isoenergy.storage.s3 import RetryingS3FileSystem
from tests.s3.proxy import Fault, FaultProxy, matching, share
from tests.s3.seaweedfs import S3Server
from tests.sae.small_sae import sae
from workflows.share import ShareConfig, run

pytestmark = pytest.mark.server
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.RESET]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def place(s3: S3Server, tmp_path: Path) -> str:
    """An autoencoder and its card, in a bucket."""
    folder = tmp_path / "sae"
    sae().save(folder)
    (folder / "README.md").write_text("---\ntags: []\n---\n# Mine\nhf:ORG/NAME")
    root = f"{s3.bucket()}/some saes/beta-0"
    for file in folder.iterdir():
        s3.filesystem.pipe_file(f"{root}/{file.name}", file.read_bytes())
    return f"s3://{root}"


def test_it_is_the_one_on_disk(place: str, proxy: FaultProxy, tmp_path: Path) -> None:
    proxy.rule = share(0.4, *PASSING, seed=1)
    on_disk = SparseAutoencoder.load(tmp_path / "sae")
    for uri in (place, f"{place}/", place.replace("s3://", "s3a://")):
        loaded = SparseAutoencoder.load(uri)
        assert (loaded.digest, loaded.config) == (on_disk.digest, on_disk.config)
    assert sum(proxy.done.values()) > 0


def test_it_is_shared_with_its_card(place: str) -> None:
    text = run(ShareConfig(place, "lab/sae", dry_run=True))
    assert f"digest {sae().digest}" in text
    assert "card         hf:lab/sae" in text


@pytest.mark.parametrize("missing", ["config.json", "sae.safetensors"])
def test_a_missing_file_is_named(place: str, s3: S3Server, missing: str) -> None:
    s3.filesystem.rm_file(f"{place}/{missing}")
    with pytest.raises(InputError, match=f"{place} is not a checkpoint: it lacks {missing}"):
        SparseAutoencoder.load(place)


def test_nothing_there_is_named(place: str) -> None:
    for uri in (f"{place}/nothing", "s3://no-such-bucket/sae"):
        with pytest.raises(InputError, match=f"{uri} is not a checkpoint: it lacks config.json"):
            SparseAutoencoder.load(uri)


def test_a_huge_configuration_is_not_fetched(place: str, s3: S3Server, proxy: FaultProxy) -> None:
    s3.filesystem.pipe_file(f"{place}/config.json", b" " * (20 * 2**20))
    with pytest.raises(InputError, match=f"config.json of {place} is larger than 1,048,576 bytes"):
        SparseAutoencoder.load(place)
    assert not any("sae.safetensors" in request.target for request in proxy.requests)


def test_files_that_disagree_or_are_pickled_are_refused(place: str, s3: S3Server) -> None:
    s3.filesystem.pipe_file(f"{place}/config.json", b'{"dim": 7, "atoms": 15, "k": 4, "beta": 0}')
    with pytest.raises(InputError, match=rf"{place} is not a checkpoint \(.*dictionary of \[15, 6\]"):
        SparseAutoencoder.load(place)
    s3.filesystem.pipe_file(f"{place}/sae.safetensors", b"\x80\x04\x95pickled")
    with pytest.raises(InputError, match=f"{place} is not a checkpoint"):
        SparseAutoencoder.load(place)


def test_an_outage_and_a_wrong_key_are_said(
    place: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    proxy.rule = matching("sae.safetensors", Fault.SLOW_DOWN)
    with pytest.raises(InputError, match=f"{place}/sae.safetensors: .* in 2 attempts: .*; the same command goes on"):
        SparseAutoencoder.load(place)
    proxy.rule = lambda _: None
    request.addfinalizer(RetryingS3FileSystem.clear_instance_cache)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    RetryingS3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=f"{place}.*check AWS_ACCESS_KEY_ID") as refused:
        SparseAutoencoder.load(place)
    assert "wrong" not in str(refused.value)
