"""What MLflow is told, from one thread: nothing waits for a server, and what it does not take for now is sent again."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.tracking.tracking_client import client, in_brief, text_without_secrets

_SECONDS_BETWEEN = 1.0
_LONGEST_WAIT = 15.0
_MOST_ITEMS = 1000
_MOST_AT_ONCE = 5000
_MOST_WAITING = 100_000
_LONGEST_REASON = 300
_REFUSALS = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS")
"""MLflow's answers that would be the same another time."""


@dataclass(eq=False)
class Message:
    """What is to be sent, perhaps more than once: sent again, it changes nothing."""

    what: str
    """For people: `the start of a trial`."""
    lanes: frozenset[str]
    """Those that share a lane are sent in the order in which they came."""
    send: Callable[..., None]
    """Is given the items, if there are any."""
    items: list[Any] = field(default_factory=list)
    """Sent together with those of the messages with items that follow on the same lane."""


class Outbox:
    """Messages to an MLflow server on their way: every call only queues, and a thread sends.

    What the server does not take for now is tried again until `close`; what it refuses for good is left out, with a
    warning. A message that fails holds up its own lanes and no others. Of more than 100,000 that wait, those with items
    are left out.
    """

    def __init__(self, uri: str, experiment: str, contents: str, seconds_between: float | None = None) -> None:
        """Start the thread.

        experiment: an id that the server knows, to ask whether it answers. contents: what they are in the line that
        says what was not sent, with `{}` for their number. seconds_between: from one round of sending to the next.
        """
        self._uri, self._experiment, self._contents = uri, experiment, contents
        self._between = _SECONDS_BETWEEN if seconds_between is None else seconds_between
        self._waiting: list[Message] = []
        self._left_out = 0
        self._reason = ""
        self._lock = threading.Lock()
        self._ended, self._give_up = threading.Event(), float("inf")
        self._thread = threading.Thread(target=self._run, name="MLflow", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Queue a message; never waits."""
        with self._lock:
            if message.items and len(self._waiting) >= _MOST_WAITING:
                self._left_out += 1
            else:
                self._waiting.append(message)

    def unsent(self) -> list[Message]:
        """Return what the server has not taken yet."""
        with self._lock:
            return list(self._waiting)

    def close(self, patience: float = 60.0) -> int:
        """Send what is left, and return how many messages could not be sent, also those refused for good; say so.

        It is tried once, and again for `patience` seconds.
        """
        self._give_up = time.monotonic() + patience
        self._ended.set()
        self._thread.join()
        left = len(self._waiting) + self._left_out
        if left:
            contents, reason = self._contents.replace("{}", str(left)), f" ({self._reason})" * bool(self._reason)
            _warn("MLflow at %s did not take %s%s", without_secrets(self._uri), contents, reason)
        return left

    def _run(self) -> None:
        wait = self._between
        while not self._ended.wait(wait):
            wait = self._between if self._send_round() else min(2 * wait, max(_LONGEST_WAIT, self._between))
        while not (self._send_round() and not self.unsent()) and not self._is_late():
            time.sleep(max(0.0, min(_SECONDS_BETWEEN, self._give_up - time.monotonic())))

    def _is_late(self) -> bool:
        return time.monotonic() >= self._give_up

    def _send_round(self) -> bool:
        """Try each message once, past those that wait for one that failed; return whether the server took all."""
        waiting = self.unsent()[:_MOST_AT_ONCE]
        blocked: set[str] = set()
        done: set[Message] = set()
        for place, message in enumerate(waiting):
            if message in done:
                continue
            if message.lanes & blocked:
                blocked |= message.lanes
                continue
            together = _together(waiting[place:], done) if message.items else [message]
            if self._taken(message, together):
                done.update(together)
                self._remove(together)
            elif not self._is_late() and self._answers():
                blocked |= message.lanes
            else:
                return False
            if self._is_late():
                return False
        return not blocked

    def _taken(self, first: Message, together: list[Message]) -> bool:
        """Send messages; return whether that is done with: the server took them, or refused them for good."""
        try:
            if first.items:
                first.send([item for message in together for item in message.items])
            else:
                first.send()
        except Exception as error:  # MLflow, SQLAlchemy, requests and botocore raise many kinds
            self._reason = in_brief(error)
            if not _is_refusal(error):
                return False
            said = text_without_secrets(" ".join(str(error).split()))[:_LONGEST_REASON]
            _warn("MLflow at %s refused %s: %s", without_secrets(self._uri), first.what, said)
            self._left_out += len(together)
        return True

    def _remove(self, messages: list[Message]) -> None:
        gone = set(messages)
        with self._lock:
            self._waiting = [message for message in self._waiting if message not in gone]

    def _answers(self) -> bool:
        try:
            client(self._uri).get_experiment(self._experiment)
        except Exception:  # as above
            return False
        return True


def _together(waiting: list[Message], done: set[Message]) -> list[Message]:
    """Return the first message, which has items, and those of its lane that may be sent with it."""
    found: list[Message] = []
    items = 0
    for message in waiting:
        if message in done or not message.lanes & waiting[0].lanes:
            continue
        items += len(message.items)
        if not message.items or (found and items > _MOST_ITEMS):
            break
        found.append(message)
    return found


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, InputError):
        return True
    if code := getattr(error, "error_code", None):
        return code in _REFUSALS
    return isinstance(error, TypeError | ValueError | LookupError | AttributeError) and not isinstance(error, OSError)


def _warn(text: str, *values: str) -> None:
    logging.getLogger(__name__).warning(text, *values)
