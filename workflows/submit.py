"""`isoenergy submit STAGE …`: a stage as a job on a Ray cluster, followed to its end."""

import shlex
import sys
from collections.abc import Sequence
from signal import SIGINT, SIGTERM

from ray.job_submission import JobSubmissionClient

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.cluster.ray_internals import quiet_uploads
from workflows.command import Terminated, run_command
from workflows.jobs.jobs_client import dashboard_address, find_or_submit, job_called, open_client, understood
from workflows.jobs.jobs_code import job_code
from workflows.jobs.jobs_following import Log, OutOfSight, exit_code, follow, outcome, say, wait_for_end
from workflows.jobs.jobs_request import JobRequest, metadata, require_stage_runs
from workflows.jobs.jobs_secrets import job_environment, require_no_secrets
from workflows.settings.submit_settings import HERE_ONLY, Submission, SubmitConfig, parse, stages


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
    if stage not in stages():
        reason = f", as {HERE_ONLY[stage]}" if stage in HERE_ONLY else ""
        given = f"{stage!r} cannot be submitted{reason}" if stage else "there is no stage to submit"
        raise InputError(
            f"{given}; expected one of {', '.join(stages())}, after the options of submit and before its own"
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
            name, before = find_or_submit(client, request, metadata(command), config.again, 60 * config.patience)
        except KeyboardInterrupt as interrupt:
            say("interrupted while the job was sent; the same command finds it if the cluster has taken it")
            return 128 + (SIGTERM if isinstance(interrupt, Terminated) else SIGINT)
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
                job = follow(client, name, 60 * config.patience, log)
        except Terminated:
            raise
        except KeyboardInterrupt:
            if not _user_stops(name):
                raise
            with understood(client.get_address()):
                client.stop_job(name)
                say(f"job {name} is told to stop")
                job = follow(client, name, 60 * config.patience, log)
    except Terminated:
        return _detached(client, name, 128 + SIGTERM)
    except KeyboardInterrupt:
        return _detached(client, name, 128 + SIGINT)
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


def start(submission: Submission) -> None:
    """Submit, and exit as the job does."""
    quiet_uploads()
    sys.exit(run(submission.config, submission.stage, submission.arguments, submission.command))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and start."""
    start(parse(arguments))


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
