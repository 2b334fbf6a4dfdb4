"""``evolver run`` and its kin with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolver.replay import replay
from evolver.store import experiments, facts, fleet
from evolver.store.db import Database
from evolver.store.facts import Status
from tests.acceptance.helpers import cli, facts_of, search

ROOT = Path(__file__).parents[2]
OPTIONS = ["--space", "tiny", "--evaluator", "surrogate", "--population", "4"]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    database = Database.open(sqlite_url)
    yield database
    database.dispose()


def _start(database: Database, *arguments: object, evaluation_s: str = "0") -> subprocess.Popen[str]:
    url = database.url.render_as_string(hide_password=False)
    environment = {
        **os.environ,
        "EVOLVER_DATABASE_URL": url,
        "EVOLVER_SURROGATE_SECONDS": evaluation_s,
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "evolver", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def _status(database: Database, name: str = "demo") -> Status | None:
    with database.read() as connection:
        found = experiments.find(connection, name)
        return facts.status(connection, found) if found else None


def _wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def _has_evaluated(database: Database, number: int) -> bool:
    status = _status(database)
    return status is not None and status.evaluated >= number and status.running > 0


def test_a_search_from_start_to_end_and_its_front_in_full(database: Database) -> None:
    process = _start(database, "run", "demo", *OPTIONS, "--budget", 12, "--workers", 2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Front of 'demo'" in output
    assert "evolver plot demo" in output
    status = _status(database)
    assert status is not None
    assert (status.state, status.evaluated, status.workers) == ("finished", 12, 0)
    assert replay(database, "demo").is_clean

    process = _start(database, "retrain", "demo", "--epochs", 2)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "test accuracy" in output
    url = database.url.render_as_string(hide_password=False)
    (row, *_) = facts_of("retrain", "demo", "--epochs", 2, "--workers", 0, url=url)
    assert row["state"] == "done"
    assert row["test_error"] == pytest.approx(row["search_error"])
    assert "is finished" in cli("run", "demo", url=url).stdout


def test_ctrl_c_stops_in_good_order_and_the_same_command_goes_on(sqlite: Database) -> None:
    command = ["run", "demo", *OPTIONS, "--budget", 16, "--workers", 2]
    process = _start(sqlite, *command, evaluation_s="0.3")
    _wait_for(lambda: _has_evaluated(sqlite, 3))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "go on:  evolver run demo" in output
    status = _status(sqlite)
    assert status is not None
    assert (status.state, status.running, status.workers, status.leader) == ("running", 0, 0, None)

    process = _start(sqlite, *command, "--json")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    result = json.loads(output[output.index("{") :])
    assert result["status"]["evaluated"] == 16
    assert result["front"]
    assert replay(sqlite, "demo").is_clean


def test_workers_do_not_outlive_a_run_that_was_killed(sqlite: Database) -> None:
    process = _start(sqlite, "run", "demo", *OPTIONS, "--budget", 40, "--workers", 1, evaluation_s="0.5")
    _wait_for(lambda: _has_evaluated(sqlite, 1))
    process.kill()
    process.communicate()

    def all_is_handed_back() -> bool:
        status = _status(sqlite)
        return status is not None and (status.workers, status.running) == (0, 0)

    _wait_for(all_is_handed_back)


def test_a_worker_that_was_killed_is_replaced(sqlite: Database) -> None:
    process = _start(sqlite, "run", "demo", *OPTIONS, "--budget", 12, "--workers", 1, evaluation_s="0.1")
    _wait_for(lambda: _has_evaluated(sqlite, 1))
    with sqlite.read() as connection:
        (worker,) = fleet.live(connection)
    os.kill(worker.pid, signal.SIGKILL)
    _wait_for(lambda: len(_live(sqlite)) == 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "a worker ended with status -9" in output


def test_a_run_whose_workers_were_all_asked_to_leave_ends_in_good_order(sqlite: Database) -> None:
    command = ["run", "demo", *OPTIONS, "--budget", 400, "--workers", 2]
    process = _start(sqlite, *command, evaluation_s="0.2")
    _wait_for(lambda: _has_evaluated(sqlite, 2) and len(_live(sqlite)) == 2)
    first, second = _live(sqlite)
    os.kill(first.pid, signal.SIGTERM)
    url = sqlite.url.render_as_string(hide_password=False)
    assert cli("drain", second.id, url=url).exit_code == 0
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.count("a worker was asked to leave") == 2
    assert "no local worker is left" in output
    assert "go on:  evolver run demo" in output
    status = _status(sqlite)
    assert status is not None
    assert (status.state, status.running, status.workers, status.leader) == ("running", 0, 0, None)


def _live(database: Database) -> list[fleet.WorkerFact]:
    with database.read() as connection:
        return fleet.live(connection)


def test_a_run_ends_when_the_search_is_stopped_elsewhere(sqlite: Database) -> None:
    process = _start(sqlite, "run", "demo", *OPTIONS, "--budget", 10, evaluation_s="0.5")
    _wait_for(lambda: _has_evaluated(sqlite, 1))
    url = sqlite.url.render_as_string(hide_password=False)
    assert cli("stop", "demo", url=url).exit_code == 0
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output

    process = _start(sqlite, "run", "demo", "--workers", 2)
    output, _ = process.communicate(timeout=60)
    assert "going on with 'demo', was stopped" in output
    status = _status(sqlite)
    assert status is not None
    assert status.evaluated == 10


def test_a_device_that_is_not_there_ends_the_run_with_its_reason(sqlite: Database) -> None:
    process = _start(sqlite, "run", "demo", *OPTIONS, "--device", "cuda:99")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "cuda:99" in output
    assert "Traceback" not in output


def test_a_scheduler_stops_in_good_order(sqlite: Database) -> None:
    url = sqlite.url.render_as_string(hide_password=False)
    assert cli("new", "demo", *OPTIONS, "--budget", 8, url=url).exit_code == 0
    process = _start(sqlite, "scheduler", "demo")
    _wait_for(lambda: (status := _status(sqlite)) is not None and status.pending > 0)
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    status = _status(sqlite)
    assert status is not None
    assert status.leader is None
    search(sqlite)


def test_workers_of_others_may_do_all_the_work(sqlite: Database) -> None:
    process = _start(sqlite, "run", "demo", *OPTIONS, "--budget", 4, "--workers", 0)
    _wait_for(lambda: (status := _status(sqlite)) is not None and status.pending > 0)
    worker = _start(sqlite, "worker", "demo", "--idle-timeout", 5)
    output, _ = process.communicate(timeout=60)
    worker.terminate()
    worker.communicate()
    assert process.returncode == 0, output
    status = _status(sqlite)
    assert status is not None
    assert status.evaluated == 4
