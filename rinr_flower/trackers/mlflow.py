"""MLflow: a server, or a local store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rinr_flower.trackers.base import Tracker, flat, trackers

JOB = "rinr_flower.job"
"""Tag by which a run that goes on finds the one in MLflow."""
_LONGEST = 500  # characters of a parameter
_AT_ONCE = 100  # parameters of one call


@trackers.register("mlflow")
@dataclass
class MlFlow(Tracker):
    """Parameters, metrics by round, and the report as artefact.

    Attributes
    ----------
    uri : of the tracking server or store; by default MLflow's own (``MLFLOW_TRACKING_URI``).
    experiment : under which the run is filed.
    """

    module = "mlflow"
    uri: str = ""
    experiment: str = "rinr_flower"
    _client: Any = field(default=None, init=False, repr=False)
    _run: str = field(default="", init=False, repr=False)

    def open(self, folder: Path, job: str, settings: Mapping[str, Any]) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(self.uri or None)
        known = self._client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self.experiment)
        found = self._client.search_runs([experiment], filter_string=f"tags.`{JOB}` = '{job}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(experiment, tags={JOB: job}, run_name=folder.name).info.run_id
        from mlflow.entities import Param

        parameters = [Param(key, str(value)[:_LONGEST]) for key, value in flat(settings).items()]
        for start in range(0, len(parameters), _AT_ONCE):
            self._client.log_batch(self._run, params=parameters[start : start + _AT_ONCE])

    def log(self, number: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._run, name, value, step=number)

    def close(self, files: Sequence[Path]) -> None:
        for file in files:
            self._client.log_artifact(self._run, str(file), "report")
        self._client.set_terminated(self._run)
