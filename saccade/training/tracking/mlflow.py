"""Runs in MLflow: on the server, or in the file or database, of MLFLOW_TRACKING_URI."""

import time
from collections.abc import Mapping
from typing import ClassVar

from saccade.training.tracking.tracker import TrackedRun

LONGEST = 500  # characters of a parameter: the least that MLflow's stores take


class MLflowTracker:
    package: ClassVar[str] = "mlflow"

    def __init__(self, run: TrackedRun):
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise ModuleNotFoundError("mlflow") from error
        self.client, self.metric = MlflowClient(), Metric
        self.errors: tuple[type[Exception], ...] = (MlflowException, OSError)
        if run.identity:
            self.identity = run.identity
            self.client.update_run(run.identity, status="RUNNING")
            return
        experiment = self.client.get_experiment_by_name(run.project)
        number = self.client.create_experiment(run.project) if experiment is None else experiment.experiment_id
        self.identity = self.client.create_run(number, run_name=run.name).info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in run.config.items()]
        for start in range(0, len(params), 100):  # the most that one call takes
            self.client.log_batch(self.identity, params=params[start : start + 100])

    def log(self, values: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        self.client.log_batch(self.identity, [self.metric(name, value, now, step) for name, value in values.items()])

    def describe(self, texts: Mapping[str, str]) -> None:
        for name, text in texts.items():
            self.client.set_tag(self.identity, name, text)

    def close(self, *, finished: bool) -> None:
        self.client.set_terminated(self.identity, "FINISHED" if finished else "KILLED")
