"""The views for people: on both databases they show what the records say."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Row, select, text

from evolver.evaluation import Epoch
from evolver.store import facts, leases
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.schema import parentage
from tests import factories
from tests.factories import do, enqueued

BUDGET = 36


@pytest.fixture
def searched(database: Database) -> Database:
    """A finished search in which genomes failed, attempts crashed, and a host was at fault.

    Its first genome was retrained, with values that no view of the search may show.
    """
    troubles = iter(["crash", "lost", "environment"])

    def end(database: Database, claim: Claim) -> None:
        for number in (1, 2):
            epoch = Epoch(number, 1.0, 0.5, 1.0 / number, 0.4, 0.1, 2.0)
            do(database, leases.record_epochs, claim.lease, [epoch])
        trouble = next(troubles, None)
        if trouble == "environment":
            do(database, leases.environment_fault, claim.lease, "no data")
            elsewhere = factories.registered_worker(database)
            factories.complete(database, factories.must_claim(database, elsewhere))
        elif trouble is not None:
            factories.fail(database, claim, trouble, "gone")
        elif claim.task.genome_id % 4 == 0:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    factories.finished(database, budget=BUDGET, seed=2, end=end)
    enqueued(database, purpose="retrain")
    retraining = factories.must_claim(database, factories.registered_worker(database))
    do(database, leases.record_epochs, retraining.lease, [Epoch(1, 1.0, 0.5, None, None, 0.1, 2.0)])
    factories.complete(database, retraining, {"error": 0.0, "loss": 0.0})
    return database


def rows(database: Database, statement: str) -> list[Row[Any]]:
    with database.read() as connection:
        return list(connection.execute(text(statement)).all())


def done(database: Database) -> list[facts.GenomeFact]:
    with database.read() as connection:
        return facts.genomes(connection, factories.current(database), states=["done"])


def test_front_shows_the_front_as_it_is_now(searched: Database) -> None:
    with searched.read() as connection:
        members = facts.front_members(connection, factories.current(searched))
    view = rows(
        searched, "SELECT genome_id, birth, error, loss, params, flops FROM front WHERE experiment = 'search'"
    )

    assert sorted(map(tuple, view)) == sorted(
        (m.genome_id, m.birth, m.objectives["error"], m.objectives["loss"], m.params, m.flops)
        for m in members
    )


def test_leaderboard_ranks_every_success_by_error_then_loss(searched: Database) -> None:
    vectors = {one.genome_id: (one.objectives["error"], one.objectives["loss"]) for one in done(searched)}
    view = rows(searched, "SELECT genome_id, place, error, loss, accuracy FROM leaderboard")

    assert {row.genome_id: (row.error, row.loss) for row in view} == vectors
    for row in view:
        assert row.place == 1 + sum(other < (row.error, row.loss) for other in vectors.values())
        assert row.accuracy == pytest.approx(1 - row.error)


def test_ancestry_is_the_closure_of_parentage(searched: Database) -> None:
    with searched.read() as connection:
        edges = {(child, parent) for child, parent in connection.execute(
            select(parentage.c.child_id, parentage.c.parent_id))}  # fmt: skip
    nearest: dict[tuple[int, int], int] = {}
    reached, distance = set(edges), 1
    while reached:
        for pair in reached:
            nearest.setdefault(pair, distance)
        reached = {(child, far) for child, near in reached for one, far in edges if one == near}
        distance += 1

    view = rows(searched, "SELECT genome_id, ancestor_id, distance FROM ancestry")
    assert len(view) == len(nearest)
    assert {(row.genome_id, row.ancestor_id): row.distance for row in view} == nearest
    assert max(nearest.values()) >= 2


def test_learning_curve_shows_every_epoch(searched: Database) -> None:
    view = rows(
        searched,
        "SELECT genome_id, epoch, validation_loss FROM learning_curve "
        "WHERE experiment = 'search' AND purpose = 'search' ORDER BY genome_id, epoch",
    )
    expected = [(genome_id, epoch, 1.0 / epoch) for genome_id in range(1, BUDGET + 1) for epoch in (1, 2)]
    assert [tuple(row) for row in view] == expected
    retraining = rows(searched, "SELECT epoch, validation_loss FROM learning_curve WHERE purpose = 'retrain'")
    assert [tuple(row) for row in retraining] == [(1, None)]


def test_failure_shows_every_try_that_went_wrong(searched: Database) -> None:
    view = rows(
        searched,
        "SELECT genome_id, attempt, outcome, kind, message, state, host FROM failure ORDER BY 1, 2",
    )
    assert [tuple(row)[1:6] for row in view if row.genome_id == 1] == [
        (1, "failed", "crash", "gone", "done"),
        (2, "failed", "lost", "gone", "done"),
        (3, "environment", None, "no data", "done"),
    ]
    assert [tuple(row) for row in view if row.genome_id > 1] == [
        (genome_id, 1, "failed", "oom", "too large", "failed", "host")
        for genome_id in range(4, BUDGET + 1, 4)
    ]
