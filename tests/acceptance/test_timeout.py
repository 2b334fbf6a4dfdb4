"""``--timeout``, from the command line to the failure of a genome."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from evolver.store import experiments, facts
from evolver.store.db import Database
from evolver.store.facts import FailureCount
from tests.acceptance.helpers import cli

ROOT = Path(__file__).parents[2]
SEARCH = ("--space", "tiny", "--evaluator", "surrogate", "--population", "4", "--budget", "4")


def test_a_training_that_takes_longer_is_ended_and_fails(tmp_path: Path, sqlite_url: str) -> None:
    command = [sys.executable, "-m", "evolver", "run", "demo", *SEARCH, "--timeout", "0.5"]
    environment = {
        **os.environ,
        "EVOLVER_DATABASE_URL": sqlite_url,
        "EVOLVER_SURROGATE_SECONDS": "600",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "4 timeout" in done.stderr
    database = Database.open(sqlite_url)
    with database.read() as connection:
        status = facts.status(connection, experiments.get(connection, "demo"))
        genomes = facts.genomes(connection, experiments.get(connection, "demo"))
    database.dispose()
    assert (status.state, status.evaluated, status.failed) == ("finished", 4, 4)
    assert status.failures == (FailureCount("timeout", 4, max(one.genome_id for one in genomes)),)


def test_the_time_out_is_a_setting_of_the_experiment(sqlite_url: str) -> None:
    assert cli("new", "demo", *SEARCH, "--timeout", "2.5", url=sqlite_url).exit_code == 0
    database = Database.open(sqlite_url)
    with database.read() as connection:
        assert experiments.get(connection, "demo").settings.timeout_s == 2.5
    database.dispose()
