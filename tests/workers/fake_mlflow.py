"""As much of the package ``mlflow`` as a worker uses: writes what it is told into a file, the URI.

``install`` puts it where processes find it as ``mlflow``. A run of evaluation 13 cannot begin.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace


def install(directory: Path) -> None:
    """Make this the module ``mlflow`` of processes that have ``directory`` on their path."""
    shutil.copy(__file__, directory / "mlflow.py")


@dataclass
class Metric:
    key: str
    value: float
    timestamp: int
    step: int


entities = SimpleNamespace(Metric=Metric)


class MlflowClient:
    def __init__(self, tracking_uri: str) -> None:
        self._told = Path(tracking_uri).open("a", buffering=1)  # noqa: SIM115

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(experiment_id=name)

    def search_runs(self, experiment_ids: list[str], filter_string: str, max_results: int) -> list[object]:
        if "'13'" in filter_string:
            raise OSError("unlucky")
        return []

    def create_run(self, experiment_id: str, run_name: str, tags: dict[str, str]) -> SimpleNamespace:
        print(run_name, file=self._told)
        return SimpleNamespace(info=SimpleNamespace(run_id=run_name))

    def log_batch(self, run_id: str, metrics: list[Metric], synchronous: bool) -> None:
        print("epoch" if "train/loss" in [metric.key for metric in metrics] else "final", file=self._told)

    def set_terminated(self, run_id: str, status: str) -> None:
        print(status, file=self._told)
