"""MLflow: one run a pipeline, a child run a stage, each with its true final status."""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from isoenergy.errors import InputError
from isoenergy.storage.files import without_secrets
from workflows.cluster.ray_internals import job_metadata
from workflows.tracking import heartbeat
from workflows.tracking.code_version import DIRTY, git_commit
from workflows.tracking.outbox import Message, Outbox
from workflows.tracking.run_names import store_name
from workflows.tracking.tracking_client import (
    EXPERIMENT,
    allowed_name,
    allowed_tags,
    cannot_be_used,
    client,
    experiment_id,
    flat_parameters,
    tracking_uri,
)

__all__ = ["EXPERIMENT", "Run", "is_unfinished", "require_server", "send_if_it_answers", "stage", "tracking_uri"]

_BATCH = 1000
_PATIENCE = 60.0
_LONGEST_DIGEST = 36


@dataclass(frozen=True)
class Run:
    """A reference to an MLflow run; it may be sent to a Ray worker."""

    uri: str
    experiment: str
    id: str
    ended: int | None = None
    """When it had FINISHED before it was gone on with, in milliseconds since 1970."""
    is_kept: bool = False
    """Whether it stays as it FINISHED: nothing was left to do."""

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step."""
        self.metric_history([(step, values)])

    def metric_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log numbers at many steps, in batches."""
        now = int(time.time() * 1000)
        self.points([(name, float(value), now, step) for step, values in history for name, value in values.items()])

    def points(self, points: Sequence[tuple[str, float, int, int]]) -> None:
        """Log `(name, value, milliseconds since 1970, step)`, in batches; MLflow keeps one of points that are equal."""
        from mlflow.entities import Metric

        if self.is_kept:
            return
        metrics = [Metric(allowed_name(name), value, moment, step) for name, value, moment, step in points]
        for start in range(0, len(metrics), _BATCH):
            client(self.uri).log_batch(self.id, metrics=metrics[start : start + _BATCH])

    def last_step(self, metric: str) -> int:
        """Return the last step at which a metric was logged; -1 if it never was, or the server does not answer."""
        try:
            history = client(self.uri).get_metric_history(self.id, allowed_name(metric))
        except Exception:  # as in `_begin`
            return -1
        return max((point.step for point in history), default=-1)

    def parameters(self, values: Mapping[str, str]) -> None:
        """Log what `flat_parameters` made."""
        from mlflow.entities import Param

        client(self.uri).log_batch(self.id, params=[Param(name, value) for name, value in values.items()])

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        tags = [RunTag(name, value) for name, value in allowed_tags(values).items()]
        client(self.uri).log_batch(self.id, tags=tags)

    def describe(self, text: str, picture: str = "") -> None:
        """Set what is read above the run's numbers, in Markdown.

        picture: an artifact of the run to show below; its page asks its server for it, as it drops pictures in text.
        """
        query = urlencode({"path": picture, "run_uuid": self.id})
        shown = f"\n\n![{picture}](get-artifact?{query})" if picture else ""
        self.tags({"mlflow.note.content": text + shown})

    def dataset(self, store_uri: str, fingerprint: str, context: str, source: str = "") -> None:
        """Say which store the run reads or makes; saying it again changes nothing.

        fingerprint: the store's; MLflow's digest is as much of it as MLflow takes, and the dataset's profile has it in
        full. context: what the store is to the run, such as `training` or `output`. source: what the store was made of,
        by which one is called that has no name of its own.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag

        uri = without_secrets(store_uri)
        scheme, separator, _ = uri.partition("://")
        data = Dataset(
            name=store_name(uri, source),
            digest=fingerprint[:_LONGEST_DIGEST],
            source_type=scheme if separator and scheme != "file" else "local",
            source=json.dumps({"uri": uri}),
            profile=json.dumps({"fingerprint": fingerprint}),
        )
        used = DatasetInput(data, tags=[InputTag("mlflow.data.context", context)])
        client(self.uri).log_inputs(self.id, datasets=[used])

    def artifact(self, file: Path, folder: str | None = None) -> None:
        """Upload a file."""
        client(self.uri).log_artifact(self.id, str(file), folder)

    def artifact_of(self, name: str, data: bytes) -> None:
        """Upload bytes as a file of that name."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, name)
            file.write_bytes(data)
            self.artifact(file)

    def table(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Log a table, which MLflow's page shows some rows at a time, in the place of the one of that name.

        It is what `mlflow.log_table` makes, which appends to a table that is there: a run that goes on would have each
        row twice.
        """
        rows = list(zip(*columns.values(), strict=True))
        self.artifact_of(name, json.dumps({"columns": list(columns), "data": rows}, allow_nan=False).encode())
        self.tags({"mlflow.loggedArtifacts": json.dumps([{"path": name, "type": "table"}])})


@contextmanager
def stage(
    name: str, config: Any, output: str, parent: Run | None = None, run_name: str = "", is_done: bool = False
) -> Iterator[Run]:
    """Open the run of a stage, below `parent` if given, and end it FINISHED, FAILED or KILLED as the body ends.

    config: a dataclass, logged as parameters; those that its class names in `HOW_IT_IS_RUN` (workers, memory) are of
    how the stage is run, not of what the run is, and those that its property `without_effect` names are left out.
    run_name: the run's name in MLflow, if it is not the stage's. is_done: all that the stage makes is there already.
    The last run of the same stage, config and output is continued rather than another started, unless it was finished
    by other code. One that had FINISHED keeps its end, and if all `is_done` its status and numbers too. Runs whose
    process is gone become KILLED.
    """
    run = _begin(name, config, output, parent, run_name or name, is_done)
    if run.is_kept:
        yield run
        return
    with heartbeat.beating(run.uri, run.id):
        try:
            yield run
        except Exception:
            send_if_it_answers(run, "that this run FAILED", partial(_end, run, "FAILED"), patience=0)
            raise
        except BaseException:
            send_if_it_answers(run, "that this run was KILLED", partial(_end, run, "KILLED"), patience=0)
            raise
    send_if_it_answers(run, "that this run FINISHED", partial(_end, run, "FINISHED"))


def send_if_it_answers(run: Run, what: str, send: Callable[[], None], patience: float = _PATIENCE) -> bool:
    """Tell MLflow something that what was done does not hang on; return whether it took it.

    It is tried for `patience` seconds; then a line says what MLflow lacks.
    """
    outbox = Outbox(run.uri, run.experiment, what)
    outbox.put(Message(what, frozenset([run.id]), send))
    return outbox.close(patience) == 0


def require_server() -> None:
    """Raise InputError if the tracking server does not answer now, before work is done that it is to be told of."""
    uri = tracking_uri()
    try:
        experiment_id(uri)
    except Exception as error:  # as in `_begin`
        raise cannot_be_used(uri, error) from error


def is_unfinished(run_id: str) -> bool:
    """Return whether MLflow has a run that is not FINISHED; not if it does not know it, or does not answer."""
    try:
        return bool(client(tracking_uri()).get_run(run_id).info.status != "FINISHED")
    except Exception:  # as in `_begin`
        return False


def source_tags(program: str) -> dict[str, str]:
    """Return MLflow's own tags for what made a run.

    program: what was run, as people see it beside the run.
    """
    tags = {"mlflow.source.name": Path(program).name, "mlflow.source.type": "LOCAL"}
    if job_metadata() is not None:
        tags["mlflow.source.type"] = "JOB"
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit.removesuffix(DIRTY)
        tags["mlflow.source.git.dirty"] = str(commit.endswith(DIRTY)).lower()
    return tags


def _end(run: Run, status: str) -> None:
    client(run.uri).set_terminated(run.id, status, run.ended if status == "FINISHED" else None)


def _begin(name: str, config: Any, output: str, parent: Run | None, run_name: str, is_done: bool) -> Run:
    uri = parent.uri if parent else tracking_uri()
    unused = getattr(config, "without_effect", ())
    parameters = flat_parameters({name: value for name, value in _plain(config).items() if name not in unused})
    how = {name: value for name, value in parameters.items() if name.partition(".")[0] in _how_it_is_run(config)}
    what = {name: value for name, value in parameters.items() if name not in how}
    chosen = {name: value for name, value in what.items() if value != _defaults(config).get(name)}
    identity = hashlib.sha256(json.dumps([name, output, what], sort_keys=True).encode()).hexdigest()
    tags = {"isoenergy_identity": identity, "isoenergy_output": without_secrets(output), "mlflow.runName": run_name}
    tags |= {"isoenergy_how": json.dumps(how), **heartbeat.tags(), **source_tags(sys.argv[0])}
    if parent:
        tags["mlflow.parentRunId"] = parent.id
    try:
        experiment = parent.experiment if parent else experiment_id(uri)
        before = client(uri).search_runs([experiment], f"tags.isoenergy_identity = '{identity}'", max_results=1)
        if before and _is_continued(before[0], tags):
            run = _gone_on_with(Run(uri, experiment, before[0].info.run_id), before[0].info, is_done)
            if not run.is_kept:
                client(uri).update_run(run.id, status="RUNNING")
                run.tags(tags)
        else:
            before = []
            run = Run(uri, experiment, client(uri).create_run(experiment, tags=tags).info.run_id)
        # Again, as the last life may have ended before it came to them; MLflow lets no parameter change.
        there = before[0].data.params if before else {}
        in_order = chosen | what | how  # MLflow's page lists them as they come
        run.parameters({name: value for name, value in in_order.items() if name not in there})
        if parent is None:
            heartbeat.end_lost_runs(uri, experiment, but=run.id)
    except Exception as error:  # MLflow and SQLAlchemy raise many kinds for a server or file that cannot be used
        if isinstance(error, InputError):
            raise
        raise cannot_be_used(uri, error) from error
    return run


def _gone_on_with(run: Run, before: Any, is_done: bool) -> Run:
    if before.status != "FINISHED":
        return run
    return replace(run, ended=before.end_time, is_kept=is_done)


def _plain(config: Any) -> Any:
    return asdict(config) if is_dataclass(config) and not isinstance(config, type) else config


def _defaults(config: Any) -> dict[str, str]:
    """Return the parameters that a config has if nothing is chosen, as far as there are such."""
    if not is_dataclass(config):
        return {}
    made = {item.name: item.default_factory() for item in fields(config) if item.default_factory is not MISSING}
    given = {item.name: item.default for item in fields(config) if item.default is not MISSING}
    return flat_parameters({name: _plain(value) for name, value in (given | made).items()})


def _how_it_is_run(config: Any) -> tuple[str, ...]:
    return getattr(type(config), "HOW_IT_IS_RUN", ())


def _is_continued(before: Any, tags: Mapping[str, str]) -> bool:
    """Return whether a run of the same settings goes on: one that is not finished, or that the same code has finished.

    The last run is looked at; MLflow lists it first.
    """
    code = ("mlflow.source.git.commit", "mlflow.source.git.dirty")
    same_code = all(before.data.tags.get(name) == tags.get(name) for name in code)
    return before.info.status != "FINISHED" or same_code
