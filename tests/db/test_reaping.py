"""Leases that ran out because nobody could renew them: a suspended machine, a clock, a database away."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from evolver.reaping import AWAY_S, JUMP_S, Reaper
from evolver.store import leases
from evolver.store.claims import Claim
from evolver.store.db import Database
from tests import factories

LEASE_S = 600.0


class Clock:
    """This process's clock, as a test sets it; the database's goes on meanwhile."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def stand_still(self, seconds: float) -> None:
        """As if so much time had passed without this process: by the database's clock it has."""
        self.now -= seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reaper(database: Database, clock: Clock) -> Reaper:
    """One that has looked before, a moment ago."""
    made = Reaper(clock)
    assert made.reap(database) == 0
    return made


@pytest.fixture
def held(database: Database) -> list[Claim]:
    """Two evaluations whose leases ran out; a single worker holds both."""
    factories.running(database)
    worker_id = factories.registered_worker(database)
    claims = [factories.must_claim(database, worker_id, lease_s=-1) for _ in range(2)]
    with database.write() as connection:
        leases.heartbeat(connection, worker_id, [], LEASE_S)
    return claims


def strikes(database: Database) -> list[int]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT strikes FROM evaluation ORDER BY id LIMIT 2")).scalars())


def test_what_ran_out_is_taken_back_at_once(database: Database, held: list[Claim]) -> None:
    assert Reaper().reap(database) == len(held)
    assert strikes(database) == [1, 1]


def test_holders_may_renew_after_the_machine_was_suspended(
    database: Database, clock: Clock, reaper: Reaper, held: list[Claim]
) -> None:
    clock.stand_still(JUMP_S + 1)
    assert reaper.reap(database) == 0
    with database.write() as connection:
        leases.heartbeat(connection, 1, [held[0].lease], LEASE_S)

    clock.now += LEASE_S - 1
    assert reaper.reap(database) == 0
    clock.now += 2
    assert reaper.reap(database) == 1, "who did not renew is gone"
    assert strikes(database) == [0, 1]


def test_holders_may_renew_after_a_time_without_a_look(
    database: Database, clock: Clock, reaper: Reaper, held: list[Claim]
) -> None:
    """The database was away for all, or all processes of the search were frozen together."""
    clock.now += AWAY_S + 1
    assert reaper.reap(database) == 0
    clock.now += LEASE_S + 1
    assert reaper.reap(database) == len(held)


def test_who_always_looks_seldom_takes_back_every_other_time(
    database: Database, clock: Clock, reaper: Reaper, held: list[Claim]
) -> None:
    reaped = []
    for _ in range(2):
        clock.now += 3600
        reaped.append(reaper.reap(database))
    assert reaped == [0, len(held)]


def test_a_machine_that_is_suspended_again_meanwhile(
    database: Database, clock: Clock, reaper: Reaper, held: list[Claim]
) -> None:
    clock.stand_still(3600)
    assert reaper.reap(database) == 0
    clock.now += LEASE_S - 1
    assert reaper.reap(database) == 0
    clock.stand_still(7200)
    assert reaper.reap(database) == 0
    clock.now += 10
    assert reaper.reap(database) == 0, "it waits anew"
    assert strikes(database) == [0, 0]
