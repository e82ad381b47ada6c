"""`isoenergy submit STAGE …`: a stage as a job on a Ray cluster, followed to its end."""

import dataclasses
import inspect
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from signal import SIGINT, SIGTERM
from typing import Annotated

import tyro
from ray.job_submission import JobSubmissionClient

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.cli import STAGES
from workflows.cluster.ray_internals import quiet_uploads
from workflows.command import VERBOSITY, Terminated, run_command, take_verbosity
from workflows.jobs.jobs_client import dashboard_address, find_or_submit, job_called, open_client, understood
from workflows.jobs.jobs_code import job_code
from workflows.jobs.jobs_following import Log, OutOfSight, exit_code, follow, outcome, say, wait_for_end
from workflows.jobs.jobs_request import JobRequest, metadata, require_stage_runs
from workflows.jobs.jobs_secrets import job_environment, require_no_secrets

_HERE_ONLY = {"submit": "it submits the others", "share": "it needs the token of a person"}


@dataclass(frozen=True)
class SubmitConfig:
    """Run a stage as a job on a Ray cluster and follow it: its log here, its exit code as the exit code.

    The stage and its options come last, and are checked before anything is sent. The same command finds the job that it
    submitted before, running or ended, instead of submitting a second one. Ctrl-C asks whether to stop the job or to
    leave it running. Whoever sees the dashboard sees a job's command and environment: secrets are refused.

    On a cluster with token authentication: export RAY_AUTH_MODE=token, and have the head's token in ~/.ray/auth_token
    or in RAY_AUTH_TOKEN.
    """

    address: str = ""
    """URL of the cluster's dashboard. Default: RAY_API_SERVER_ADDRESS or RAY_ADDRESS if one is a URL, else
    http://127.0.0.1:8265."""
    wait: bool = True
    """Follow the job. --no-wait prints its id and returns."""
    again: bool = False
    """If the command's last job has ended, submit it again as another attempt."""
    driver_cpus: float = 0.0
    """CPUs kept for the job's own process beside those of its tasks. 0: it runs on the head, also on a head that offers
    no CPUs; above 0: on any node that has them free."""
    code: str = "auto"
    """What is sent as the job's working directory. auto: the checkout that this program runs from; FOLDER: another one;
    image: nothing, as the cluster's image has isoenergy. Not sent: what .gitignore and .rayignore name."""
    env: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """NAME or NAME=VALUE of a variable that the job gets, once for each, beside MLFLOW_TRACKING_URI,
    AWS_ENDPOINT_URL[_S3], AWS_REGION and AWS_DEFAULT_REGION. Never keys or tokens."""
    patience: float = 600.0
    """Seconds to try again for: while the dashboard does not answer as a job is followed, or a cluster that was just
    started takes no jobs yet."""
    attach: Annotated[str, tyro.conf.arg(metavar="ID")] = ""
    """Follow a job that was submitted before, instead of a stage."""
    stop: Annotated[str, tyro.conf.arg(metavar="ID")] = ""
    """Stop a job, instead of a stage; it has 30 seconds to end in order."""
    dry_run: bool = False
    """Print what would be submitted, and stop."""

    def __post_init__(self) -> None:
        if self.driver_cpus < 0 or self.patience < 0:
            raise InputError(f"driver_cpus and patience must be 0 or more, got {self.driver_cpus} and {self.patience}")
        if self.attach and self.stop:
            raise InputError("--attach follows a job and --stop ends one; give one of them")


def run(config: SubmitConfig, stage: str = "", arguments: Sequence[str] = (), command: Sequence[str] = ()) -> int:
    """Submit a stage, or attach to or stop a job; return the exit code.

    command: the whole command line after `isoenergy submit`, which the dashboard shows.
    """
    address = dashboard_address(config.address)
    if named := config.attach or config.stop:
        if stage:
            raise InputError(f"--attach and --stop take a job's id and no stage, got {stage}")
        client = open_client(address)
        with understood(address):
            job_called(client, named)
        return _stopped(client, named) if config.stop else _followed(client, named, config)
    if stage not in _stages():
        reason = f", as {_HERE_ONLY[stage]}" if stage in _HERE_ONLY else ""
        given = f"{stage!r} cannot be submitted{reason}" if stage else "there is no stage to submit"
        raise InputError(
            f"{given}; expected one of {', '.join(_stages())}, after the options of submit and before its own"
        )
    require_no_secrets(command)
    require_stage_runs(stage, arguments)
    request = JobRequest(
        stage, tuple(arguments), job_code(config.code), job_environment(config.env), config.driver_cpus
    )
    if config.dry_run:
        print(_plan(request, address))
        return 0
    client = open_client(address)
    with understood(address):
        try:
            name, before = find_or_submit(client, request, metadata(command), config.again, config.patience)
        except KeyboardInterrupt:
            say("interrupted while the job was sent; the same command finds it if the cluster has taken it")
            return 128 + SIGINT
    if before is None:
        say(f"job {name} is submitted to {without_secrets(address)}: {request.entrypoint}")
        if "MLFLOW_TRACKING_URI" not in request.environment:
            say("MLFLOW_TRACKING_URI is not set: the job tracks to the cluster's own, or to a file that goes with it")
    else:
        say(f"job {name} is that of this command, submitted before, and is {before.status}")
    if not config.wait:
        print(name)
        return 0
    code = _followed(client, name, config)
    if before is not None and before.status.is_terminal():
        say("that was an earlier attempt; --again before the stage submits another one")
    return code


def _plan(request: JobRequest, address: str) -> str:
    where = "on the head" if request.driver_cpus == 0 else f"on a node with {request.driver_cpus:g} free CPUs"
    lines = [
        f"address      {without_secrets(address)}",
        f"job          {request.id}",
        f"command      {request.entrypoint}",
        f"driver       {where}",
        f"code         {request.code}",
    ]
    return "\n".join(lines + [f"environment  {name}={value}" for name, value in sorted(request.environment.items())])


def _followed(client: JobSubmissionClient, name: str, config: SubmitConfig) -> int:
    """Follow a job to its end or until the user leaves it; return the exit code."""
    log = Log()
    try:
        try:
            with understood(client.get_address()):
                job = follow(client, name, config.patience, log)
        except KeyboardInterrupt:
            if not _user_stops(name):
                raise
            with understood(client.get_address()):
                client.stop_job(name)
                say(f"job {name} is told to stop")
                job = follow(client, name, config.patience, log)
    except KeyboardInterrupt:
        return _detached(client, name, 128 + SIGINT)
    except Terminated:
        return _detached(client, name, 128 + SIGTERM)
    except OutOfSight as reason:
        say(f"{reason}; {_later(client, name)}")
        return 1
    say(outcome(name, job))
    return exit_code(job)


def _stopped(client: JobSubmissionClient, name: str) -> int:
    with understood(client.get_address()):
        client.stop_job(name)
        say(outcome(name, wait_for_end(client, name)))
    return 0


def _user_stops(name: str) -> bool:
    """Ask, if there is someone to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        return False
    print(f"\nisoenergy: stop job {name}? y stops it, anything else leaves it running: ", end="", file=sys.stderr)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _detached(client: JobSubmissionClient, name: str, code: int) -> int:
    say(f"job {name} goes on; {_later(client, name)}")
    return code


def _later(client: JobSubmissionClient, name: str) -> str:
    there = f"isoenergy submit --address {shlex.quote(without_secrets(client.get_address()))}"
    return f"to follow it: {there} --attach {name}; to end it: {there} --stop {name}"


def split(words: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Return the options of submit, the stage, "" if there is none, and what is the stage's own, untouched."""
    names = {field.name: field.type is bool for field in dataclasses.fields(SubmitConfig)}
    place = 0
    while place < len(words) and words[place].startswith("-"):
        name = words[place].lstrip("-").replace("-", "_")
        stands_alone = "=" in name or name in ("h", "help") or names.get(name.removeprefix("no_"), False)
        place += 1 if stands_alone else 2
    stage = words[place] if place < len(words) else ""
    return list(words[:place]), stage, list(words[place + 1 :])


def _stages() -> list[str]:
    return [name for name in STAGES if name not in _HERE_ONLY]


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, submit, and exit as the job does."""
    quiet_uploads()
    command = list(arguments or [])
    own, stage, rest = split(command)
    about = f"{inspect.getdoc(SubmitConfig)}\n\nstages: {', '.join(_stages())}\n\n{VERBOSITY}"
    config = tyro.cli(
        SubmitConfig, args=take_verbosity(own), prog="isoenergy submit [OPTIONS] STAGE [ITS OPTIONS]", description=about
    )
    sys.exit(run(config, stage, rest, command))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
