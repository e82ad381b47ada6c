"""S3 through s3fs, made fit for long runs: what may pass is tried again, and what fails is an OSError that says why."""

import asyncio
import errno
import io
import logging
import mimetypes
import random
import time
from typing import Any

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as NotConnectedError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem

from isoenergy.errors import InputError
from isoenergy.storage.s3_patience import storage_patience

_LOG = logging.getLogger(__name__)
_ATTEMPTS = 7
_ATTEMPTS_IN_SILENCE = 4
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 8.0
_LONGEST_REQUEST_SECONDS = 300.0
_SECONDS_BEFORE_A_LINE, _SECONDS_BETWEEN_LINES = 6.0, 60.0
_SMALL = {"head_object", "head_bucket", "list_objects_v2"}
"""Requests that take no time where the server answers."""
_TRANSIENT_CODES = {"SlowDown", "Throttling", "RequestTimeout", "OperationAborted", "IncompleteBody", "BadDigest"}
_TRANSIENT_STATUS = {408, 429, 500, 502, 503, 504}
_SILENT = (NotConnectedError, ReadTimeoutError, TimeoutError)
_CUT = (HTTPClientError, IncompleteReadError, ResponseParserError, aiohttp.ClientError)
_FORBIDDEN = {401, 403}


class S3Error(OSError, InputError):
    """S3 refused a request or could not be asked; the message names the object and says what to do."""

    def __str__(self) -> str:
        return str(self.args[-1])


class RetryingS3FileSystem(S3FileSystem):  # type: ignore[misc]  # s3fs has no types
    """`S3FileSystem` that retries in one place, lists afresh, and fails with FileNotFoundError or `S3Error`.

    A request, the body of its answer included, is tried again if the server says that it is busy or broken, cuts the
    connection or says nothing: for half an hour once it has answered this process (`isoenergy.storage.s3_patience`),
    with a line now and then; until then 7 times within some 12 seconds, 4 times if no connection can be made or nothing
    is answered. AWS_MAX_ATTEMPTS sets a number of times instead. Refusals are final. A body is held in memory. Whatever
    botocore takes from the environment and its files is honoured, such as AWS_ENDPOINT_URL.
    """

    connect_timeout = 5
    read_timeout = 15
    retries = 1  # s3fs's own, which do not multiply ours
    default_block_size = 8 * 2**20  # a reader holds two

    def __init__(self, **options: Any) -> None:
        """Take the options of `S3FileSystem`."""
        config = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 64}
        options["config_kwargs"] = config | (options.get("config_kwargs") or {})
        super().__init__(**(options | {"use_listings_cache": False}))
        self._answered = False
        self._next_line = 0.0

    async def _call_s3(self, method: str, *defaults: Any, **arguments: Any) -> Any:
        telling = asyncio.create_task(self._tell_of_silence(method, arguments)) if method in _SMALL else None
        try:
            return await self._answer(method, *defaults, **arguments)
        finally:
            if telling is not None:
                telling.cancel()

    async def _answer(self, method: str, *defaults: Any, **arguments: Any) -> Any:
        attempt, asked, begun = 0, None, time.monotonic()
        while True:
            attempt += 1
            try:
                await self.set_session()
                asked = self.session.get_config_variable("max_attempts")
                async with asyncio.timeout(_LONGEST_REQUEST_SECONDS):
                    answer = await super()._call_s3(method, *defaults, **arguments)
                    if method == "get_object":
                        async with answer["Body"] as body:
                            answer["Body"] = _WholeBody(await body.read())
                self._answered = True
                return answer
            except FileNotFoundError:
                self._answered = True
                raise
            except (OSError, BotoCoreError, ValueError, *_CUT) as error:
                cause = _true_cause(error)
                if attempt >= _allowed(cause, asked or _ATTEMPTS):
                    waited = time.monotonic() - begun
                    patience = 0.0 if asked else storage_patience(self._answered)
                    if not _may_pass(cause) or waited >= patience:
                        raise _as_s3_error(cause, method, arguments, attempt) from error
                    self._say(cause, method, arguments, waited, patience)
            wait = min(_FIRST_WAIT_SECONDS * 2 ** (attempt - 1), _LONGEST_WAIT_SECONDS)
            await asyncio.sleep(wait * random.uniform(0.5, 1))

    call_s3 = sync_wrapper(_call_s3)

    async def _tell_of_silence(self, method: str, arguments: dict[str, Any]) -> None:
        """Say that S3 is waited for though no attempt has come to an end, which in silence takes a quarter minute."""
        await asyncio.sleep(_SECONDS_BEFORE_A_LINE)
        if patience := storage_patience(self._answered):
            silence = TimeoutError("nothing is answered")
            self._say(silence, method, arguments, _SECONDS_BEFORE_A_LINE, patience)

    def _say(self, cause: Exception, method: str, arguments: dict[str, Any], waited: float, patience: float) -> None:
        """Say that S3 is waited for, if no request has just said so."""
        now = time.monotonic()
        if waited >= _SECONDS_BEFORE_A_LINE and now >= self._next_line:
            self._next_line = now + _SECONDS_BETWEEN_LINES
            left = (patience - waited) / 60
            said = f"{_as_s3_error(cause, method, arguments, 1)}".partition(";")[0]
            _LOG.warning("S3 is waited for, %.0f s so far, %.0f minutes more at most: %s", waited, left, said)

    async def _cat_file(self, path: str, **options: Any) -> bytes:
        """Return an object, or a range of it, with one request; s3fs would ask for its size first."""
        content: bytes = await super()._cat_file(path, **({"max_concurrency": 1} | options))
        return content

    async def _pipe_file(self, path: str, data: bytes, *arguments: Any, **options: Any) -> Any:
        """Write an object of the type that its name says: a browser shows a page that is one, and would save others."""
        kind, _ = mimetypes.guess_type(path)
        return await super()._pipe_file(path, data, *arguments, **({"ContentType": kind} if kind else {}) | options)

    async def _isfile(self, path: str) -> bool:
        """Return whether there is an object; fsspec says no when the server cannot be asked."""
        return await self._kind(path) == "file"

    async def _isdir(self, path: str) -> bool:
        """Return whether there are objects below; s3fs would list them all."""
        return await self._kind(path) == "directory"

    isdir = sync_wrapper(_isdir)

    async def _kind(self, path: str) -> str | None:
        try:
            return str((await self._info(path))["type"])
        except FileNotFoundError:
            return None


class _WholeBody(io.BytesIO):
    """The body of an answer, already read."""

    async def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]  # as the stream of a body
        return super().read(size)


def _true_cause(error: Exception) -> Exception:
    """aiobotocore says of a connection that was reset that it could not be made."""
    cause = error.__context__
    was_reset = isinstance(cause, aiohttp.ClientOSError) and not isinstance(cause, aiohttp.ClientConnectorError)
    return cause if was_reset and isinstance(cause, Exception) else error


def _allowed(error: Exception, attempts: int) -> int:
    """How often what ended in this error may be tried, however little time that takes."""
    if isinstance(error, _SILENT):
        return min(attempts, _ATTEMPTS_IN_SILENCE)
    return attempts if _may_pass(error) else 1


def _may_pass(error: Exception) -> bool:
    """Return whether what ended in this error may go well another time."""
    status, code = _status_and_code(error)
    known = status in _TRANSIENT_STATUS or code in _TRANSIENT_CODES
    return known or isinstance(error, (*_SILENT, *_CUT))


def _status_and_code(error: Exception) -> tuple[int | None, str]:
    """HTTP status and S3's code of what the server answered; s3fs makes an OSError of it."""
    answered = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if not isinstance(answered, ClientError):
        return None, ""
    response = answered.response
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode"), str(response.get("Error", {}).get("Code", ""))


def _as_s3_error(error: Exception, method: str, arguments: dict[str, Any], attempts: int) -> S3Error:
    path = "/".join(filter(None, (arguments.get(name) for name in ("Bucket", "Key", "Prefix"))))
    status, code = _status_and_code(error)
    number = (error.errno if isinstance(error, OSError) else None) or errno.EIO
    advice = ""
    if status in _FORBIDDEN or isinstance(error, PermissionError | NoCredentialsError | PartialCredentialsError):
        number, advice = errno.EACCES, "; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what this key may do"
    elif isinstance(error, _SILENT):
        advice = "; check AWS_ENDPOINT_URL and the network"
    elif _may_pass(error):
        advice = "; the same command goes on from what is done"
    elif isinstance(error, BotoCoreError | ValueError):
        advice = "; check the URL and the AWS_ variables"
    what = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    answer = " ".join(dict.fromkeys(part for part in (str(status or ""), code) if part and part not in what))
    tries = f" in {attempts} attempts" if attempts > 1 else ""
    return S3Error(number, f"s3://{path}: {method} failed{tries}: {what}{answer and f' ({answer})'}{advice}")
