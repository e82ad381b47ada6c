"""The MLflow runs of a search's candidates. What is done twice here has been done once."""

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from isoenergy.errors import InputError
from workflows.tracking.logged_model import delete_if_there, log_model, logged_models
from workflows.tracking.mlflow_runs import Run, source_tags
from workflows.tracking.tracking_client import allowed_name, allowed_tags, client, flat_parameters

Point = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step."""


class CandidateRuns:
    """Finds, makes and fills them. Every method raises what MLflow raises if the server is not there."""

    def __init__(
        self, parent: Run, search: str, store_uri: str, store_fingerprint: str, store_source: str = ""
    ) -> None:
        self._parent, self._search = parent, search
        self._store_uri, self._fingerprint, self._store_source = store_uri, store_fingerprint, store_source
        self._source: dict[str, str] = {}
        self._known: dict[str, Run] = {}
        self._made: set[str] = set()
        self._held: dict[str, dict[str, set[int]]] = {}

    def begin(self, candidate: str, parameters: Mapping[str, object], tags: Mapping[str, str]) -> None:
        """Make the run, or take up the one that is there; set it RUNNING."""
        self._source = self._source or source_tags(sys.argv[0])
        own = {
            **tags,
            **self._source,
            "isoenergy_identity": self._identity(candidate),
            "isoenergy_search": self._search,
            "store_fingerprint": self._fingerprint,
            "mlflow.runName": candidate,
            "mlflow.parentRunId": self._parent.id,
        }
        self._known.pop(candidate, None)
        self._forget(candidate)
        found = self._find(candidate)
        if found is None:
            self._client.create_run(self._parent.experiment, tags=allowed_tags(own))
            # Looked for rather than taken: MLflow's client may have asked twice, as an answer was lost.
            found = self._find(candidate)
            assert found is not None
            self._made.add(candidate)
        else:
            self._client.update_run(found.id, status="RUNNING")
            found.tags(own)
        there = self._client.get_run(found.id).data.params
        found.parameters({name: value for name, value in flat_parameters(parameters).items() if name not in there})
        found.dataset(self._store_uri, self._fingerprint, "training", self._store_source)
        self._known[candidate] = found

    def metrics(self, candidate: str, points: list[Point]) -> None:
        """Log the points that the run does not hold."""
        run = self._run(candidate)
        new: dict[tuple[str, int], Point] = {}
        for name, value, moment, step in points:
            if step not in self._steps(run, candidate, name):
                new.setdefault((allowed_name(name), step), (name, value, moment, step))
        run.points(list(new.values()))
        for name, step in new:
            self._held[candidate][name].add(step)

    def end(self, candidate: str, status: str, tags: Mapping[str, str]) -> None:
        """Set tags and the final status."""
        run = self._run(candidate)
        run.tags(tags)
        self._client.set_terminated(run.id, status)
        self._forget(candidate)

    def model(self, candidate: str, uri: str) -> None:
        """Log an autoencoder as the run's model."""
        log_model(self._run(candidate), uri)

    def register(self, candidate: str, name: str, alias: str) -> None:
        """Register the run's model, unless it is, and give its version the alias."""
        run = self._run(candidate)
        models = logged_models(run)
        if not models:
            raise InputError(f"{candidate} has no logged model to register; end it with its model first")
        model = models[-1]
        try:
            self._client.create_registered_model(name)
        except Exception as error:
            if getattr(error, "error_code", None) != "RESOURCE_ALREADY_EXISTS":
                raise
        if (version := self._version(name, run, model.artifact_location)) is None:
            self._client.create_model_version(
                name, model.artifact_location, run.id, model_id=model.model_id, await_creation_for=0
            )
            version = self._version(name, run, model.artifact_location)
        self._client.set_registered_model_alias(name, alias, version)

    @property
    def _client(self) -> Any:
        return client(self._parent.uri)

    def _version(self, name: str, run: Run, source: str) -> str | None:
        """Return the version that the run's model has; of several, made by requests whose answers were lost, one."""
        found = self._client.search_model_versions(f"run_id = '{run.id}'")
        same = (version for version in found if (version.name, version.source) == (name, source))
        versions = sorted((version.version for version in same), key=int)
        for surplus in versions[1:]:
            delete_if_there(self._client.delete_model_version, name, surplus)
        return versions[0] if versions else None

    def _identity(self, candidate: str) -> str:
        return hashlib.sha256(json.dumps(["candidate", self._search, candidate]).encode()).hexdigest()

    def _find(self, candidate: str) -> Run | None:
        """Return the candidate's run; of several, made by requests whose answers were lost, the first."""
        found = self._client.search_runs(
            [self._parent.experiment],
            f"tags.isoenergy_identity = '{self._identity(candidate)}'",
            order_by=["attributes.start_time ASC"],
        )
        for surplus in found[1:]:
            delete_if_there(self._client.delete_run, surplus.info.run_id)
        return Run(self._parent.uri, self._parent.experiment, found[0].info.run_id) if found else None

    def _run(self, candidate: str) -> Run:
        if candidate not in self._known:
            found = self._find(candidate)
            if found is None:
                raise InputError(f"{candidate} has no run in MLflow; `begin` comes first")
            self._known[candidate] = found
        return self._known[candidate]

    def _forget(self, candidate: str) -> None:
        self._made.discard(candidate)
        self._held.pop(candidate, None)

    def _steps(self, run: Run, candidate: str, name: str) -> set[int]:
        """Return the steps at which the run holds a metric; a run that was made here holds what was sent from here."""
        steps = self._held.setdefault(candidate, {})
        name = allowed_name(name)
        if name not in steps:
            history = [] if candidate in self._made else self._client.get_metric_history(run.id, name)
            steps[name] = {point.step for point in history}
        return steps[name]
