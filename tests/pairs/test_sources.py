"""What all sources have in common: the same pairs, stored in each way, come out the same."""

import pickle
import uuid

import pytest

from isoenergy.pairs.opening import open_source
from isoenergy.pairs.source import PairSource, RawPairs, SourceConfig
from tests.pairs.download.server import Server
from tests.pairs.written_sources import FETCH, FILES, WRITERS, Place, caption, image

Opened = tuple[str, PairSource]


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    if request.param == "local":
        return Place(str(tmp_path_factory.mktemp("pairs")))
    return Place(f"memory://{uuid.uuid4().hex}/pairs")


@pytest.fixture(params=WRITERS)
def opened(request: pytest.FixtureRequest, place: Place, server: Server) -> Opened:
    return request.param, open_source(WRITERS[request.param](place, server), FETCH)


def rows_of(source: PairSource, rows_per_unit: int, rows_per_batch: int) -> list[RawPairs]:
    batches = []
    for unit in source.units(rows_per_unit):
        of_unit = list(source.read(unit, rows_per_batch))
        assert all(len(batch) == rows_per_batch for batch in of_unit[:-1])
        assert all(0 < len(batch) <= rows_per_batch for batch in of_unit)
        numbers = [row for batch in of_unit for row in batch.rows]
        stop = unit.start + len(numbers) if unit.stop is None else unit.stop
        assert numbers == list(range(unit.start, stop))
        batches += of_unit
    return batches


def test_a_source_is_recognised_and_its_pairs_come_out_once_and_in_order(opened: Opened) -> None:
    kind, source = opened
    assert source.format == kind
    everything = range(sum(FILES))
    for rows_per_unit, rows_per_batch in ((1, 1), (3, 2), (4, 3), (100, 4), (100, 100)):
        batches = rows_of(source, rows_per_unit, rows_per_batch)
        assert [value for batch in batches for value in batch.images] == [image(n) for n in everything]
        assert [value for batch in batches for value in batch.captions] == [caption(n).encode() for n in everything]
        assert not any(rejection for batch in batches for rejection in batch.rejections)
        assert {batch.passed_through.schema for batch in batches} == {source.passed_through}
        units = source.units(rows_per_unit)
        assert len({unit.name for unit in units}) == len(units)


def test_keys_are_unique_and_known_before_reading_where_they_may_repeat(opened: Opened) -> None:
    _, source = opened
    keys = [key for batch in rows_of(source, 100, 4) for key in batch.keys]
    assert len(set(keys)) == sum(FILES)
    if source.keys_may_repeat:
        assert [key for file in source.files for key in source.keys(file).to_pylist()] == keys


def test_single_rows_can_be_read_again(opened: Opened, server: Server) -> None:
    _, source = opened
    unit = source.units(100)[0]
    whole = RawPairs.joined(list(source.read(unit, 100)))
    server.requests.clear()
    (batch,) = source.read(unit, 100, rows={5, 1, 999})
    assert batch.rows == [1, 5]
    assert batch.keys == [whole.keys[1], whole.keys[5]]
    assert (batch.images, batch.captions) == ([image(1), image(5)], [caption(1).encode(), caption(5).encode()])
    assert batch.passed_through == whole.passed_through.take([1, 5])
    assert [len(batch) for batch in source.read(unit, 2, rows=[0, 2, 4, 6, 3])] == [2, 2, 1]
    assert list(source.read(unit, 2, rows=[])) == []
    assert set(server.tries) <= {f"/{n}.jpg" for n in (0, 1, 2, 3, 4, 5, 6)}


def test_images_come_back_by_their_number(opened: Opened) -> None:
    _, source = opened
    assert source.images(source.files[0], [5, 1]) == {1: image(1), 5: image(5)}
    assert source.images(source.files[0], []) == {}


def test_a_source_travels(opened: Opened) -> None:
    _, source = opened
    message = pickle.dumps(source)
    assert len(message) < 4096
    copy = pickle.loads(message)
    assert copy.files == source.files
    unit = source.units(2)[0]
    assert [batch.images for batch in copy.read(unit, 2)] == [batch.images for batch in source.read(unit, 2)]


def test_what_is_written_again_has_another_digest(opened: Opened, place: Place) -> None:
    kind, source = opened
    first = source.files[0]
    digest = source.file_digest(first)
    assert source.file_digest(first) == digest
    if kind == "folder":
        place.write(f"{first}/another.png", b"")
        source = open_source(SourceConfig(place.uri), FETCH)
    else:
        place.write(first, place.read(first) + b"\n")
    assert source.file_digest(first) != digest
