"""A whole worker whose evaluations share a device: who begins beside whom, who waits, who is handed back.

Each code says what the evaluator does, and how many GB its training is taken to need; the device has room
for 4 GB of estimates.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from evolver.evaluation import Task
from evolver.store import experiments, schema
from evolver.store.db import Database
from tests.workers.running import has_curve, in_background, options, wait_for, worker_database
from tests.workers.searches import rows, start_search
from workers import devices, main, supervisor
from workers.admission import GUESSED, PROCESS_BYTES, WORKSPACE_BYTES, DeviceMemory
from workers.main import run_worker
from workers.options import MEMORY_SHARE
from workers.process import Death, Surroundings
from workers.slots import Slot, claimable
from workers.supervisor import WorkerEvent
from workers.work import Work

GB = 1_000_000_000
ROOM = GUESSED * (4 * GB + 2 * WORKSPACE_BYTES)
SLOTS = 2
NOWHERE = Surroundings(Path(), False, "", 1)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A migrated file, a device with little memory, and nothing that is learned of it."""
    free = int((ROOM + SLOTS * PROCESS_BYTES["cpu"]) / MEMORY_SHARE) + 1
    monkeypatch.setattr(devices, "free_bytes", lambda _: free)
    monkeypatch.setattr(supervisor, "estimate", gigabytes)
    monkeypatch.setattr(DeviceMemory, "learn", lambda *_, **__: None)
    with worker_database(tmp_path, monkeypatch) as opened:
        yield opened


def gigabytes(task: Task) -> int:
    return int(task.code["gb"] * GB)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[Slot]:
    """The slots of the worker that the test runs, once it runs."""
    made: list[Slot] = []
    make_slots = main.make_slots

    def making(*arguments: Any) -> list[Slot]:
        made.extend(make_slots(*arguments))
        return made

    monkeypatch.setattr(main, "make_slots", making)
    return made


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, places: list[Slot]) -> list[tuple[str, list[str]]]:
    """Each evaluation as it begins, by its experiment, and those that ran beside it."""
    seen: list[tuple[str, list[str]]] = []
    start = Slot.start

    def starting(slot: Slot) -> None:
        beside = [one.work.claim.experiment for one in places if one.is_running and one.work]
        assert slot.work is not None
        seen.append((slot.work.claim.experiment, beside))
        start(slot)

    monkeypatch.setattr(Slot, "start", starting)
    return seen


def do(action: str, gb: float) -> dict[str, Any]:
    return {"do": action, "gb": gb}


def test_what_fits_runs_side_by_side(
    database: Database, begun: list[tuple[str, list[str]]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    start_search(database, [do("slow", 2)] * 2)
    assert run_worker(options(database, slots=SLOTS)) == 0
    assert f"cpu ({devices.device_name('cpu')}): slots 2, memory for trainings 6.8 GB" in caplog.messages
    assert begun == [("search", []), ("search", ["search"])]
    assert {one.state for one in rows(database, schema.evaluation)} == {"done"}


def test_what_does_not_fit_runs_one_after_the_other(
    database: Database, begun: list[tuple[str, list[str]]]
) -> None:
    start_search(database, [do("slow", 3)] * 2)
    events: list[WorkerEvent] = []
    assert run_worker(options(database, slots=SLOTS, lease_s=1.0), events.append) == 0
    assert begun == [("search", [])] * 2
    assert [event.what for event in events] == ["claimed", "claimed", "done", "done"]
    assert events[1].detail == "attempt 1, waits for memory of cpu"
    assert [one.outcome for one in rows(database, schema.attempt)] == ["done"] * 2


def test_one_that_is_too_large_runs_alone(database: Database, begun: list[tuple[str, list[str]]]) -> None:
    start_search(database, [do("slow", 100)])
    start_search(database, [do("finish", 0)], name="small")
    assert run_worker(options(database, slots=SLOTS)) == 0
    assert begun == [("search", []), ("small", [])]
    assert {one.state for one in rows(database, schema.evaluation)} == {"done"}


def test_nobody_is_starved(database: Database, begun: list[tuple[str, list[str]]]) -> None:
    start_search(database, [do("finish", 1)] * 4, name="a")
    start_search(database, [do("finish", 100)] * 2, name="b")
    start_search(database, [do("finish", 1)] * 2, name="c")
    assert run_worker(options(database, slots=SLOTS)) == 0
    order = [experiment for experiment, _ in begun]
    assert order == ["a", "b", "c", "a", "b", "c", "a", "a"]
    assert not any(beside for experiment, beside in begun if experiment == "b")
    assert {one.state for one in rows(database, schema.evaluation)} == {"done"}


def test_a_signal_hands_back_what_waits(database: Database, places: list[Slot]) -> None:
    start_search(database, [do("hang", 3)] * 2)

    def stop() -> None:
        wait_for(has_curve(database))
        wait_for(lambda: any(slot.is_waiting for slot in places))
        os.kill(os.getpid(), signal.SIGTERM)

    with in_background(stop):
        assert run_worker(options(database, slots=SLOTS)) == 0
    assert [one.outcome for one in rows(database, schema.attempt)] == ["released"] * 2
    assert [(one.state, one.strikes) for one in rows(database, schema.evaluation)] == [("pending", 0)] * 2


def test_a_stopped_experiment_takes_back_what_waits(database: Database, places: list[Slot]) -> None:
    start_search(database, [do("hang once", 3)], name="running")
    start_search(database, [do("finish", 3)], name="stopped")

    def stop() -> None:
        wait_for(lambda: any(slot.is_waiting for slot in places))
        with database.write() as conn:
            experiments.transition(conn, experiments.get(conn, "stopped"), "stopped")
        wait_for(lambda: rows(database, schema.attempt)[1].outcome)
        os.kill(os.getpid(), signal.SIGTERM)

    with in_background(stop):
        assert run_worker(options(database, slots=SLOTS, lease_s=1.0)) == 0
    assert [one.outcome for one in rows(database, schema.attempt)] == ["released"] * 2


def test_a_lost_lease_ends_the_waiting(database: Database, places: list[Slot]) -> None:
    start_search(database, [do("slow", 3), do("finish", 3)])

    def take_away() -> None:
        wait_for(lambda: any(slot.is_waiting for slot in places))
        lost = schema.evaluation.c.id == 2
        with database.write() as conn:
            conn.execute(update(schema.evaluation).where(lost).values(token="of another worker"))

    events: list[WorkerEvent] = []
    with in_background(take_away):
        assert run_worker(options(database, slots=SLOTS, lease_s=1.0), events.append) == 0
    assert [(event.what, event.evaluation_id) for event in events[:3]] == [
        ("claimed", 1),
        ("claimed", 2),
        ("dropped", 2),
    ]
    assert rows(database, schema.evaluation)[0].state == "done"


class Dead:
    """A training process that has ended while it was idle."""

    def death(self) -> Death:
        return Death(-9)

    def receive(self) -> list[object]:
        return []

    def log_tail(self) -> str:
        return ""

    def flush(self) -> None: ...
    def read_log(self) -> None: ...
    def kill(self) -> None: ...


def test_the_end_of_an_idle_process_leaves_what_waits() -> None:
    slot = Slot(0, DeviceMemory("cpu", None, slots=1), "a processor", NOWHERE)
    slot.work = waiting = _work(started=False)
    slot.process = Dead()  # type: ignore[assignment]
    slot.attend()
    assert slot.process is None
    assert slot.work is waiting
    assert slot.is_waiting


def test_what_was_measured_replaces_the_guess(
    database: Database, places: list[Slot], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[int, int, int]] = []
    monkeypatch.setattr(
        DeviceMemory, "learn", lambda _, size, *, kept, peak: learned.append((size, kept, peak))
    )
    start_search(database, [do("finish", 1), do("diverge", 2)])
    assert run_worker(options(database)) == 0
    ((size, kept, peak),) = learned
    assert size == GB
    assert peak >= kept > 1_000_000


def test_the_least_busy_device_is_served_first() -> None:
    memories = [DeviceMemory(f"cuda:{n}", None, slots=2) for n in range(2)]
    four = [Slot(n, memories[n // 2], "GPU", NOWHERE) for n in range(4)]
    assert [slot.number for slot in claimable(four)] == [0, 1, 2, 3]
    four[0].work = _work(started=True)
    assert [slot.number for slot in claimable(four)] == [2, 3, 1]
    four[2].work = _work(started=False)
    assert [slot.number for slot in claimable(four)] == [1]


def _work(*, started: bool) -> Any:
    work = Work(claim=None, trusted_until=0.0)  # type: ignore[arg-type]
    work.started = started
    return work
