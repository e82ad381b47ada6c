"""Following a job to its end: its log as it grows, over lost connections, and what it ended with."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from signal import SIGTERM, Signals

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from isoenergy.errors import one_line

_SECONDS_OF_SILENCE = 10.0
_SECONDS_BETWEEN_TRIES = 2.0
_BROKEN = (OSError, RuntimeError, aiohttp.ClientError)
_NOT_FOUND = 127
_LONGEST_REASON = 1000


class OutOfSight(Exception):
    """What becomes of the job is not known: nobody answers any more, or nobody reads."""


class Log:
    """A job's log, of which every connection sends all from the beginning, and each part is printed once."""

    def __init__(self) -> None:
        self._shown = 0

    def show(self, text: str, start: int) -> int:
        """Print what is new of the text that begins at character `start` of the log; return where it ends."""
        end = start + len(text)
        if end > self._shown:
            try:
                print(text[max(0, self._shown - start) :], end="", flush=True)
            except OSError as error:  # to `head`, say, which has read enough
                raise OutOfSight(f"the log cannot be printed ({error})") from error
            self._shown = end
        return end


def follow(client: JobSubmissionClient, name: str, patience: float, log: Log) -> JobDetails:
    """Print a job's log as it grows, until the job has ended; return what is known of it then.

    patience: seconds to try again for when the dashboard does not answer; then OutOfSight is raised. A job that waits
    for its turn says so.
    """
    return asyncio.run(_follow(client, name, patience, log))


async def _follow(client: JobSubmissionClient, name: str, patience: float, log: Log) -> JobDetails:
    lost_since = None
    while True:
        whole = False
        with suppress(*_BROKEN):
            whole = await _tail(client, name, log)
        try:
            job = client.get_job_info(name)
        except _BROKEN as error:
            if "status code 404" in str(error):
                raise OutOfSight(f"the cluster does not know job {name} any more: its head was replaced") from error
            if lost_since is None:
                lost_since = time.monotonic()
                say(f"the dashboard does not answer; job {name} may well go on; trying for {patience:g} seconds")
            if time.monotonic() - lost_since >= patience:
                raise OutOfSight(f"the dashboard has not answered for {patience:g} seconds") from error
        else:
            lost_since = None
            if job.status.is_terminal():
                if not whole:
                    with suppress(*_BROKEN):  # the node that holds the log may be gone
                        log.show(client.get_job_logs(name), 0)
                return job
        await asyncio.sleep(_SECONDS_BETWEEN_TRIES)


async def _tail(client: JobSubmissionClient, name: str, log: Log) -> bool:
    """Show the log as it grows; return True at its end, and False if the job ended while the connection was mute."""
    stream = client.tail_job_logs(name)
    position, waits = 0, False
    ahead = asyncio.ensure_future(_next(stream))
    try:
        while True:
            await asyncio.wait({ahead}, timeout=_SECONDS_OF_SILENCE)
            if ahead.done():
                text = ahead.result()
                if text is None:
                    return True
                position = log.show(text, position)
                ahead = asyncio.ensure_future(_next(stream))
                continue
            job = client.get_job_info(name)  # a connection that was cut without a word is mute too
            if job.status.is_terminal():
                return False
            if job.status is JobStatus.PENDING and not waits:
                waits = True
                say(f"job {name} waits: {job.message or 'the cluster has not begun it'}")
    finally:
        ahead.cancel()
        with suppress(asyncio.CancelledError, *_BROKEN):
            await ahead


def wait_for_end(client: JobSubmissionClient, name: str) -> JobDetails:
    """Return what is known of a job when it has ended."""
    while not (job := client.get_job_info(name)).status.is_terminal():
        time.sleep(_SECONDS_BETWEEN_TRIES)
    return job


async def _next(stream: AsyncIterator[str]) -> str | None:
    return await anext(stream, None)


def exit_code(job: JobDetails) -> int:
    """Return what a shell would have: the driver's own code, 128 + N after signal N, 1 if the driver never ended."""
    if job.status is JobStatus.SUCCEEDED:
        return 0
    if job.status is JobStatus.STOPPED:
        return 128 + SIGTERM
    code = job.driver_exit_code or 1
    return 128 - code if code < 0 else code


def outcome(name: str, job: JobDetails) -> str:
    """Return how a job ended, in words."""
    if job.status is JobStatus.SUCCEEDED:
        return f"job {name} succeeded"
    if job.status is JobStatus.STOPPED:
        return f"job {name} was stopped"
    code = exit_code(job)
    if job.driver_exit_code is None:
        reason = one_line(job.message or "no reason given", _LONGEST_REASON)
        return f"job {name} failed before its program ended: {reason}"
    if code > 128:
        with suppress(ValueError):
            return f"job {name} was killed by {Signals(code - 128).name}, exit code {code}"
    if code == _NOT_FOUND:
        return f"job {name} found no `python` on the cluster: have it in the PATH that `ray start` runs with"
    return f"job {name} failed with exit code {code}"


def say(text: str) -> None:
    """Print a line that is not the job's own."""
    print(f"isoenergy: {text}", file=sys.stderr, flush=True)
