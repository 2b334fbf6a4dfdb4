"""``evolver run --track``: what its workers write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import make_url

from tests.workers import fake_mlflow

ROOT = Path(__file__).parents[2]


def run(told: Path, url: str) -> None:
    """A search of five genomes, tracked by a fake of MLflow to this file."""
    directory = Path(make_url(url).database or "").parent
    fake_mlflow.install(directory)
    command = [
        sys.executable,
        "-m",
        "evolver",
        "run",
        "shirts",
        "--space",
        "tiny",
        "--evaluator",
        "surrogate",
    ]
    command += ["--population", "4", "--budget", "5", "--epochs", "2", "--track", f"mlflow:{told}"]
    environment = {**os.environ, "EVOLVER_DATABASE_URL": url, "PYTHONPATH": f"{directory}:{ROOT}"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_every_evaluation_of_a_search_is_a_run(tmp_path: Path, sqlite_url: str) -> None:
    told = tmp_path / "told"
    run(told, sqlite_url)
    lines = told.read_text().splitlines()
    assert [line for line in lines if "/" in line] == [f"shirts/{n}/{n}" for n in range(1, 6)]
    assert lines.count("epoch") == 10
    assert lines.count("FINISHED") == lines.count("final") == 5


def test_a_search_goes_on_where_tracking_fails_and_its_worker_says_so_once(
    tmp_path: Path, sqlite_url: str
) -> None:
    run(tmp_path / "missing" / "told", sqlite_url)
    (log,) = tmp_path.glob("*.logs/shirts-1.log")
    lines = [line for line in log.read_text().splitlines() if "no more tracking to mlflow" in line]
    assert len(lines) == 1
    assert "FileNotFoundError" in lines[0]
