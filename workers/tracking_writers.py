"""The writers of ``workers.tracking``: each to one kind of destination, with its package's own client.

Both packages are optional, and imported when a writer is made. An attempt that takes up an evaluation
goes on in its run.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from workers.tracking import Ended, Run


class TensorBoard:
    """Event files below a directory, a folder for each run: ``DIR/experiment/genome/evaluation``."""

    def __init__(self, directory: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make = SummaryWriter
        self._directory = directory
        self._writer: Any = None

    def begin(self, run: Run) -> None:
        # No dots, so that no name of an experiment leads out of the directory.
        folders = [re.sub(r"[^\w-]", "_", part) for part in (run.experiment, run.genome, run.evaluation)]
        self._writer = self._make(os.path.join(self._directory, *folders))
        rows = "\n".join(f"| {name} | {value} |" for name, value in run.tags.items())
        self._writer.add_text("evaluation", f"| | |\n|---|---|\n{rows}")
        self._writer.flush()

    def write(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # curves are live

    def end(self, how: Ended) -> None:
        self._writer.add_text("ended", how)
        self._writer.close()


class MLflow:
    """Runs on an MLflow server, or in its files or database; an MLflow experiment for each of evolver's."""

    def __init__(self, uri: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody here has agreed to it
        import mlflow

        self._entities = mlflow.entities
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._run_id = ""

    def begin(self, run: Run) -> None:
        experiment_id = self._experiment_id(run.experiment)
        unfinished = self._client.search_runs(
            [experiment_id],
            f"tags.evaluation = '{run.evaluation}' and tags.code_sha256 = '{run.tags['code_sha256']}' "
            "and attributes.status != 'FINISHED'",
            max_results=1,
        )
        if unfinished:
            self._run_id = unfinished[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            made = self._client.create_run(experiment_id, run_name=run.name, tags=dict(run.tags))
            self._run_id = made.info.run_id

    def write(self, values: Mapping[str, float], step: int) -> None:
        now_ms = int(time.time() * 1000)
        metrics = [
            # MLflow takes no other characters; latency_ms:64 becomes latency_ms_64.
            self._entities.Metric(re.sub(r"[^\w/. -]", "_", name), value, now_ms, step)
            for name, value in values.items()
        ]
        self._client.log_batch(self._run_id, metrics=metrics, synchronous=True)

    def end(self, how: Ended) -> None:
        self._client.set_terminated(self._run_id, status=how.upper())

    def _experiment_id(self, name: str) -> str:
        """Of the MLflow experiment, which is made unless another process has made it."""
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)
