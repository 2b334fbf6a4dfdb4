"""Workers that are forgotten: what it costs, and what remains of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, text

from evolver.store import claims, details, fleet, leases
from evolver.store.db import Database
from tests import factories
from tests.db.test_plans import with_history
from tests.factories import do

DEAD = 40
FEW, MANY = 500, 4_000


def with_dead_workers(database: Database, genomes: int) -> Database:
    """A search with so many genomes behind it, all evaluated by workers that are gone."""
    with_history(database, genomes)
    for number in range(DEAD - 1):
        factories.registered_worker(database, host=f"node{number}")
    with database.write() as connection:
        connection.execute(text("UPDATE attempt SET worker_id = 1 + id % :n"), {"n": DEAD})
        connection.execute(
            text("UPDATE evaluation SET worker_id = 1 + id % :n WHERE state <> 'running'"), {"n": DEAD}
        )
        connection.execute(text("UPDATE evaluation SET worker_id = :n WHERE state = 'running'"), {"n": DEAD})
        connection.execute(
            text("UPDATE worker SET state = 'stopped', heartbeat_at = '2020-01-01 00:00:00.000'")
        )
    return database


def test_forgetting_workers_touches_nothing_of_the_history(postgresql_url: str) -> None:
    database = with_dead_workers(Database.open(postgresql_url), FEW)
    with database.single() as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    with database.write() as connection:
        before = touched(connection)
        assert fleet.forget(connection, 60.0) == DEAD - 1
        assert touched(connection) == before
    database.dispose()


def touched(connection: Connection) -> list[Any]:
    """The rows of the history that this session has read by scans or changed, triggers included."""
    query = text(
        "SELECT relname, seq_tup_read, n_tup_upd FROM pg_stat_xact_user_tables "
        "WHERE relname IN ('evaluation', 'attempt') ORDER BY relname"
    )
    return list(connection.execute(query).all())


def test_forgetting_workers_costs_no_more_after_a_long_search(sqlite_url: str, tmp_path: Any) -> None:
    costs: list[int] = []
    for genomes in (FEW, MANY):
        database = Database.open(f"sqlite:///{tmp_path / f'{genomes}.db'}", create=True)
        with_dead_workers(database, genomes)
        with database.write() as connection:
            costs.append(steps_of(connection, lambda c: fleet.forget(c, 60.0)))
        database.dispose()
    assert costs[1] < 1.2 * costs[0]


def steps_of(connection: Connection, act: Callable[[Connection], object]) -> int:
    """How many hundreds of instructions SQLite's machine takes, checks of references included."""
    driver: Any = connection.connection.driver_connection
    ticks: list[int] = []
    driver.set_progress_handler(lambda: ticks.append(1), 100)
    act(connection)
    driver.set_progress_handler(None, 0)
    return len(ticks)


def test_what_a_forgotten_worker_did_keeps_its_id_which_never_comes_back(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database, host="node1")
    claim = factories.must_claim(database, worker_id)
    factories.complete(database, claim)
    do(database, leases.heartbeat, worker_id, [], -1.0)
    assert do(database, fleet.forget, -10.0) == 1

    with database.read() as connection:
        (evaluation,) = details.genome_detail(connection, claim.task.genome_id).evaluations
    assert [(one.worker_id, one.host) for one in evaluation.attempts] == [(worker_id, "node1")]
    assert factories.registered_worker(database) > worker_id


def test_a_worker_that_was_forgotten_claims_nothing_until_it_registers_again(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    do(database, claims.worker_state, worker_id, "stopped")
    assert do(database, fleet.forget, -10.0) == 1
    assert factories.claimed(database, worker_id) is None
    assert not do(database, leases.heartbeat, worker_id, [], 60.0).is_known
    factories.must_claim(database, factories.registered_worker(database))


@pytest.mark.parametrize("name", [10**20, f"host:{10**20}", "9" * 5000, -(10**20), ":1", "host:", "²"])
def test_a_name_that_no_worker_can_have(database: Database, name: object) -> None:
    factories.registered_worker(database)
    with database.read() as connection:
        assert fleet.named(connection, str(name)) == []
        assert len(fleet.named(connection, "host:1")) == 1
