"""A proxy between a client and an S3 server that answers for the server, cuts, and delays, as it is told to."""

import asyncio
import hashlib
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


class Fault(StrEnum):
    """What the proxy does instead of passing a request and its answer on."""

    SLOW_DOWN = "503 SlowDown"
    CUT = "the connection ends in the middle of the answer's body"
    LOST = "the server does what it is asked and the connection ends before its answer"
    TORN = "the connection ends in the middle of the request's body, at the server's too"
    RESET = "the connection ends before the request is passed on"
    SILENCE = "neither is the request's body read nor anything answered"


@dataclass(frozen=True)
class Request:
    """What decides whether a request is disturbed."""

    method: str
    target: str
    """Path and query."""
    range: str
    """Value of the Range header, or nothing."""
    repetition: int
    """How many equal ones came before."""


Rule = Callable[[Request], Fault | None]


def matching(part: str, fault: Fault, method: str = "") -> Rule:
    """Disturb every request whose target holds `part`."""
    return lambda request: fault if part in request.target and request.method.startswith(method) else None


def first(count: int, fault: Fault, part: str = "", method: str = "") -> Rule:
    """Disturb the first `count` of each request whose target holds `part`."""
    wanted = matching(part, fault, method)
    return lambda request: wanted(request) if request.repetition < count else None


def share(part: float, *faults: Fault, seed: int = 0) -> Rule:
    """Disturb a share of all requests; which ones, and how, follows from the seed, not from order or bucket."""

    def rule(request: Request) -> Fault | None:
        in_bucket = replace(request, target=re.sub("^/[^/?]+", "", request.target))
        digest = hashlib.sha256(f"{seed} {in_bucket}".encode()).digest()
        drawn = int.from_bytes(digest[:8]) / 2**64
        return faults[digest[8] % len(faults)] if drawn < part else None

    return rule


class FaultProxy:
    """Listens on a free loopback port in a thread of its own; `rule` may be changed at any time."""

    def __init__(self, upstream: str) -> None:
        """Pass on to the server at the URL `upstream`."""
        self.begin_anew()
        self._upstream = urlsplit(upstream)
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin_anew(self) -> None:
        """Forget what was and disturb nothing."""
        self.rule: Rule = lambda _: None
        self.done: Counter[Fault | None] = Counter()
        """How often each fault was done; under None, how many requests were passed on undisturbed."""
        self.requests: list[Request] = []
        self._seen: Counter[tuple[str, ...]] = Counter()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve within the context."""
        thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._accept, "127.0.0.1", 0), self._loop)
        self.url = f"http://127.0.0.1:{server.result().sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._close(server.result()), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):  # the client has gone
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request of a connection."""
        head = await reader.readuntil(_HEAD_END)
        (method, target, _), headers = _parsed(head)
        if headers.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue" + _HEAD_END)
        like = (method, target, headers.get("range", ""))
        request = Request(*like, self._seen[like])
        self._seen[like] += 1
        self.requests.append(request)
        fault = self.rule(request)
        self.done[fault] += 1
        if fault is Fault.SILENCE:
            await asyncio.Event().wait()
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        match fault:
            case Fault.RESET:
                _reset(writer)
            case Fault.SLOW_DOWN:
                answer = _SLOW_DOWN if method != "HEAD" else b""
                writer.write(
                    b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Type: application/xml\r\n"
                    + f"Content-Length: {len(answer)}".encode()
                    + _HEAD_END
                    + answer
                )
                await writer.drain()
            case _:
                upstream = self._upstream
                from_server, to_server = await asyncio.open_connection(upstream.hostname, upstream.port)
                try:
                    to_server.write(_for_one_request(head) + (body[: len(body) // 2] if fault is Fault.TORN else body))
                    if fault is Fault.TORN:
                        await to_server.drain()
                        _reset(writer)
                    else:
                        await _answer(from_server, writer, fault, has_body=method != "HEAD")
                finally:
                    to_server.close()


async def _answer(
    server: asyncio.StreamReader, client: asyncio.StreamWriter, fault: Fault | None, has_body: bool
) -> None:
    head = await server.readuntil(_HEAD_END)
    body = await server.read() if has_body else b""
    if fault is Fault.LOST or (fault is Fault.CUT and not body):
        _reset(client)
        return
    client.write(head + (body[: len(body) // 2] if fault is Fault.CUT else body))
    await client.drain()


def _reset(client: asyncio.StreamWriter) -> None:
    linger = struct.pack("ii", 1, 0)  # close sends RST
    client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.transport.abort()


def _parsed(head: bytes) -> tuple[list[str], dict[str, str]]:
    """First line, in words, and headers."""
    first_line, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = (line.partition(":") for line in lines)
    return first_line.split(" ", 2), {name.strip().lower(): value.strip() for name, _, value in headers}


def _for_one_request(head: bytes) -> bytes:
    """Ask the server to end the connection after its answer, which then ends where the connection does."""
    kept = [
        line
        for line in head[: -len(_HEAD_END)].split(b"\r\n")
        if not line.lower().startswith((b"connection:", b"expect:"))
    ]
    return b"\r\n".join([*kept, b"Connection: close"]) + _HEAD_END
