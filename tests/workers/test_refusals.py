"""A whole worker, and objectives that it cannot measure: it claims other work, or says why it does not."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from evolver.store import schema
from evolver.store.db import Database
from tests.workers.running import WAIT_S, start_worker, wait_for, worker_database
from tests.workers.searches import rows, start_search
from workers.main import make_slots, run_worker
from workers.options import WorkerOptions


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Of a search with an objective that the plug-in ``misbehaving`` does not measure."""
    with worker_database(tmp_path, monkeypatch) as opened:
        start_search(opened, [{"do": "finish"}], name="measured")
        with opened.write() as conn:
            conn.execute(update(schema.experiment).values(objectives=["error", "latency_ms"]))
        yield opened


def test_what_cannot_be_measured_is_left_to_others(database: Database) -> None:
    start_search(database, [{"do": "finish"}], name="other")
    assert run_worker(WorkerOptions(str(database), device="cpu", idle_timeout_s=0.3)) == 0
    left, done = rows(database, schema.evaluation)
    assert (left.state, left.attempts, left.strikes) == ("pending", 0, 0)
    assert done.state == "done"
    assert len(rows(database, schema.attempt)) == 1


def test_the_row_of_the_worker_says_why(database: Database) -> None:
    worker = start_worker(database)
    try:
        wait_for(lambda: _note(database))
        note = _note(database)
    finally:
        worker.send_signal(signal.SIGTERM)
        _, errors = worker.communicate(timeout=WAIT_S)
    reason = "latency_ms cannot be measured here: there is no clock"
    assert note == f"measured: {reason}"
    assert f"skipping experiment 'measured': {reason}" in errors
    assert rows(database, schema.attempt) == []


def test_training_processes_are_told_of_their_surroundings() -> None:
    options = WorkerOptions(slots=3, track=("mlflow:x",))
    for slot in make_slots(("cpu", "cuda:0"), options, "checkpoints"):
        assert (slot._surroundings.device_slots, slot._surroundings.track) == (3, ("mlflow:x",))


def _note(database: Database) -> str | None:
    return next((one.note for one in rows(database, schema.worker)), None)
