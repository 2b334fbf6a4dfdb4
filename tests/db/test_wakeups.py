"""Wake-ups on PostgreSQL: who waits hears of work and of results, and goes on polling without."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from evolver.errors import DatabaseError
from evolver.scheduler import Scheduler
from evolver.store import experiments, leases
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.wakeups import DIRECT_ANSWER_S, DIRECT_VARIABLE, RESULT, WORK, Wakeups
from tests import factories

LONG_S = 20.0
"""No test waits so long: a wait that is not ended early shows as a failure."""


@pytest.fixture
def listening(postgresql_url: str) -> Iterator[Database]:
    """Another process's view of the same database."""
    opened = Database.open(postgresql_url)
    yield opened
    opened.dispose()


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    opened = Database.open(postgresql_url)
    yield opened
    opened.dispose()


def connected(database: Database, wakeups: Wakeups) -> Wakeups:
    """Any use of the database connects, and so listens; what came before is taken."""
    with database.read():
        pass
    wakeups.take()
    return wakeups


def is_woken(wakeups: Wakeups) -> bool:
    began = time.monotonic()
    return wakeups.wait(LONG_S) and time.monotonic() - began < LONG_S / 2


def test_births_wake_those_who_wait_for_work(database: Database, listening: Database) -> None:
    work = connected(listening, Wakeups(listening.engine, WORK))
    factories.running(database)
    assert is_woken(work)
    assert not work.wait(0.05)


@pytest.mark.parametrize("end", [factories.complete, factories.fail])
def test_the_end_of_an_evaluation_wakes_the_scheduler(
    database: Database, listening: Database, end: Callable[[Database, Claim], None]
) -> None:
    result = connected(listening, Wakeups(listening.engine, RESULT))
    factories.running(database)
    end(database, factories.must_claim(database, factories.registered_worker(database)))
    assert is_woken(result)


def handed_back(database: Database) -> None:
    claim = factories.must_claim(database, factories.registered_worker(database))
    factories.do(database, leases.release, claim.lease)


def fault_of_the_host(database: Database) -> None:
    claim = factories.must_claim(database, factories.registered_worker(database))
    factories.do(database, leases.environment_fault, claim.lease, "no disk")


def crash(database: Database) -> None:
    factories.fail(database, factories.must_claim(database, factories.registered_worker(database)), "crash")


def expired_lease(database: Database) -> None:
    factories.must_claim(database, factories.registered_worker(database), lease_s=-1)
    factories.do(database, leases.reap)


def resumed(database: Database) -> None:
    factories.do(database, experiments.transition, factories.current(database), "paused")
    factories.do(database, experiments.transition, factories.current(database), "running")


@pytest.mark.parametrize("act", [handed_back, fault_of_the_host, crash, expired_lease, resumed])
def test_whatever_can_be_claimed_again_wakes_those_who_wait_for_work(
    database: Database, listening: Database, act: Callable[[Database], None]
) -> None:
    factories.running(database)
    work = connected(listening, Wakeups(listening.engine, WORK))
    act(database)
    assert is_woken(work)


def test_a_lease_lost_for_the_last_time_wakes_the_scheduler(database: Database, listening: Database) -> None:
    factories.running(database, max_attempts=1)
    result = connected(listening, Wakeups(listening.engine, RESULT))
    expired_lease(database)
    assert is_woken(result)


def test_only_the_first_of_many_results_wakes(database: Database, listening: Database) -> None:
    result = connected(listening, Wakeups(listening.engine, RESULT))
    factories.running(database)
    worker_id = factories.registered_worker(database)
    claims = [factories.must_claim(database, worker_id) for _ in range(2)]
    factories.complete(database, claims[0])
    assert is_woken(result)
    factories.complete(database, claims[1])
    assert not result.wait(0.05)
    Scheduler(database).step()
    factories.complete(database, factories.must_claim(database, worker_id))
    assert is_woken(result)


def test_a_cut_connection_listens_again_when_it_is_next_used(database: Database, listening: Database) -> None:
    work = connected(listening, Wakeups(listening.engine, WORK))
    with database.write() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE datname = current_database() AND pid <> pg_backend_pid()")
        )  # fmt: skip
    assert not work.wait(0.2)
    connected(listening, work)
    factories.running(database)
    assert is_woken(work)


def test_behind_a_pooler_a_direct_connection_listens(
    database: Database, postgresql_url: str, listening: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECT_VARIABLE, postgresql_url)
    work = Wakeups(listening.engine, WORK)
    work.take()
    factories.running(database)
    assert is_woken(work)


def test_a_direct_address_that_is_silent_does_not_hold_up_who_polls(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(DIRECT_VARIABLE, f"postgresql://127.0.0.1:{silent.getsockname()[1]}/evolver")
        work = Wakeups(database.engine, WORK)
        began = time.monotonic()
        assert [work.take() for _ in range(3)] == [False] * 3
    assert time.monotonic() - began < 2 * DIRECT_ANSWER_S


def test_a_malformed_direct_address_is_told_at_the_start(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECT_VARIABLE, "db.example.org")
    with pytest.raises(DatabaseError, match=f"malformed URL in {DIRECT_VARIABLE}"):
        Wakeups(database.engine, WORK)


def test_without_postgresql_there_is_only_the_pause(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    work = Wakeups(database.engine, WORK)
    assert work.fileno() is None
    assert not work.wait(0.01)
    database.dispose()
