"""What the workers do now, as ``evolver top`` shows it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from evolver.evaluation import Epoch
from evolver.scheduler import Scheduler
from evolver.store import activity, leases, names
from evolver.store.db import Database
from tests import factories
from tests.factories import do


def test_what_runs(database: Database) -> None:
    first, second = (factories.registered_worker(database, slots=2, host=host) for host in "ab")
    factories.running(database, budget=20, epochs=5)
    claims = [factories.must_claim(database, worker, lease_s=50) for worker in (second, first, first)]
    do(database, leases.attempt_started, claims[1].lease, dtype="fp32", resumed_from_epoch=None)
    for number in (1, 2):
        epoch = Epoch(number, 1.0, 0.5, 1.0, 0.5, 0.01, 2.0 * number)
        do(database, leases.record_epochs, claims[1].lease, [epoch])

    found = do(database, activity.running, 10)
    assert [one.worker_id for one in found] == [first, first, second]
    genome_ids = [claims[i].task.genome_id for i in (1, 2, 0)]
    assert [one.genome_id for one in found] == genome_ids
    one = found[0]
    assert (one.experiment, one.purpose, one.device, one.slot) == ("search", "search", "cpu", 0)
    assert (one.epoch, one.epochs, one.epoch_s) == (2, 5, 3.0)
    assert (found[1].epoch, found[1].epoch_s) == (0, None)
    assert 0 <= one.seconds < 30
    assert 20 < one.lease_left_s <= 50
    assert len(do(database, activity.running, 2)) == 2
    factories.complete(database, claims[1])
    assert len(do(database, activity.running, 10)) == 2


def test_the_rate_of_a_worker_is_that_of_its_last_hour(database: Database) -> None:
    factories.running(database, budget=50)
    first, second, third = (factories.registered_worker(database, host=host) for host in "abc")
    scheduler = Scheduler(database)
    for worker in (first, first, first, second):
        factories.complete(database, factories.must_claim(database, worker))
        scheduler.step()
    scheduler.close()
    assert do(database, activity.results_per_hour) == {}  # they have just begun

    ago(database, "worker", "started_at", 1800)
    assert do(database, activity.results_per_hour) == {
        first: pytest.approx(6, rel=0.05),
        second: pytest.approx(2, rel=0.05),
    }
    ago(database, "worker", "started_at", 7200)
    assert do(database, activity.results_per_hour)[first] == pytest.approx(3)
    ago(database, "evaluation", "ended_at", 4000, "ingest_no = 1")
    assert do(database, activity.results_per_hour)[first] == pytest.approx(2)
    assert third not in do(database, activity.results_per_hour)


def ago(database: Database, table: str, column: str, seconds: int, condition: str = "true") -> None:
    """Have something happened so many seconds ago."""
    moment = (
        f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{seconds} seconds')"
        if database.is_sqlite
        else f"clock_timestamp() - interval '{seconds} seconds'"
    )
    condition = f"{column} IS NOT NULL AND {condition}"
    with database.write() as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = {moment} WHERE {condition}"))


def test_names_are_completed(database: Database) -> None:
    for name in ("demo", "Demo", "de_mo", "de%", "other"):
        factories.created(database, name)
    assert do(database, names.beginning_with, "de", 10) == ["de%", "de_mo", "demo"]
    assert do(database, names.beginning_with, "de_", 10) == ["de_mo"]
    assert do(database, names.beginning_with, "", 2) == ["other", "de%"]
