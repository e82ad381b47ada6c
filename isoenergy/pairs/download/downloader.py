"""Getting the images of URLs that nobody vouches for."""

import asyncio
import errno
import random
import re
import socket
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urljoin

import aiohttp
from yarl import URL

from isoenergy.errors import InputError
from isoenergy.pairs.download.addresses import may_connect
from isoenergy.pairs.download.opt_out import ROBOT, opts_out
from isoenergy.pairs.kinds import HEAD_BYTES, image_kind
from isoenergy.pairs.rejection import Reason, Rejected

_BATCHES_AHEAD = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT_SECONDS = 10.0
_CHUNK_BYTES = 64 * 2**10
_OF_THE_IMAGE = frozenset({200, 203})  # 203: a proxy has changed the answer
_CODINGS = frozenset({"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "dcb", "dcz", "exi"})
"""Content codings; what else a server may call so says nothing of the bytes."""
_LONGEST_HEADER_BYTES = 64 * 2**10
_MOST_HEADERS = 500
_WITH_AUTHORITY = re.compile(r"(https?://[^/?#]*)([^#]*)", re.IGNORECASE)
_ABSOLUTE = re.compile(r"https?://", re.IGNORECASE)
_SENT_AS_THEY_ARE = "".join(map(chr, range(0x21, 0x7F)))
_NOT_OF_URLS = str.maketrans("", "", "\t\r\n")  # browsers leave them out
_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_BROKEN = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)
_FORBIDDEN = "the address is not a public one"


@dataclass(frozen=True)
class DownloadConfig:
    """How the images of a source of URLs are downloaded: by each of the tasks that read, so the bounds are a task's."""

    connections: int = 64
    """Most connections at once."""
    connections_per_host: int = 8
    """Most connections at once to one host."""
    max_bytes: int = 20 * 2**20
    """Largest image."""
    max_redirects: int = 5
    """Most redirects that are followed; each is checked as the URL was."""
    seconds: float = 10.0
    """Longest time for one try, from the connection to the last byte."""
    retries: int = 3
    """Further tries after 429, 5xx or a broken connection; nothing else is tried again."""
    retry_wait: float = 0.5
    """Seconds before the first further try; doubled for each one after it. A server may ask for up to 10."""
    user_agent: str = f"{ROBOT}/{version('isoenergy')} (research; embeds images to study vision-language models)"
    """Sent with every request."""
    ignore_opt_out: bool = False
    """Also take images whose server says noai or noimageai (X-Robots-Tag)."""
    allow_loopback: bool = False
    """Also connect to this machine; for tests."""

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            may_be_zero = setting.name in ("max_redirects", "retries", "retry_wait") or isinstance(value, bool)
            if isinstance(value, int | float) and not (value > 0 or (may_be_zero and value == 0)):
                raise InputError(f"{setting.name} must be {'0 or more' if may_be_zero else 'above 0'}, got {value}")
        if not self.user_agent.strip() or not (self.user_agent.isascii() and self.user_agent.isprintable()):
            raise InputError(f"user_agent must be printable ASCII, and not empty, got {self.user_agent!r}")


class Downloader:
    """Downloads images, refusing whatever an honest image would not need.

    Only http and https, to ports 80, 443 or above 1023, without credentials, proxies or cookies; only to public
    addresses, checked on the one that a socket is about to connect to, after every redirect too.
    """

    def __init__(self, config: DownloadConfig) -> None:
        """Keep the settings; nothing is connected yet."""
        self.config = config

    def fetch(self, batches: Iterable[Sequence[str | None]]) -> Iterator[list[bytes | Rejected]]:
        """Yield the body of each URL of each batch, or why there is none, in their order; works in any thread.

        While one batch is used, up to 4 after it are downloaded.
        """
        with _running_client(self.config) as get_all:
            waiting: deque[Future[list[bytes | Rejected]]] = deque()
            for urls in batches:
                waiting.append(get_all(urls))
                if len(waiting) > _BATCHES_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


class _Client:
    """Gets URLs within the bounds; lives in one event loop."""

    def __init__(self, config: DownloadConfig, session: aiohttp.ClientSession) -> None:
        self._config, self._session = config, session
        self._total = asyncio.Semaphore(config.connections)
        self._of_host: dict[str | None, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(config.connections_per_host)
        )

    @classmethod
    async def started(cls, config: DownloadConfig) -> "_Client":
        def socket_for(address: tuple[Any, ...]) -> socket.socket:
            family, kind, protocol, _, place = address
            if not may_connect(place[0], config.allow_loopback):
                raise OSError(errno.EACCES, _FORBIDDEN)
            return socket.socket(family, kind, protocol)

        connector = aiohttp.TCPConnector(
            limit=0,  # `_total` and `_of_host` hold it, and closing each connection keeps idle ones from adding to it
            force_close=True,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=socket_for,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": config.user_agent, "Accept-Encoding": "identity", "Accept": "image/*"},
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
            max_line_size=_LONGEST_HEADER_BYTES,
            max_field_size=_LONGEST_HEADER_BYTES,
            max_headers=_MOST_HEADERS,
            middlewares=[_once],
        )
        return cls(config, session)

    async def close(self) -> None:
        """Leave what is not done."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def get_all(self, urls: Sequence[str | None]) -> list[bytes | Rejected]:
        return await asyncio.gather(*map(self._get, urls))

    async def _get(self, url: str | None) -> bytes | Rejected:
        """Try until there is a body, or no hope."""
        if not url:
            return Rejected(Reason.MISSING_IMAGE, "no URL")
        attempt = 0
        while True:
            try:
                return await self._try(url)
            except _Refused as refused:
                if not refused.again or attempt == self._config.retries or refused.wait > _LONGEST_WAIT_SECONDS:
                    return refused.rejected
                backoff = self._config.retry_wait * 2**attempt * (1 + random.random())
                wait = max(refused.wait, min(backoff, _LONGEST_WAIT_SECONDS))
            await asyncio.sleep(wait)
            attempt += 1

    async def _try(self, url: str) -> bytes:
        try:
            return await self._follow(_parsed(url))
        except _Refused:
            raise
        except Exception as error:  # a hostile answer may break the client in ways of its own
            raise _refused_for(error) from error

    async def _follow(self, url: URL) -> bytes:
        """Return the body at the end of the redirects; raises TimeoutError if all that takes too long."""
        clock, left = asyncio.get_running_loop().time, self._config.seconds
        for _ in range(self._config.max_redirects + 1):
            _require_harmless(url)
            async with self._of_host[url.raw_host], self._total:
                start = clock()
                async with asyncio.timeout(left):
                    found = await self._ask(url)
                left -= clock() - start
            if isinstance(found, bytes):
                return found
            url = found
        raise _Refused(Reason.TOO_MANY_REDIRECTS, f"more than {self._config.max_redirects}")

    async def _ask(self, url: URL) -> bytes | URL:
        """Return a body, or where it is instead."""
        async with self._session.get(url, allow_redirects=False) as response:
            location = response.headers.get("Location") if response.status in _REDIRECTS else None
            if location is None and response.status not in _OF_THE_IMAGE:
                raise _refused_status(response.status, response.headers)
            if not self._config.ignore_opt_out and opts_out(response.headers.getall("X-Robots-Tag", ())):
                raise _Refused(Reason.OPTED_OUT, "X-Robots-Tag")
            return await self._body(response) if location is None else _parsed(_joined(url, location.strip()))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        codings = _codings(response.headers.getall("Content-Encoding", ()))
        most = self._config.max_bytes
        if (response.content_length or 0) > most:
            raise _Refused(Reason.IMAGE_TOO_LARGE, f"{response.content_length:,} bytes, at most {most:,} are read")
        body = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
            body += chunk
            if len(body) > most:
                raise _Refused(Reason.IMAGE_TOO_LARGE, f"over {most:,} bytes")
            if codings and len(body) >= HEAD_BYTES:
                _require_plain(body, codings)
        if codings:
            _require_plain(body, codings)
        return bytes(body)


class _Refused(Exception):
    """The end of a try, for a reason."""

    def __init__(self, reason: Reason, detail: str, again: bool = False, wait: float = 0.0) -> None:
        """`again`: another try may help, `wait` seconds later if the server says so."""
        super().__init__(detail)
        self.rejected, self.again, self.wait = Rejected(reason, detail), again, wait


@contextmanager
def _running_client(config: DownloadConfig) -> Iterator[Callable[[Sequence[str | None]], Future[Any]]]:
    """Run a client in an event loop in a thread of its own; gives its `get_all`."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(config.connections))  # a name slow to resolve holds up one thread
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)

    client = run(_Client.started(config)).result()
    try:
        yield lambda urls: run(client.get_all(urls))
    finally:
        if not sys.is_finalizing():  # when the interpreter ends, the thread is gone before what nobody closed
            run(client.close()).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _once(
    request: aiohttp.ClientRequest, send: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """Keep aiohttp from trying again by itself, as it does after a reset."""
    try:
        return await send(request)
    except (aiohttp.ClientError, OSError) as error:
        raise _refused_for(error) from error


def _codings(values: Iterable[str]) -> list[str]:
    """Return the codings that `Content-Encoding` headers name."""
    named = (part.strip().lower() for value in values for part in value.split(","))
    return [name for name in named if name in _CODINGS]


def _require_plain(body: bytearray, codings: Sequence[str]) -> None:
    """Refuse a body that is compressed, as its headers say; some say it of plain images."""
    if image_kind(bytes(body[:HEAD_BYTES])) is None:
        detail = f"the image comes compressed ({', '.join(codings)}), though this was not asked for"
        raise _Refused(Reason.CONTENT_ENCODED, detail)


def _refused_for(error: Exception) -> _Refused:
    detail = type(error).__name__
    if isinstance(error, TimeoutError):
        return _Refused(Reason.DOWNLOAD_TIMEOUT, "not whole in time")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        known_to_be_none = error.os_error.errno in _NO_SUCH_NAME
        return _Refused(
            Reason.UNKNOWN_HOST, f"its name {'has no address' if known_to_be_none else 'cannot be looked up'}"
        )
    if isinstance(error, aiohttp.ClientSSLError):
        return _Refused(Reason.CONNECTION_FAILED, detail)
    if isinstance(error, aiohttp.ClientConnectorError) and _FORBIDDEN in str(error.os_error):
        return _Refused(Reason.FORBIDDEN_ADDRESS, _FORBIDDEN)
    if isinstance(error, aiohttp.ClientResponseError):
        return _Refused(Reason.CONNECTION_FAILED, f"its answer is no HTTP that can be read ({error.message})")
    if isinstance(error, ValueError):  # aiohttp's InvalidURL among them
        return _Refused(Reason.BAD_URL, detail)
    return _Refused(Reason.CONNECTION_FAILED, detail, again=isinstance(error, _BROKEN))


def _parsed(url: str) -> URL:
    """Return a URL whose path and query are sent as they are written; only what no request may hold is escaped.

    yarl alone would also unescape, and servers that sign or forward URLs would not know them again.
    """
    url = url.strip().translate(_NOT_OF_URLS)
    url.encode()  # raises ValueError for bytes that are not UTF-8; yarl would leave them out and make it another URL
    found = _WITH_AUTHORITY.match(url)
    if found is None:
        return URL(url)
    place, target = URL(found[1]), quote(found[2], safe=_SENT_AS_THEY_ARE)
    return URL(f"{place.scheme}://{place.raw_authority}{target}", encoded=True)


def _joined(url: URL, location: str) -> str:
    """Return where a redirect leads, as the server wrote it; only a relative one is made another."""
    if location.startswith("//"):
        return f"{url.scheme}:{location}"
    if location.startswith("/"):
        return f"{url.scheme}://{url.raw_authority}{location}"
    return location if _ABSOLUTE.match(location) else urljoin(str(url), location)


def _require_harmless(url: URL) -> None:
    if url.scheme not in ("http", "https") or not url.host:
        raise _Refused(Reason.BAD_URL, f"a scheme of {url.scheme!r}; only http and https are followed")
    if url.user is not None or url.password is not None:
        raise _Refused(Reason.BAD_URL, "it holds credentials")
    if url.port not in (80, 443) and (url.port or 0) < 1024:
        raise _Refused(Reason.BAD_URL, f"port {url.port}")


def _refused_status(status: int, headers: Mapping[str, str]) -> _Refused:
    detail = f"status {status}" + " without a place to go to" * (status in _REDIRECTS)
    if status == 429:
        return _Refused(Reason.HTTP_TOO_MANY_REQUESTS, detail, again=True, wait=_retry_after(headers))
    if status >= 500:
        return _Refused(Reason.HTTP_SERVER_ERROR, detail, again=True, wait=_retry_after(headers))
    return _Refused(Reason.HTTP_CLIENT_ERROR, detail)


def _retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait: it gives them, or a date."""
    value = headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
