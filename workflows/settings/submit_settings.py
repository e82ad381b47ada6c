"""What `isoenergy submit` is asked for: its own options, the stage, and the stage's command line."""

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from isoenergy.errors import InputError
from workflows.arguments import parse_options
from workflows.cli import STAGES
from workflows.command import VERBOSITY, take_verbosity

HERE_ONLY = {
    "submit": "it submits the others",
    "share": "it needs the token of a person",
    "explore": "it is a page to look at",
}


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
    patience: float = 10.0
    """Minutes to try again for: while the dashboard does not answer as a job is followed, or a cluster that was just
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


def stages() -> list[str]:
    """Return the stages that can be submitted."""
    return [name for name in STAGES if name not in HERE_ONLY]


@dataclass(frozen=True)
class Submission:
    """A command line of `isoenergy submit`, taken apart."""

    config: SubmitConfig
    stage: str
    """"" if there is none."""
    arguments: Sequence[str]
    """The stage's own, untouched."""
    command: Sequence[str]
    """The whole command line after `isoenergy submit`."""


def parse(arguments: Sequence[str] | None) -> Submission:
    """Return what a command line asks for."""
    command = list(arguments or [])
    own, stage, rest = split(command)
    about = f"{inspect.getdoc(SubmitConfig)}\n\nstages: {', '.join(stages())}\n\n{VERBOSITY}"
    prog = "isoenergy submit [OPTIONS] STAGE [ITS OPTIONS]"
    config = parse_options(SubmitConfig, None, take_verbosity(own), prog, about)
    return Submission(config, stage, rest, command)
