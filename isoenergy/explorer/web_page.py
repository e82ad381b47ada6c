"""The page and what it asks for over HTTP; who may, and how much at once."""

import asyncio
import base64
import json
import math
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isoenergy.errors import InputError
from isoenergy.explorer.atom_list import AtomChoice
from isoenergy.explorer.exploration import Exploration
from isoenergy.explorer.notes import NoteChanged

MAX_UPLOAD_BYTES = 16 * 2**20
"""Of an image; its pixels are limited as those of `isoenergy embed` are."""
MAX_JSON_BYTES = 2**20
TOKEN_HEADER = "x-explorer-token"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'",
    "referrer-policy": "no-referrer",  # the token stands in the address
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_MOST_PICTURES = 200
_NO_NOTE = "a note is an object with its text, and with the text that was read before it was written"

Answer = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    token: str
    """Stands in the page's address; empty: anybody may look, and nobody write."""
    hosts: tuple[str, ...] = LOOPBACK
    """Names by which browsers reach the page: a site elsewhere cannot have them for its own (DNS rebinding). Empty:
    any, and the token alone decides."""
    read_only: bool = False
    """Whether notes may only be read."""

    def knows(self, host: str) -> bool:
        """Whether a request that names this host is meant for us."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        return not self.hosts or name.lower() in self.hosts

    def allows(self, token: str) -> bool:
        """Whether a request may see data."""
        return not self.token or secrets.compare_digest(token.encode(), self.token.encode())

    @property
    def may_write(self) -> bool:
        """Whether a request that may see data may write notes."""
        return not self.read_only and bool(self.token)


def web_page(exploration: Exploration, access: Access) -> Starlette:
    """Return the application: static files for anybody, `/api/` for who has the token."""
    return Starlette(
        routes=[Route(f"/{name}", _static(name, content)) for name, content in _page_files().items()]
        + [Route("/", _static("index.html", _page_files()["index.html"]))]
        + _Api(exploration, access).routes,
        middleware=[Middleware(_Guard, access=access), Middleware(GZipMiddleware, minimum_size=2000, compresslevel=3)],
    )


class _Guard:
    """Turns away who does not name us or lacks the token; adds headers to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        headers = Headers(scope=scope)
        refusal: Response | None = None
        if not self._access.knows(headers.get("host", "")):
            refusal = PlainTextResponse("this server has another name; open the address that it has printed", 421)
        elif scope["path"].startswith("/api/") and not self._access.allows(headers.get(TOKEN_HEADER, "")):
            refusal = _json({"error": "the address lacks its token; open the one that was printed"}, 401)
        await (refusal or self._app)(scope, receive, with_headers)


class _Api:
    """The questions, by their paths."""

    def __init__(self, exploration: Exploration, access: Access) -> None:
        self._exploration, self._access = exploration, access
        self._computing = ThreadPoolExecutor(1, "explorer")
        """One search at a time has all cores; others wait."""

    @property
    def routes(self) -> list[Route]:
        """Return all of them."""
        return [
            Route("/api/about", _answered(self._about)),
            Route("/api/ask", _answered(self._ask), methods=["POST"]),
            Route("/api/image", _answered(self._image), methods=["POST"]),
            Route("/api/atoms", _answered(self._atoms)),
            Route("/api/atoms/{atom}", _answered(self._atom)),
            Route("/api/atoms/{atom}/top", _answered(self._top)),
            Route("/api/atoms/{atom}/bonds", _answered(self._bonds)),
            Route("/api/atoms/{atom}/note", _answered(self._note), methods=["PUT"]),
            Route("/api/map", _answered(self._map)),
            Route("/api/compare", _answered(self._compare)),
            Route("/api/pairs", _answered(self._pairs)),
            Route("/api/pictures", _answered(self._pictures)),
            Route("/api/notes", self._notes),
        ]

    async def _compute(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._computing, work)

    async def _about(self, _request: Request) -> Any:
        return self._exploration.about() | {"may_write": self._access.may_write}

    async def _ask(self, request: Request) -> Any:
        try:
            asked = json.loads(await _body(request, MAX_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise InputError("the question is not JSON") from error
        if not isinstance(asked, dict):
            raise InputError("the question must be an object")
        return await self._compute(lambda: self._exploration.ask(asked))

    async def _image(self, request: Request) -> Any:
        raw = await _body(request, MAX_UPLOAD_BYTES)
        return await self._compute(lambda: self._exploration.image(raw))

    async def _atoms(self, request: Request) -> Any:
        given = request.query_params
        choice = AtomChoice(
            query=given.get("query", ""),
            kind=given.get("class", ""),
            shared=given.get("shared") == "1",
            noted=given.get("noted") == "1",
            sort=given.get("sort", "agreement"),
            falling=given.get("falling", "1") == "1",
        )
        first, count = _count(request, "first", 0), _count(request, "count", 50)
        looked_for = _count(request, "place", 0) if "place" in given else None
        return await run_in_threadpool(self._exploration.atoms, given.get("sae"), choice, first, count, looked_for)

    async def _atom(self, request: Request) -> Any:
        return await run_in_threadpool(self._exploration.atom, *_of_atom(request))

    async def _top(self, request: Request) -> Any:
        return await run_in_threadpool(self._exploration.hover, *_of_atom(request))

    async def _bonds(self, request: Request) -> Any:
        return await run_in_threadpool(self._exploration.bonds, *_of_atom(request))

    async def _note(self, request: Request) -> Any:
        if not self._access.may_write:
            return _json({"error": "this page is for reading only"}, 403)
        try:
            given = json.loads(await _body(request, MAX_JSON_BYTES))
            text, read = given["text"], given["read"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(_NO_NOTE) from error
        if not isinstance(text, str) or not isinstance(read, str):
            raise InputError(_NO_NOTE)
        sae, atom = _of_atom(request)
        try:
            await run_in_threadpool(self._exploration.write_note, sae, atom, text, read)
        except NoteChanged as error:
            return _json({"error": str(error), "note": error.there}, 409)
        return {"note": text.strip()}

    async def _notes(self, _request: Request) -> Response:
        disposition = {"content-disposition": 'attachment; filename="notes.json"'}
        return Response(self._exploration.notes.export(), media_type="application/json", headers=disposition)

    async def _map(self, request: Request) -> Any:
        by = "umap" if request.query_params.get("by") == "umap" else "pca"
        return await run_in_threadpool(self._exploration.map, request.query_params.get("sae"), by)

    async def _compare(self, request: Request) -> Any:
        given = request.query_params
        return await run_in_threadpool(self._exploration.compare, given.get("first"), given.get("second"))

    async def _pairs(self, request: Request) -> Any:
        count = min(_count(request, "count", 12), _MOST_PICTURES)
        query = request.query_params.get("query", "")[:200]
        return await run_in_threadpool(self._exploration.pairs, query, count)

    async def _pictures(self, request: Request) -> Any:
        given = [part for part in request.query_params.get("pairs", "").split(",") if part]
        if len(given) > _MOST_PICTURES or not all(part.isascii() and part.isdecimal() for part in given):
            raise InputError(f"give the numbers of at most {_MOST_PICTURES} pairs, with commas between")
        pairs = [int(part[:12]) for part in given]
        self._exploration.require_pairs(pairs)
        found = await run_in_threadpool(self._exploration.pictures.of, pairs)
        return {pair: raw and "data:image/webp;base64," + base64.b64encode(raw).decode() for pair, raw in found.items()}


class _TooLarge(Exception):
    """A body has more bytes than it may."""


async def _body(request: Request, most: int) -> bytes:
    """Return what was sent; raises _TooLarge beyond `most` bytes, of which no more are read."""
    parts: list[bytes] = []
    size = 0
    if int(request.headers.get("content-length") or 0) > most:
        raise _TooLarge(most)
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _TooLarge(most)
        parts.append(part)
    return b"".join(parts)


def _answered(answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def respond(request: Request) -> Response:
        try:
            found = await answer(request)
        except InputError as error:
            return _json({"error": str(error)}, 422)
        except _TooLarge as error:
            return _json({"error": f"that is too large; at most {error.args[0]:,} bytes are taken"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        return found if isinstance(found, Response) else _json(found)

    return respond


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(_finite(value), allow_nan=False), status, media_type="application/json")


def _finite(value: Any) -> Any:
    """Return JSON values in which what is not finite is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _count(request: Request, name: str, otherwise: int) -> int:
    given = request.query_params.get(name, str(otherwise))
    return _whole(given, f"{name} must be a whole number, got {given[:40]!r}")


def _of_atom(request: Request) -> tuple[str | None, int]:
    atom = request.path_params["atom"]
    number = _whole(atom, f"there is no atom {atom[:40]!r}; atoms are whole numbers from 0")
    return request.query_params.get("sae"), number


def _whole(given: str, otherwise: str) -> int:
    """Return what digits say; raises InputError, which says `otherwise`, for anything else."""
    if not given.isascii() or not given.isdecimal() or len(given) > 9:
        raise InputError(otherwise)
    return int(given)


def _page_files() -> dict[str, bytes]:
    """Return the page's files by name: no other name is served."""
    folder = resources.files("isoenergy.explorer") / "page"
    return {file.name: file.read_bytes() for file in folder.iterdir() if f".{file.name.rpartition('.')[2]}" in _TYPES}


def _static(name: str, content: bytes) -> Callable[[Request], Awaitable[Response]]:
    media_type = _TYPES[f".{name.rpartition('.')[2]}"]

    async def respond(_request: Request) -> Response:
        return Response(content, media_type=media_type)

    return respond
