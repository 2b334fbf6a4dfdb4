"""The states of an evaluation: each function changes state along its own arrow, and along no other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy import select, update

from evolver.errors import LeaseLost
from evolver.store import leases, queue
from evolver.store.db import Database
from evolver.store.leases import Lease
from evolver.store.schema import evaluation
from evolver.store.states import EVALUATION_STATES, EVALUATION_TRANSITIONS
from tests import factories
from tests.factories import do, enqueued

Change = Callable[[Database, Lease, str], None]
"""Tries to change the state of the evaluation; the last argument names its experiment."""


def in_state(database: Database, state: str) -> Lease:
    """The oldest evaluation of the search ``state``, in this state; the token is its only attempt's."""
    factories.running(database, state)
    lease = next_claim(database, state)
    if state == "pending":
        do(database, leases.release, lease)
    elif state == "done":
        do(database, leases.complete, lease, {"error": 0.5})
    elif state == "failed":
        do(database, leases.fail, lease, "oom", "too large")
    return lease


def state_of(database: Database, lease: Lease) -> str:
    with database.read() as connection:
        query = select(evaluation.c.state).where(evaluation.c.id == lease.evaluation_id)
        return str(connection.execute(query).scalar_one())


def next_claim(database: Database, name: str) -> Lease:
    return factories.must_claim(database, factories.registered_worker(database), names=[name]).lease


def inherit(database: Database, lease: Lease, name: str, end: Callable[[Lease], None]) -> None:
    """Let the evaluation wait for a twin, which then ends. Only a pending one can wait."""
    enqueued(database, name, priority=1)
    twin = next_claim(database, name)
    end(twin)
    own = (evaluation.c.id == lease.evaluation_id, evaluation.c.state == "pending")
    with database.write() as connection:
        connection.execute(update(evaluation).where(*own).values(waits_for=twin.evaluation_id))
        queue.inherit(connection, factories.current(database, name).id)


def inherit_success(database: Database, lease: Lease, name: str) -> None:
    inherit(database, lease, name, lambda twin: do(database, leases.complete, twin, {"error": 0.5}))


def inherit_failure(database: Database, lease: Lease, name: str) -> None:
    inherit(database, lease, name, lambda twin: do(database, leases.fail, twin, "oom", "too large"))


def last_strike(database: Database, lease: Lease, _name: str) -> None:
    with database.write() as connection:
        own = update(evaluation).where(evaluation.c.id == lease.evaluation_id)
        connection.execute(own.values(strikes=2))
    do(database, leases.fail, lease, "crash", "killed")


def reap(database: Database, lease: Lease, _name: str, *, strikes: int = 0) -> None:
    with database.write() as connection:
        running = (evaluation.c.id == lease.evaluation_id, evaluation.c.state == "running")
        long_ago = evaluation.c.enqueued_at
        connection.execute(
            update(evaluation).where(*running).values(strikes=strikes, lease_expires_at=long_ago)
        )
    do(database, leases.reap)


def claim_next(database: Database, _lease: Lease, name: str) -> None:
    next_claim(database, name)


CHANGES: list[tuple[str, str, Change]] = [
    ("pending", "running", claim_next),
    ("pending", "done", inherit_success),
    ("pending", "failed", inherit_failure),
    ("running", "done", lambda db, lease, _: do(db, leases.complete, lease, {"error": 0.5})),
    ("running", "failed", lambda db, lease, _: do(db, leases.fail, lease, "oom", "too large")),
    ("running", "failed", last_strike),
    ("running", "failed", partial(reap, strikes=2)),
    ("running", "pending", lambda db, lease, _: do(db, leases.fail, lease, "crash", "killed")),
    ("running", "pending", lambda db, lease, _: do(db, leases.release, lease)),
    ("running", "pending", lambda db, lease, _: do(db, leases.environment_fault, lease, "no data")),
    ("running", "pending", reap),
]
"""The functions that change a state, each with its arrow."""


def test_every_transition_has_its_functions() -> None:
    arrows = {(before, after) for before, targets in EVALUATION_TRANSITIONS.items() for after in targets}
    assert {(before, after) for before, after, _ in CHANGES} == arrows


@pytest.mark.parametrize(("before", "after", "change"), CHANGES)
def test_a_change_of_state_is_made_from_its_own_state_only(
    database: Database, before: str, after: str, change: Change
) -> None:
    for state in EVALUATION_STATES:
        lease = in_state(database, state)
        with suppress(LeaseLost):
            change(database, lease, state)
        assert state_of(database, lease) == (after if state == before else state)
