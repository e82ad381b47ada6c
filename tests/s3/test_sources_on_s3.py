"""Every source in a bucket gives the pairs that it gives from disk, whatever happens to single requests."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from isoenergy.errors import InputError
from isoenergy.pairs.opening import open_source
from isoenergy.pairs.source import PairSource, RawPairs, SourceConfig
from isoenergy.pairs.source_names import split_at_commas
from isoenergy.storage import s3 as s3_module
from isoenergy.storage.s3 import RetryingS3FileSystem, S3Error
from tests.pairs.download.server import Server
from tests.pairs.formats.tars import tar_of
from tests.pairs.written_sources import FETCH, WRITERS, Place
from tests.s3.proxy import Fault, FaultProxy, share
from tests.s3.seaweedfs import S3Server

pytestmark = pytest.mark.server
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.RESET]


class Bucket(Place):
    """A place in a new bucket, written past any proxy."""

    def __init__(self, s3: S3Server) -> None:
        bucket = s3.bucket()
        self._root = f"{bucket}/some/pairs"
        self.uri = f"s3://{self._root}"
        self._filesystem = s3.filesystem
        self._filesystem.call_s3("put_object", Bucket=bucket, Key="some/pairs/")  # as consoles do for a folder

    def write(self, name: str, content: bytes) -> None:
        self._filesystem.pipe_file(f"{self._root}/{name}", content)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_FIRST_WAIT_SECONDS", 0.01)


def read(source: PairSource) -> RawPairs:
    return RawPairs.joined([part for unit in source.units(4) for part in source.read(unit, 3)])


def all_of(config: SourceConfig) -> dict[str, Any]:
    source: PairSource = pickle.loads(pickle.dumps(open_source(config, FETCH)))
    return {
        "format": source.format,
        "passed through": source.passed_through,
        "digests": {file: source.file_digest(file).partition(" ")[0] for file in source.files},
        "units": source.units(4),
        "pairs": read(source),
        "images": {file: source.images(file, [0, 2]) for file in source.files},
        "keys": [source.keys(file).to_pylist() for file in source.files if source.keys_may_repeat],
    }


@pytest.mark.parametrize("kind", WRITERS)
def test_the_pairs_of_a_bucket_are_those_on_disk(
    kind: str,
    s3: S3Server,
    proxy: FaultProxy,
    server: Server,
    tmp_path: Path,
) -> None:
    in_bucket, on_disk = (WRITERS[kind](place, server) for place in (Bucket(s3), Place(str(tmp_path))))
    proxy.rule = share(0.3, *PASSING, seed=1)
    assert all_of(in_bucket) == all_of(on_disk)
    assert sum(proxy.done[fault] for fault in PASSING) > 2


@pytest.mark.parametrize("kind", WRITERS)
def test_an_outage_is_an_error_and_no_rejected_pair(
    kind: str,
    s3: S3Server,
    proxy: FaultProxy,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    config = WRITERS[kind](Bucket(s3), server)
    source = open_source(config, FETCH)
    before = read(source)
    proxy.rule = lambda _: Fault.SLOW_DOWN
    with pytest.raises(OSError, match=r"_object\w* failed: .*503"):
        read(source)
    with pytest.raises(S3Error, match=r"_object\w* failed: .*503") as caught:
        open_source(config, FETCH)
    assert isinstance(caught.value, InputError)
    proxy.rule = lambda _: None
    assert read(source) == before


def test_places_that_cannot_be_opened_are_said(
    s3: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="s3://no-such-bucket/pairs does not exist"):
        open_source(SourceConfig("s3://no-such-bucket/pairs"), FETCH)
    name = s3.bucket()
    with pytest.raises(InputError, match=f"s3://{name}/pairs does not exist"):
        open_source(SourceConfig(f"s3://{name}/pairs"), FETCH)
    request.addfinalizer(RetryingS3FileSystem.clear_instance_cache)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    RetryingS3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"403.*check AWS_ACCESS_KEY_ID"):
        open_source(SourceConfig(f"s3://{name}/pairs"), FETCH)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("{00000..00002}.tar", [0, 1, 2]), ("{00000..00004..2}.tar", [0, 2, 4]), ("*.tar", range(5)),
        ("0000[13].tar", [1, 3]), ("00000.tar::00002.tar", [0, 2]), ("00000.tar, 00002.tar", [0, 2]),
        ("0000{0,1}.tar::0000[34].tar", [0, 1, 3, 4]), ("*", range(5)),
    ],
)  # fmt: skip
def test_lists_braces_and_globs_of_a_bucket(s3: S3Server, name: str, files: list[int]) -> None:
    bucket = Bucket(s3)
    folder = "my data, v[2]"
    for number in range(5):
        content = tar_of([(f"{number}.jpg", b"i%d" % number), (f"{number}.txt", b"t%d" % number)])
        for place in ("", f"{folder}/"):
            bucket.write(f"{place}{number:05d}.tar", content)
    for root in (bucket.uri, f"{bucket.uri}/{folder}"):
        if root != bucket.uri and "," in name and "{" not in name:
            continue  # a comma in the name of a list's place on S3 is a list's
        wanted = [f"{number:05d}.tar" for number in files]
        if (root, name) == (bucket.uri, "*"):
            wanted += [f"{folder}/{file}" for file in wanted]
        parts = [[f"{root}/{part.strip()}" for part in split_at_commas(place)] for place in name.split("::")]
        source = open_source(SourceConfig("::".join(",".join(part) for part in parts)), FETCH)
        assert source.files == wanted
        again = open_source(SourceConfig(source.uri), FETCH)
        assert again.files == wanted
        assert read(again).captions[:1] == [b"t%d" % files[0]]


def test_a_pattern_that_matches_nothing_in_a_bucket_says_so(s3: S3Server) -> None:
    bucket = Bucket(s3)
    bucket.write("0.tar", tar_of([("0.jpg", b"i"), ("0.txt", b"t")]))
    for name, message in (("*.parquet", "matches nothing"), ("{0..1}.tar", r"1\.tar, of .*, does not exist")):
        with pytest.raises(InputError, match=message):
            open_source(SourceConfig(f"{bucket.uri}/{name}"), FETCH)
