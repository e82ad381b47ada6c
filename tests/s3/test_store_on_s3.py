"""The store's contract on S3: what is written is read, and no fault leaves anything but a whole unit or none."""

import dataclasses
import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from isoenergy.errors import InputError
from isoenergy.storage import s3 as s3_module
from isoenergy.storage import s3_patience
from isoenergy.storage.files import file_digest, open_filesystem, write_atomically
from isoenergy.storage.s3 import RetryingS3FileSystem, S3Error
from isoenergy.store import EmbeddingStore, StoreWriter
from isoenergy.store.commit_index import INDEX_FILE
from tests.s3.proxy import Fault, FaultProxy, first, matching, share
from tests.s3.seaweedfs import S3Server
from tests.store.small_store import FILES, MANIFEST, rejected, shard, unit

pytestmark = pytest.mark.server
PASSING = [Fault.SLOW_DOWN, Fault.CUT, Fault.LOST, Fault.TORN, Fault.RESET]
UNITS = 12


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "_FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture
def place(s3: S3Server) -> str:
    return f"s3://{s3.bucket()}/a [folder]/store"


def fill(uri: str) -> StoreWriter:
    writer = StoreWriter(uri)
    writer.begin(MANIFEST, FILES)
    for number in range(UNITS):
        commit(writer, number)
    writer.write_summary("{}")
    return writer


def commit(writer: StoreWriter, number: int) -> None:
    writer.commit(unit(number), "digest", shard(number, rows=8), rejected(2))


def contents(filesystem: AbstractFileSystem, uri: str) -> dict[str, bytes]:
    """All that is there, by its place in the store, but the index: it holds what listings say, and times differ."""
    root = filesystem._strip_protocol(uri)
    paths = [path for path in filesystem.find(root) if not path.endswith(INDEX_FILE)]
    return {path.removeprefix(root): filesystem.cat_file(path) for path in paths}


def check_equal(uri: str, folder: Path, s3: S3Server) -> None:
    """The store on S3, and that on disk: the same bytes, and the same to a reader."""
    assert contents(s3.filesystem, uri) == contents(LocalFileSystem(), str(folder))
    here, there = EmbeddingStore.open(str(folder)), EmbeddingStore.open(uri)
    assert there.fingerprint == here.fingerprint
    assert there.rejected == {"empty_image": 2 * UNITS}
    assert there.to_arrays().keys.tolist() == here.to_arrays().keys.tolist()
    np.testing.assert_array_equal(there.to_arrays("train").images, here.to_arrays("train").images)


def test_a_store_has_the_same_bytes_as_on_disk(place: str, proxy: FaultProxy, s3: S3Server, tmp_path: Path) -> None:
    assert StoreWriter(place).committed() == {}
    fill(place)
    fill(str(tmp_path))
    proxy.requests.clear()
    assert set(StoreWriter(place).committed()) == {unit(number).name for number in range(UNITS)}
    assert Counter(request.method for request in proxy.requests if "/commits/" in request.target) == {"GET": UNITS}
    assert len(proxy.requests) <= UNITS + 3
    check_equal(place, tmp_path, s3)
    proxy.requests.clear()
    assert len(EmbeddingStore.open(place)) == 8 * UNITS
    assert [request.method for request in proxy.requests] == ["GET", "GET"]  # manifest and index
    proxy.requests.clear()
    assert len(StoreWriter(place).committed()) == UNITS
    assert len(proxy.requests) == 3  # the index and two listings


def test_faults_on_any_request_leave_the_same_store(
    place: str, proxy: FaultProxy, s3: S3Server, tmp_path: Path
) -> None:
    proxy.rule = share(0.3, *PASSING)
    fill(place)
    fill(str(tmp_path))
    check_equal(place, tmp_path, s3)
    assert all(proxy.done[fault] for fault in PASSING)


@pytest.mark.parametrize("fault", PASSING)
def test_every_operation_outlives_a_storm(fault: Fault, place: str, proxy: FaultProxy) -> None:
    filesystem, root = open_filesystem(place)
    data = bytes(range(256)) * 1000
    proxy.rule = first(3, fault)
    write_atomically(filesystem, f"{root}/file", data)
    assert filesystem.cat_file(f"{root}/file") == data
    assert filesystem.isfile(f"{root}/file")
    assert filesystem.isdir(root)
    assert filesystem.find(root) == [f"{root}/file"]
    with filesystem.open(f"{root}/file", "rb") as stream:
        stream.seek(100_000)
        assert stream.read(1000) == data[100_000:101_000]
    different = {dataclasses.replace(request, repetition=0) for request in proxy.requests}
    assert proxy.done[fault] == 3 * len(different)


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET])
def test_an_outage_is_one_clear_error_and_the_work_goes_on_after_it(
    fault: Fault, place: str, proxy: FaultProxy, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    writer = fill(place)
    record = writer.committed()[unit(0).name]
    filesystem, root = open_filesystem(place)
    during: list[Callable[[], object]] = [
        lambda: commit(writer, 0),
        writer.committed,
        lambda: writer.holds(MANIFEST),
        lambda: writer.read(record),
        lambda: EmbeddingStore.open(place),
        lambda: file_digest(filesystem, f"{root}/manifest.json"),
        lambda: filesystem.isfile(f"{root}/manifest.json"),
        lambda: filesystem.isdir(root),
    ]
    proxy.rule = lambda _: fault
    for operation in during:
        with pytest.raises(S3Error, match=r"s3://bucket.* in 2 attempts: .*; the same command goes on") as caught:
            operation()
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, InputError)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(InputError, match=r"cannot be written .* in 2 attempts"):
        writer.begin(MANIFEST, FILES)
    proxy.rule = lambda _: None
    for operation in during:
        operation()
    fill(str(tmp_path))
    check_equal(place, tmp_path, s3)


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.TORN])
@pytest.mark.parametrize("part", ["/shards/", "/rejected/", "/commits/"])
def test_a_unit_whose_writing_was_cut_short_does_not_exist(
    part: str, fault: Fault, place: str, proxy: FaultProxy, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    writer = StoreWriter(place)
    writer.begin(MANIFEST, FILES)
    commit(writer, 0)
    before = contents(s3.filesystem, place)
    proxy.rule = matching(part, fault)
    with pytest.raises(S3Error, match=f"{part}.*put_object failed"):
        commit(writer, 1)
    proxy.rule = lambda _: None
    assert set(writer.committed()) == {unit(0).name}
    after = contents(s3.filesystem, place)
    commit(writer, 1)
    assert set(writer.committed()) == {unit(0).name, unit(1).name}
    whole = contents(s3.filesystem, place)
    assert before.items() <= after.items() <= whole.items()
    assert not any(part in name or "/commits/" in name for name in after.keys() - before.keys())
    assert not any(".tmp" in name for name in whole)


def test_a_file_in_parts_appears_whole_or_not_at_all(
    place: str, proxy: FaultProxy, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    filesystem, root = open_filesystem(place)
    part = 5 * 2**20
    data = bytes(2 * part + 1)
    proxy.rule = matching("partNumber=2", Fault.RESET)
    with pytest.raises(S3Error, match="upload_part failed"):
        filesystem.pipe_file(f"{root}/file", data, chunksize=part)
    assert s3.filesystem.find(root) == []
    assert not s3.filesystem.call_s3("list_multipart_uploads", Bucket=root.split("/")[0]).get("Uploads")
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    proxy.rule = first(1, Fault.RESET, "partNumber=1")
    filesystem.pipe_file(f"{root}/file", data, chunksize=part)
    assert s3.filesystem.cat_file(f"{root}/file") == data


def test_what_others_write_and_remove_is_seen_at_once(place: str, s3: S3Server) -> None:
    fill(place)
    writer, store = StoreWriter(place), EmbeddingStore.open(place)
    assert len(writer.committed()) == UNITS
    other, root = s3.filesystem, s3.filesystem._strip_protocol(place)
    names = {name: f"{root}/{record.shard}" for name, record in writer.committed().items()}
    other.rm_file(f"{root}/shards/{writer.committed()[unit(0).name].shard}")
    assert set(writer.committed()) == names.keys() - {unit(0).name}
    for path in other.find(root):
        other.cp_file(path, path.replace("/store/", "/copy/"))
    copy = place.replace("/store", "/copy")
    bucket, _, key = other._strip_protocol(copy).partition("/")
    for folder in ("", "shards/", "rejected/", "commits/"):
        other.call_s3("put_object", Bucket=bucket, Key=f"{key}/{folder}")  # as consoles do for a folder
    assert StoreWriter(copy).committed() == writer.committed()
    assert len(store.commits) == UNITS
    with pytest.raises(InputError, match="cannot be read"):  # an index was made when it was opened
        EmbeddingStore.open(place).read_unit(unit(0).name)
    StoreWriter(place).settle(UNITS)
    assert len(EmbeddingStore.open(place).commits) == UNITS - 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1", "in 4 attempts: Could not connect .* check AWS_ENDPOINT_URL"),
        ("AWS_ENDPOINT_URL", "127.0.0.1", "Invalid endpoint: 127.0.0.1; check the URL"),
        ("AWS_ACCESS_KEY_ID", "unknown", "403.* check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "403.* check AWS_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "", "Partial credentials .* check AWS_ACCESS_KEY_ID"),
        ("AWS_MAX_ATTEMPTS", "many", "'many'; check the URL and the AWS_ variables"),
    ],
)
def test_wrong_settings_are_said_at_once(
    variable: str,
    value: str,
    message: str,
    place: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    StoreWriter(place).begin(MANIFEST, FILES)
    if variable == "AWS_ENDPOINT_URL":
        monkeypatch.delenv(s3_patience.VARIABLE)  # what has never answered is not waited for
    else:
        monkeypatch.setenv(s3_patience.VARIABLE, "30")
    if value:
        monkeypatch.setenv(variable, value)
    else:
        monkeypatch.delenv(variable)
    RetryingS3FileSystem.clear_instance_cache()
    request.addfinalizer(RetryingS3FileSystem.clear_instance_cache)
    for operation in (StoreWriter(place).committed, lambda: EmbeddingStore.open(place)):
        with pytest.raises(S3Error, match=message):
            operation()
    with pytest.raises(InputError, match=f"cannot be written .*{message}"):
        StoreWriter(place).begin(MANIFEST, FILES)


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET])
def test_an_outage_is_waited_out_and_said(
    fault: Fault, place: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(s3_patience.VARIABLE)
    monkeypatch.setattr(s3_module, "_LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(s3_module, "_SECONDS_BEFORE_A_LINE", 0.2)
    RetryingS3FileSystem.clear_instance_cache()  # what has said so lately is silent
    filesystem, root = open_filesystem(place)
    write_atomically(filesystem, f"{root}/first", b"answered")
    proxy.rule = first(20, fault, "/file")
    write_atomically(filesystem, f"{root}/file", b"written")
    assert filesystem.cat_file(f"{root}/file") == b"written"
    assert proxy.done[fault] == 40
    said = [record.message for record in caplog.records if "S3 is waited for" in record.message]
    assert len(said) == 1  # one a minute
    assert "29 minutes more" in said[0] or "30 minutes more" in said[0]
    assert "put_object failed: " in said[0]
    assert f"s3://{root}/file" in said[0]


def test_silence_is_said_before_an_attempt_has_ended(
    place: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(s3_patience.VARIABLE)
    monkeypatch.setattr(s3_module, "_SECONDS_BEFORE_A_LINE", 0.1)
    monkeypatch.setattr(RetryingS3FileSystem, "read_timeout", 1)
    RetryingS3FileSystem.clear_instance_cache()
    filesystem, root = open_filesystem(place)
    write_atomically(filesystem, f"{root}/file", b"answered")
    proxy.rule = first(1, Fault.SILENCE, "/file", "HEAD")
    assert filesystem.isfile(f"{root}/file")
    said = [record.message for record in caplog.records if "S3 is waited for" in record.message]
    assert len(said) == 1
    assert said[0].startswith("S3 is waited for, 0 s so far, 30 minutes more at most")
    assert "head_object failed: nothing is answered" in said[0]


def test_patience_ends(place: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem, root = open_filesystem(place)
    monkeypatch.setattr(s3_module, "_LONGEST_WAIT_SECONDS", 0.05)
    proxy.rule = matching("/file", Fault.SLOW_DOWN)
    monkeypatch.setenv(s3_patience.VARIABLE, "0.02")
    with pytest.raises(S3Error, match=r"put_object failed in \d+ attempts: .*the same command goes on"):
        write_atomically(filesystem, f"{root}/file", b"")
    monkeypatch.setenv(s3_patience.VARIABLE, "a while")
    with pytest.raises(InputError, match="ISOENERGY_S3_PATIENCE must be minutes, 0 or more, got 'a while'"):
        write_atomically(filesystem, f"{root}/file", b"")


def test_a_missing_bucket_is_said(s3: S3Server) -> None:
    del s3
    assert StoreWriter("s3://no-such-bucket/store").committed() == {}
    with pytest.raises(InputError, match=r"s3://no-such-bucket/store cannot be written .*bucket does not exist"):
        StoreWriter("s3://no-such-bucket/store").begin(MANIFEST, FILES)
    with pytest.raises(InputError, match="s3://no-such-bucket/store is not an embedding store"):
        EmbeddingStore.open("s3://no-such-bucket/store")


def test_a_server_that_says_nothing_is_given_up(place: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryingS3FileSystem, "read_timeout", 0.1)
    monkeypatch.setattr(s3_module, "_LONGEST_REQUEST_SECONDS", 1)
    monkeypatch.setattr(s3_module, "_ATTEMPTS_IN_SILENCE", 2)
    RetryingS3FileSystem.clear_instance_cache()
    filesystem, root = open_filesystem(place)
    proxy.rule = lambda _: Fault.SILENCE
    with pytest.raises(S3Error, match=r"get_object failed in 2 attempts: .*timeout"):
        filesystem.cat_file(f"{root}/file")
    more_than_sockets_hold = bytes(50 * 2**20)
    with pytest.raises(S3Error, match="put_object failed in 2 attempts: TimeoutError"):
        filesystem.pipe_file(f"{root}/file", more_than_sockets_hold)
