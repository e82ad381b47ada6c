"""What is submitted as a job: a stage's command line, checked here, under an id that the same command has again."""

import importlib
import json
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails

from isoenergy.errors import InputError
from workflows.evaluation.task_config import TasksConfig
from workflows.jobs.jobs_code import JobCode
from workflows.tracking.code_version import git_commit

_PLACES = ("store", "texts", "saes", "pairs", "images", "evaluation", "output")
_DIGITS = 8
_SECONDS_TO_END = 30
"""How long a job that is told to stop has before it is killed: MLflow is to hear of it. Ray's own is 3."""


@dataclass(frozen=True)
class JobRequest:
    """A stage as a job."""

    stage: str
    arguments: tuple[str, ...]
    code: JobCode
    environment: Mapping[str, str]
    driver_cpus: float

    @property
    def entrypoint(self) -> str:
        """The shell command that the cluster runs."""
        return shlex.join(["python", "-m", f"workflows.{self.stage}", *self.arguments])

    @property
    def command_id(self) -> str:
        """What the ids of all jobs with this command begin with, whatever their code."""
        return f"isoenergy-{self.stage}-{sha256(json.dumps(self.arguments).encode()).hexdigest()[:_DIGITS]}-"

    @property
    def id(self) -> str:
        """The id of the first attempt; that of the second ends in -2, and so on."""
        return f"{self.command_id}{self.code.digest[:_DIGITS]}"

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment."""
        environment = {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(_SECONDS_TO_END), **self.environment}}
        return environment if self.code.folder is None else {"working_dir": str(self.code.folder), **environment}

    def attempt_id(self, number: int) -> str:
        """Return the id of an attempt, counted from 1."""
        return self.id if number == 1 else f"{self.id}-{number}"

    def attempts(self, ids: Collection[str]) -> int:
        """Return how many attempts there are among the cluster's jobs."""
        number = 0
        while self.attempt_id(number + 1) in ids:
            number += 1
        return number

    def with_other_code(self, jobs: Mapping[str, JobDetails]) -> list[str]:
        """Return the jobs that run the same command at this moment with other code."""
        own = re.compile(re.escape(self.id) + r"(-\d+)?")
        return [
            name
            for name, job in jobs.items()
            if name.startswith(self.command_id) and not own.fullmatch(name) and not job.status.is_terminal()
        ]


def metadata(command: Sequence[str]) -> dict[str, str]:
    """Return what the dashboard shows beside a job: what was typed, and the commit of the code."""
    return {"command": shlex.join(["isoenergy", "submit", *command]), "git_commit": git_commit() or "unknown"}


def require_stage_runs(stage: str, arguments: Sequence[str]) -> None:
    """Raise what the stage itself would raise for this command line, before it waits in a cluster's queue.

    Raises SystemExit for an option that the stage does not have, InputError for a value that it does not take or for a
    place that is not there once the job has ended.
    """
    config = stage_config(stage, arguments)
    places = {name: vars(config).get(name) for name in _PLACES}
    tasks = vars(config).get("tasks")
    places |= tasks.places if isinstance(tasks, TasksConfig) else {}
    for name, values in places.items():
        for value in values if isinstance(values, tuple) else (values,):
            if isinstance(value, str | Path) and _is_relative(str(value)):
                raise InputError(
                    f"{name} is {str(value)!r}, below the working directory, which for a job is a copy that goes with "
                    f"the job; give a URL such as s3://BUCKET/FOLDER, or an absolute path that all nodes see"
                )


def stage_config(stage: str, arguments: Sequence[str]) -> Any:
    """Return the config that a stage's own command line parses to."""
    return importlib.import_module(f"workflows.settings.{stage}_settings").parse(list(arguments))


def _is_relative(path: str) -> bool:
    return bool(path) and not os.path.isabs(path) and not re.match(r"[A-Za-z][\w+.-]*:", path)
