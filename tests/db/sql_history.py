"""A history in which every question of docs/sql.md has an answer that is not trivial.

Two searches with failures on two hosts, a genome that was retried, duplicates, final trainings, a training
that is going on; and its tables whole, for answers without SQL. Ids count from 1.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, select, update

from evolver import recipe, retraining
from evolver.evaluation import Epoch
from evolver.store import leases, queue, schema
from evolver.store.claims import Claim
from evolver.store.db import Database
from tests import factories
from tests.factories import do

BUDGET = 40
RETRIED, WITH_EPOCHS = 5, (5, 9)
"""The genome that fails and is tried again; those with learning curves."""
HOST, OTHER_HOST = "host", "elsewhere"
HOURS = 50
FEW = {**factories.FEW_PHENOTYPES, "channels": [4, 16]}
"""A space in which some phenotypes are bred twice."""


class History(SimpleNamespace):
    """The rows of each table, by its name, in the order of the key."""


def whole(database: Database) -> History:
    with database.read() as connection:
        return History(
            **{
                table.name: connection.execute(select(table).order_by(*table.primary_key)).all()
                for table in schema.metadata.sorted_tables
            }
        )


def write(database: Database) -> None:
    """Write the history into a new database."""
    factories.registered_worker(database, host=HOST)
    other_worker = factories.registered_worker(database, host=OTHER_HOST)
    ending = _Ending(other_worker)
    for name, values in {
        "demo": {"budget": BUDGET, "seed": 1, "constraints": ["error<=0.5"], "space_settings": FEW},
        "other": {"budget": 15, "dataset": "fashion-mnist"},
    }.items():
        factories.created(database, name, **values)
        factories.run_to_the_end(database, name, end=ending, worker_id=1)
    _retrain(database, other_worker)
    factories.enqueued(database, "demo")
    factories.must_claim(database, other_worker)  # and it stays claimed
    with database.write() as connection:
        _spread(connection)


class _Ending:
    """How each evaluation ends: one in three somehow goes wrong at first, or for good."""

    def __init__(self, other_worker: int) -> None:
        self._other_worker = other_worker
        self._faults = 0

    def __call__(self, database: Database, claim: Claim) -> None:
        genome_id, is_retried = claim.task.genome_id, claim.task.genome_id == RETRIED
        tried_before = is_retried and self._faults > 0
        if genome_id in WITH_EPOCHS:
            _train(database, claim, 4 if tried_before else 6, 0.25 if tried_before else 0.75)
        if is_retried and not tried_before:
            self._faults += 1
            factories.fail(database, claim, "timeout", "too slow")
        elif genome_id % 7 == 1:
            do(database, leases.environment_fault, claim.lease, "no data")
            self._elsewhere(database, claim)
        elif genome_id % 7 == 4:
            factories.fail(database, claim, "crash", "gone")  # is tried again, at once or later
        elif genome_id % 7 == 6:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim, _better_and_better(claim))
        if genome_id == 2 * RETRIED:
            with database.write() as connection:
                for failed in queue.failed_search(connection, genome_id=RETRIED):
                    queue.retry(connection, failed)

    def _elsewhere(self, database: Database, claim: Claim) -> None:
        again = factories.must_claim(database, self._other_worker)
        if again.task.genome_id % 2:
            factories.complete(database, again, _better_and_better(again))
        else:
            factories.fail(database, again, "oom", "too large here too")


def _better_and_better(claim: Claim) -> dict[str, float]:
    """Errors fall with the births, so that the best has ancestors and the front changes to the end."""
    values = factories.made_up_values(claim.task)
    age = min(claim.task.genome_id / BUDGET, 1.0)
    return {**values, "error": 0.5 * values["error"] + 0.4 * (1 - age)}


def _train(database: Database, claim: Claim, epochs: int, factor: float) -> None:
    for number in range(1, epochs + 1):
        error = factor * claim.task.genome_id / (10 * number)
        do(database, leases.record_epochs, claim.lease, [Epoch(number, 1.0, 0.5, 1.0, error, 0.1, 2.0)])


def _retrain(database: Database, worker_id: int) -> None:
    do(database, retraining.enqueue, factories.current(database, "demo"), (), recipe.load("fast"))
    number = 0
    while (claim := factories.claimed(database, worker_id)) is not None:
        number += 1
        factories.complete(database, claim, {"test_error": 0.9 / number, "test_loss": 1.0})


def _spread(connection: Connection) -> None:
    """Times as if it had taken days, in the order of ingest numbers; ``OTHER_HOST`` has another device."""
    evaluation, attempt = schema.evaluation, schema.attempt
    connection.execute(
        update(attempt).where(attempt.c.host == OTHER_HOST).values(device_name="an accelerator")
    )
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=HOURS)
    for row in connection.execute(select(evaluation)).all():
        place = row.ingest_no or BUDGET + 1
        ended_at = began + timedelta(hours=4 * (place // 4), minutes=7 + 11 * (place % 4))
        tries = connection.execute(
            select(attempt).where(attempt.c.evaluation_id == row.id).order_by(attempt.c.number)
        ).all()
        started_at = ended_at
        for one in reversed(tries):
            started_at = ended_at - timedelta(seconds=300.125 * (1 + one.id % 5) + one.id)
            times: dict[str, Any] = {"started_at": started_at}
            if one.ended_at is not None:
                times["ended_at"] = ended_at
            connection.execute(update(attempt).where(attempt.c.id == one.id).values(times))
            ended_at = started_at - timedelta(minutes=2)
        times = {"enqueued_at": started_at - timedelta(seconds=100 + 37.5 * (row.id % 11))}
        if row.ended_at is not None:
            times["ended_at"] = began + timedelta(hours=4 * (place // 4), minutes=7 + 11 * (place % 4))
        connection.execute(update(evaluation).where(evaluation.c.id == row.id).values(times))
