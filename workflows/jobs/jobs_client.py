"""The job server of a Ray cluster: its address, its answers, and what they mean for the user."""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.cluster.ray_internals import job_client
from workflows.jobs.jobs_following import say
from workflows.jobs.jobs_request import JobRequest

LOCAL_ADDRESS = "http://127.0.0.1:8265"
_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_ANSWER = 120.0
_SECONDS_BETWEEN_TRIES = 1.0
_NOT_YET = "No available agent"
"""What a dashboard says for some seconds after its cluster was started."""


def dashboard_address(given: str) -> str:
    """Return the dashboard's URL: as given, else as the environment says, else this machine's."""
    if given and not given.startswith(("http://", "https://")):
        raise InputError(
            f"--address must be the URL of a cluster's dashboard, http://HOST:8265, got {given!r}; the port 6379 of "
            f"`ray start` takes no jobs"
        )
    candidates = [given, *(os.environ.get(name, "") for name in _VARIABLES)]
    urls = [url for url in candidates if url.startswith(("http://", "https://"))]
    return (urls or [LOCAL_ADDRESS])[0].rstrip("/")


def open_client(address: str) -> JobSubmissionClient:
    """Connect to a dashboard; raise InputError, saying what to do, if nobody answers or the token is missing."""
    os.environ[_VARIABLES[0]] = address  # Ray takes the environment's before the one that it is given
    with understood(address):
        try:
            url = urlsplit(address)
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname or "", port), _SECONDS_TO_CONNECT).close()
            return job_client(address, (_SECONDS_TO_CONNECT, _SECONDS_TO_ANSWER))
        except (requests.HTTPError, RuntimeError, ValueError, KeyError, OverflowError) as error:
            raise InputError(f"{without_secrets(address)} is not the dashboard of a Ray cluster ({error})") from error


@contextmanager
def understood(address: str) -> Iterator[None]:
    """Turn what a cluster refuses, and its silence, into one line."""
    shown = without_secrets(address)
    try:
        yield
    except AuthenticationError as error:
        if "failed" in str(error):
            raise InputError(
                f"{shown} does not take this token: RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH names, or "
                f"~/.ray/auth_token must hold the one of the cluster's head"
            ) from error
        raise InputError(
            f"{shown} wants a token: export RAY_AUTH_MODE=token, and have the head's token in ~/.ray/auth_token or in "
            f"RAY_AUTH_TOKEN"
        ) from error
    except OSError as error:
        raise InputError(
            f"no Ray dashboard answers at {shown} ({_innermost(error)}); start a cluster (`ray start --head`), forward "
            f"its port (`ray dashboard cluster.yaml`), or give the right --address"
        ) from error


def jobs_by_id(client: JobSubmissionClient) -> dict[str, JobDetails]:
    """Return the cluster's submitted jobs."""
    return {job.submission_id: job for job in client.list_jobs() if job.submission_id}


def job_called(client: JobSubmissionClient, name: str) -> JobDetails:
    """Return a job; raise InputError if there is none of that id."""
    jobs = jobs_by_id(client)
    if name not in jobs:
        known = ", ".join(sorted(jobs, key=lambda id: jobs[id].start_time or 0)[-5:]) or "none"
        raise InputError(f"the cluster has no job {name!r}; the last that it has: {known}")
    return jobs[name]


def find_or_submit(
    client: JobSubmissionClient, request: JobRequest, metadata: Mapping[str, str], again: bool, patience: float
) -> tuple[str, JobDetails | None]:
    """Return the id of the command's job, and the job if it was there before.

    again: submit a new attempt if the last one has ended. patience: seconds to try for while the cluster, just started,
    has no process yet that takes jobs. Raises InputError if other code runs the same command now: it would write to the
    same places.
    """
    jobs = jobs_by_id(client)
    number = request.attempts(jobs)
    last = jobs[request.attempt_id(number)] if number else None
    if last is not None and not (again and last.status.is_terminal()):
        return request.attempt_id(number), last
    if others := request.with_other_code(jobs):
        raise InputError(
            f"job {others[0]} runs the same command with other code, and both would write to the same places; wait for "
            f"it, or end it: isoenergy submit --stop {others[0]}"
        )
    name = request.attempt_id(number + 1)
    give_up, told = time.monotonic() + patience, False
    while True:
        try:
            client.submit_job(
                entrypoint=request.entrypoint,
                submission_id=name,
                runtime_env=request.runtime_env,
                metadata=dict(metadata),
                entrypoint_num_cpus=request.driver_cpus,
            )
            return name, None
        except RuntimeError as error:
            if "already exists" in str(error):
                return name, client.get_job_info(name)  # someone else was faster
            if _NOT_YET not in str(error):
                raise InputError(f"the cluster does not take the job: {error}") from error
            if time.monotonic() >= give_up:
                raise InputError(
                    f"the cluster has taken no jobs for {patience:g} seconds: its head has no agent, as happens when "
                    f"another Ray on that machine holds port 52365; start the head with "
                    f"--dashboard-agent-listen-port=0"
                ) from error
        if not told:
            say(f"the cluster takes no jobs yet; trying for {patience:g} seconds")
            told = True
        time.sleep(_SECONDS_BETWEEN_TRIES)


def _innermost(error: BaseException) -> BaseException:
    """Return what went wrong on the wire; requests and urllib3 wrap it in their own words, several times."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
