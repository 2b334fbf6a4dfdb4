"""The Slurm script under ``deploy/``, run for real: stubs stand in for ``srun`` and ``scontrol`` only."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select

from evolver.store.db import VARIABLE, Database
from evolver.store.schema import attempt, worker
from tests import factories
from tests.acceptance.processes import wait_until

ROOT = Path(__file__).parents[2]
SBATCH = ROOT / "deploy" / "slurm" / "worker.sbatch"


@dataclass
class Cluster:
    """A database with a search under way, and programs in place of Slurm's."""

    database: Database
    url: str
    directory: Path
    jobs: list[subprocess.Popen[str]] = field(default_factory=list)

    def submit(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the script as one task of an array."""
        environment = {
            **os.environ,
            VARIABLE: self.url,
            "PATH": f"{self.directory}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "EVOLVER_SURROGATE_SECONDS": "30",
            "OMP_NUM_THREADS": "1",
            "SLURM_JOB_ID": "78",
            "SLURM_ARRAY_JOB_ID": "77",
            "SLURM_ARRAY_TASK_ID": "1",
        }
        job = subprocess.Popen(
            ["bash", SBATCH, "--device", "cpu", *arguments],
            cwd=self.directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.jobs.append(job)
        return job

    def requeued(self) -> str:
        """What scontrol was told."""
        log = self.directory / "scontrol.log"
        return log.read_text() if log.exists() else ""

    def has_a_worker(self) -> bool:
        with self.database.read() as connection:
            return connection.execute(select(worker.c.id)).first() is not None

    def outcomes(self) -> list[str]:
        with self.database.read() as connection:
            return list(connection.execute(select(attempt.c.outcome)).scalars())


@pytest.fixture
def cluster(sqlite_url: str, tmp_path: Path) -> Iterator[Cluster]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    programs = {
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
        "scontrol": f'echo "$@" >> {directory}/scontrol.log',
        "evolver": f'exec {shlex.quote(sys.executable)} -m evolver "$@"',
    }
    for name, body in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{body}\n")
        (directory / name).chmod(0o755)
    database = Database.open(sqlite_url)
    running = Cluster(database, sqlite_url, directory)
    yield running
    for job in running.jobs:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    database.dispose()


def end_of(job: subprocess.Popen[str]) -> str:
    """What the job has printed at its end."""
    return job.communicate(timeout=45)[0]


def test_a_slurm_task_hands_its_work_back_and_is_requeued(cluster: Cluster) -> None:
    factories.running(cluster.database)
    job = cluster.submit()
    wait_until(lambda: cluster.outcomes() == ["running"], what="a claim")
    job.send_signal(signal.SIGTERM)
    printed = end_of(job)
    assert job.returncode == 0, printed
    assert cluster.outcomes() == ["released"]
    assert cluster.requeued() == "requeue 77_1\n"


def test_a_slurm_task_that_cannot_be_requeued_says_so(cluster: Cluster) -> None:
    factories.running(cluster.database)
    (cluster.directory / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    job = cluster.submit()
    wait_until(lambda: cluster.outcomes() == ["running"], what="a claim")
    job.send_signal(signal.SIGTERM)
    printed = end_of(job)
    assert job.returncode == 0, printed
    assert "could not be requeued" in printed


def test_a_slurm_task_without_work_left_is_not_requeued(cluster: Cluster) -> None:
    factories.created(cluster.database)
    job = cluster.submit()
    wait_until(cluster.has_a_worker, what="a worker")
    job.send_signal(signal.SIGTERM)
    printed = end_of(job)
    assert job.returncode == 0, printed
    assert cluster.requeued() == ""


def test_a_slurm_task_ends_as_its_worker_does(cluster: Cluster) -> None:
    factories.running(cluster.database)
    job = cluster.submit("--device", "nonsense")
    printed = end_of(job)
    assert job.returncode == 2, printed
    assert "nonsense" in printed
    assert cluster.requeued() == ""
