"""What a supervisor is made of, without processes."""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from evolver.evaluation import DatasetRef, Task
from evolver.store.claims import Claim, Offer
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.leases import Lease
from tests.workers.searches import SAMPLE
from workers import devices, main, readiness
from workers.loop import Backoff, SignalWatch
from workers.options import WorkerOptions, checkpoint_base
from workers.outage import Outage
from workers.process import Death, _environment
from workers.readiness import Readiness
from workers.work import Work


def offer(experiment: str, dataset_id: int = 1) -> Offer:
    return Offer(1, experiment, "train", DatasetRef(dataset_id, "digits", SAMPLE, 8, 2, 2, 1, None), None)


def test_an_experiment_is_served_after_its_check() -> None:
    ready, new = Readiness(), offer("a")
    assert (ready.servable([new]), ready.to_check([new], []), ready.complaint([new])) == ([], new, None)
    assert ready.to_check([new], under_way=[new]) is None
    ready.conclude(new, None)
    assert (ready.servable([new]), ready.to_check([new], [])) == ([new], None)


def test_experiments_on_the_same_data_share_a_check() -> None:
    ready = Readiness()
    ready.conclude(offer("a"), None)
    assert ready.servable([offer("b"), offer("c", dataset_id=2)]) == [offer("b")]


def test_other_objectives_on_the_same_data_have_a_check_of_their_own() -> None:
    ready, measured = Readiness(), replace(offer("b"), objectives=("error", "energy_j"))
    ready.conclude(offer("a"), None)
    assert (ready.servable([measured]), ready.to_check([measured], [])) == ([], measured)
    ready.conclude(measured, "energy_j cannot be measured here")
    assert ready.servable([offer("a"), measured]) == [offer("a")]
    ready.conclude(measured, None)
    ready.doubt("train", 1)
    assert ready.servable([offer("a"), measured]) == []


def test_what_is_missing_is_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ready, lacking = Readiness(), offer("a")
    ready.conclude(lacking, "no data")
    assert ready.to_check([lacking], []) is None
    assert ready.complaint([lacking]) == "a: no data"
    assert ready.complaint([lacking, offer("b", dataset_id=2)]) is None
    monkeypatch.setattr(readiness, "RECHECK_S", 0.0)
    assert ready.to_check([lacking], []) == lacking
    ready.conclude(lacking, "no data")
    assert caplog.text.count("skipping experiment 'a': no data") == 1


def test_a_fault_of_the_host_puts_the_check_in_doubt() -> None:
    ready = Readiness()
    ready.conclude(offer("a"), None)
    ready.doubt("train", 1)
    assert ready.servable([offer("a")]) == []


def test_pauses_grow_to_a_bound_and_begin_again() -> None:
    backoff = Backoff(1.0, 4.0)
    delays = [backoff.delay() for _ in range(4)]
    assert all(top / 2 <= delay <= top for delay, top in zip(delays, (1.0, 2.0, 4.0, 4.0), strict=True))
    backoff.reset()
    assert backoff.delay() <= 1.0


def test_a_signal_interrupts_the_wait_and_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalWatch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        began = time.monotonic()
        watch.wait(10.0, [], [])
        assert watch.stops == 1
        assert time.monotonic() - began < 5.0
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("returncode", "text"),
    [
        (-11, "the training process was killed by SIGSEGV"),
        (-9, "the training process was killed by SIGKILL, perhaps by the system for want of memory"),
        (-64, "the training process was killed by SIGRTMAX"),
        (1, "the training process exited with status 1"),
        (None, "the training process closed its connection"),
    ],
)
def test_a_death_has_a_name(returncode: int | None, text: str) -> None:
    assert str(Death(returncode)) == text


def test_a_training_process_is_not_told_the_way_to_the_database() -> None:
    secret = ("EVOLVER_DATABASE_URL", "EVOLVER_DATABASE_DIRECT_URL", "PGPASSWORD", "PGPASSFILE")
    found = _environment({**dict.fromkeys(secret, "secret"), "HOME": "/root", "OMP_NUM_THREADS": "7"}, 2)
    assert "secret" not in found.values()
    assert (found["HOME"], found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("/root", "7", "7")


@pytest.mark.parametrize(("lease_s", "wait_s"), [(1.0, 0.5), (5.0, 1.25), (60.0, 15.0)])
def test_the_database_is_not_waited_for_until_the_leases_run_out(
    monkeypatch: pytest.MonkeyPatch, lease_s: float, wait_s: float
) -> None:
    asked: dict[str, object] = {}

    def opening(_url: str | None, **bounds: object) -> None:
        asked.update(bounds)
        raise DatabaseUnavailable("not in this test")

    monkeypatch.setattr(Database, "open", opening)
    with pytest.raises(DatabaseUnavailable):
        main.run_worker(WorkerOptions(device="cpu", lease_s=lease_s))
    assert asked == {"wait_s": wait_s, "answer_within_s": wait_s}


def test_an_outage_is_told_once_and_ends_with_a_turn_without_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    outage = Outage()
    for _ in range(2):
        outage.begin_turn()
        with outage.tolerated("write"), outage.tolerated("delete"):
            raise DatabaseUnavailable("the server is away")
        assert outage.failed
    assert [record.message for record in caplog.records] == [
        "cannot delete: the server is away; trying again"
    ]
    outage.begin_turn()
    with outage.tolerated("write"):
        pass
    assert caplog.records[-1].message == "the database is back"


def test_checkpoints_lie_beside_the_database() -> None:
    options = WorkerOptions()
    assert checkpoint_base(options, make_url("sqlite:////srv/search.db")) == "/srv/search.checkpoints"
    beside_us = str(Path.cwd() / "evolver-checkpoints")
    assert checkpoint_base(options, make_url("postgresql+psycopg://host/db")) == beside_us
    chosen = WorkerOptions(checkpoint_url="file:///mnt/checkpoints")
    assert checkpoint_base(chosen, make_url("sqlite:///x.db")) == "file:///mnt/checkpoints"


def test_each_device_has_its_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cores", lambda: 9)
    slots = main.make_slots(("cuda:0", "cuda:1"), WorkerOptions(slots=2), "/checkpoints")
    assert [(slot.number, slot.device) for slot in slots] == [
        (0, "cuda:0"),
        (1, "cuda:0"),
        (2, "cuda:1"),
        (3, "cuda:1"),
    ]
    assert slots[0]._surroundings.cpu_threads == 2


def test_the_time_of_a_training_goes_on_where_it_was_interrupted() -> None:
    task = Task(1, 1, "a", "search", 0, "train", "conv", {}, {}, offer("one").dataset, None, {}, (), 1, 100.0)
    work = Work(Claim(Lease(1, "a"), task, 1, "one", attempt=2, trained_s=70.0), trusted_until=math.inf)
    work.begin(1000.0)
    assert work.deadline == 1100.0
    work.resume(epoch=7)
    assert work.deadline == 1030.0
    work.resume(epoch=9)  # for want of memory, from its own checkpoint
    assert work.deadline == 1030.0
    work.resume(epoch=None)  # the checkpoint is of no use: none of its time was well spent
    assert work.deadline == 1100.0
