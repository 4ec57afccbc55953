"""MLflow: a run in the tracking server, or in a file of the output directory."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import MissingExtra
from ..core.text import printable
from .base import Tracker

_UNKNOWN = re.compile(r"[^\w\-. :/]", re.ASCII)
"""What MLflow takes in no name."""


@dataclass
class MLflow(Tracker):
    """A run for each start of the job.

    Args:
        uri: of the tracking server; by default the environment's ``MLFLOW_TRACKING_URI``, or files in ``OUT/mlruns``.
        experiment: that runs belong to.
    """

    uri: str = ""
    experiment: str = "netwright"

    def start(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        # MLflow warns of its file store, which needs no database.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise MissingExtra("mlflow-skinny", "mlflow", "track: mlflow") from None
        own = (folder / "mlruns").absolute().as_uri()
        self._client: Any = MlflowClient(self.uri or os.environ.get("MLFLOW_TRACKING_URI") or own)
        found = self._client.get_experiment_by_name(self.experiment)
        id_ = found.experiment_id if found else self._client.create_experiment(self.experiment)
        self._run: str = self._client.create_run(id_, run_name=name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._run, key, printable(value)[:500])

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._client.log_metric(self._run, _UNKNOWN.sub("_", key), value, step=step)

    def finish(self) -> None:
        self._client.set_terminated(self._run)
