"""Messages to MLflow: in order, none lost without a word, held up only by what they depend on."""

import time
from collections.abc import Callable, Iterator

import pytest

from isoenergy.errors import InputError
from workflows.tracking import mlflow_runs, outbox
from workflows.tracking.outbox import Message, Outbox

Make = Callable[[], Outbox]


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outbox]:
    monkeypatch.setattr(outbox, "_SECONDS_BETWEEN", 0.02)
    monkeypatch.setattr(outbox, "_LONGEST_WAIT", 0.02)
    uri = mlflow_runs.tracking_uri()
    made = Outbox(uri, mlflow_runs.experiment_id(uri), "{} messages")
    yield made
    made.close(0)


class Server:
    """Notes what it takes; `away` are the names of what it does not take for now."""

    def __init__(self) -> None:
        self.taken: list[object] = []
        self.away: set[object] = set()

    def take(self, name: object) -> None:
        if name in self.away:
            raise ConnectionError(f"{name} at http://user:secret@host does not go through")
        self.taken.append(name)

    def message(self, name: str, *lanes: str) -> Message:
        return Message(name, frozenset(lanes), lambda: self.take(name))


def wait_until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_fails_is_sent_again_in_order_and_holds_up_its_own_lanes_alone(box: Outbox) -> None:
    server = Server()
    server.away = {"a1"}
    for message in (
        server.message("a1", "a"),
        server.message("b1", "b"),
        server.message("ab", "a", "b"),
        server.message("b2", "b"),
        server.message("c1", "c"),
    ):
        box.put(message)
    wait_until(lambda: len(server.taken) == 2)
    assert server.taken == ["b1", "c1"]
    assert [message.what for message in box.unsent()] == ["a1", "ab", "b2"]
    server.away.clear()
    assert box.close() == 0
    assert server.taken == ["b1", "c1", "a1", "ab", "b2"]


def test_items_that_follow_each_other_on_a_lane_are_sent_together(box: Outbox) -> None:
    taken: list[list[int]] = []
    server = Server()
    server.away = {"first"}
    box.put(server.message("first", "a"))
    for number in range(3):
        box.put(Message("numbers", frozenset("a"), taken.append, [number, number]))
    box.put(server.message("between", "a"))
    box.put(Message("numbers", frozenset("a"), taken.append, list(range(999))))
    box.put(Message("numbers", frozenset("a"), taken.append, [1, 2]))
    server.away.clear()
    assert box.close() == 0
    assert [len(each) for each in taken] == [6, 999, 2]
    assert taken[0] == [0, 0, 1, 1, 2, 2]


def test_what_is_refused_for_good_is_left_out_and_said(box: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> None:
        raise InputError("there is no such run at http://user:secret@host")

    server = Server()
    box.put(Message("the end of one", frozenset("a"), refuse))
    box.put(server.message("next", "a"))
    assert box.close() == 1
    assert server.taken == ["next"]
    assert "refused the end of one: there is no such run at http://host" in caplog.text
    assert "did not take 1 messages" in caplog.text


def test_what_cannot_be_sent_is_tried_once_and_counted_and_the_reason_said_without_secrets(
    box: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    server.away = {"a"}
    box.put(server.message("a", "a"))
    box.put(server.message("b", "b"))
    assert box.close(patience=0) == 2
    assert "did not take 2 messages (ConnectionError: a at http://host does not go through)" in caplog.text


def test_a_server_that_fails_when_there_is_no_time_left_is_asked_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = mlflow_runs.tracking_uri()
    box = Outbox(uri, mlflow_runs.experiment_id(uri), "{} messages", seconds_between=60)
    asked: list[str] = []
    monkeypatch.setattr(outbox, "client", asked.append)  # each question takes many seconds of an end that is awaited
    server = Server()
    server.away = {"a"}
    box.put(server.message("a", "a"))
    assert box.close(patience=0) == 1
    assert asked == []


def test_numbers_beyond_what_memory_is_for_are_left_out_and_counted(
    box: Outbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "_MOST_WAITING", 2)
    server = Server()
    server.away = {"away"}
    box.put(server.message("away", "a"))
    taken: list[int] = []
    for number in range(5):
        box.put(Message("numbers", frozenset("a"), taken.extend, [number]))
    box.put(server.message("the end", "a"))
    server.away.clear()
    assert box.close() == 4
    assert taken == [0]
    assert server.taken == ["away", "the end"]
    assert "did not take 4 messages" in caplog.text
