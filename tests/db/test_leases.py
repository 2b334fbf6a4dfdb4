"""The lease protocol: claiming, guarded writes, and every way in which a lease ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Row, func, select, text, update
from sqlalchemy.exc import IntegrityError

from evolver.errors import LeaseLost
from evolver.evaluation import Epoch, Resume, SavedCheckpoint
from evolver.store import claims, experiments, leases
from evolver.store.db import Database
from evolver.store.leases import LOG_TAIL_BYTES, Lease
from evolver.store.schema import attempt, checkpoint, epoch_metric, evaluation, objective_value
from evolver.store.states import FAILURE_KINDS, RETRIED_KINDS
from tests import factories
from tests.factories import do, enqueued

EPOCH = Epoch(1, 1.5, 0.5, 1.25, 0.25, 0.1, 2.0, extra={"images": 10})


def row_of(database: Database, evaluation_id: int) -> Row[Any]:
    with database.read() as connection:
        return connection.execute(select(evaluation).where(evaluation.c.id == evaluation_id)).one()


def attempt_of(database: Database, lease: Lease) -> Row[Any]:
    with database.read() as connection:
        return connection.execute(select(attempt).where(attempt.c.token == lease.token)).one()


def claimed_lease(database: Database) -> Lease:
    """The lease on the oldest evaluation of a running search."""
    factories.running(database)
    return factories.must_claim(database, factories.registered_worker(database)).lease


def set_state(database: Database, name: str, *states: Any) -> None:
    for state in states:
        do(database, experiments.transition, factories.current(database, name), state)


# --- claiming ----------------------------------------------------------------------------------------


def test_higher_priority_is_claimed_first_then_older(database: Database) -> None:
    factories.running(database)
    for seed_no, priority in enumerate([0, 5, 9, 5]):
        enqueued(database, first=seed_no, priority=priority)
    worker_id = factories.registered_worker(database)

    claims = [factories.must_claim(database, worker_id) for _ in range(6)]
    rows = [row_of(database, claim.lease.evaluation_id) for claim in claims]
    assert [row.priority for row in rows] == [9, 5, 5, 0, 0, 0]
    assert rows[1].id < rows[2].id
    assert rows[3].id < rows[4].id < rows[5].id
    assert factories.claimed(database, worker_id) is None


def test_experiments_take_turns(database: Database) -> None:
    for name in ("a", "b", "c"):
        factories.running(database, name)
    worker_id = factories.registered_worker(database)

    order, after = [], None
    for _ in range(6):
        claim = factories.claimed(database, worker_id, after=after)
        assert claim is not None
        after = claim.experiment_id
        order.append(claim.experiment)
    assert order == ["a", "b", "c", "a", "b", "c"]


def test_only_named_experiments_are_offered(database: Database) -> None:
    for name in ("a", "b"):
        factories.running(database, name)
    with database.read() as connection:
        assert [offer.experiment for offer in claims.offers(connection)] == ["a", "b"]
        assert [offer.experiment for offer in claims.offers(connection, ["b"])] == ["b"]
        assert claims.offers(connection, ["c"]) == []


@pytest.mark.parametrize("state", ["paused", "stopped", "finished"])
def test_search_work_needs_a_running_experiment_and_other_work_does_not(
    database: Database, state: str
) -> None:
    factories.running(database)
    set_state(database, "search", state)
    worker_id = factories.registered_worker(database)
    with database.read() as connection:
        assert claims.offers(connection) == []
    assert factories.claimed(database, worker_id) is None

    enqueued(database, purpose="retrain")
    assert factories.must_claim(database, worker_id).task.purpose == "retrain"
    assert factories.claimed(database, worker_id) is None


def test_a_duplicate_that_waits_is_not_claimed(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    twin = factories.must_claim(database, worker_id).lease
    factories.must_claim(database, worker_id)
    enqueued(database, waits_for=twin.evaluation_id)

    assert factories.claimed(database, worker_id) is None


def test_a_claim_carries_everything_that_the_result_depends_on(database: Database) -> None:
    found = factories.running(database, seed=7, timeout=5.0, limit_train=200)
    worker_id = factories.registered_worker(database, host="node1")
    claim = factories.must_claim(database, worker_id)

    task = claim.task
    assert (claim.experiment_id, claim.experiment, claim.attempt) == (found.id, "search", 1)
    assert (task.evaluation_id, task.token) == (claim.lease.evaluation_id, claim.lease.token)
    assert (task.purpose, task.evaluator, task.timeout_s, task.limit_train) == (
        "search", "surrogate", 5.0, 200)  # fmt: skip
    assert task.dataset == found.dataset
    assert task.recipe == found.settings.recipe
    assert task.space_settings == found.settings.space_settings
    assert task.seed == claims.training_seed(7, 1, 0)
    assert task.resume is None
    tried = attempt_of(database, claim.lease)
    assert (tried.number, tried.worker_id, tried.host, tried.outcome) == (1, worker_id, "node1", "running")

    enqueued(database, purpose="retrain", priority=1)
    assert factories.must_claim(database, worker_id).task.timeout_s is None


def test_a_training_seed_is_stable_and_depends_on_all_of_its_parts() -> None:
    assert claims.training_seed(1, 2, 3) == 4144257518
    seeds = {claims.training_seed(*parts) for parts in itertools.product(range(4), repeat=3)}
    assert len(seeds) == 64
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_no_evaluation_is_claimed_twice(database: Database, database_url: str) -> None:
    factories.running(database)
    enqueued(database, number=198)
    workers = [factories.registered_worker(database) for _ in range(8)]

    def claim_all(worker_id: int) -> list[int]:
        own = Database.open(database_url)
        taken: list[int] = []
        while (claim := factories.claimed(own, worker_id)) is not None:
            taken.append(claim.lease.evaluation_id)
        own.dispose()
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [one for found in pool.map(claim_all, workers) for one in found]
    assert len(taken) == len(set(taken)) == 200
    with database.read() as connection:
        numbers = select(func.count(), func.count(attempt.c.token.distinct()), func.max(attempt.c.number))
        assert tuple(connection.execute(numbers).one()) == (200, 200, 1)


# --- guarded writes ----------------------------------------------------------------------------------

GUARDED: dict[str, Callable[[Connection, Lease], None]] = {
    "attempt_started": lambda c, lease: leases.attempt_started(
        c, lease, dtype="float32", resumed_from_epoch=None
    ),
    "record_epochs": lambda c, lease: leases.record_epochs(c, lease, [EPOCH]),
    "record_checkpoint": lambda c, lease: leases.record_checkpoint(c, lease, saved(lease, 1)),
    "complete": lambda c, lease: leases.complete(c, lease, {"error": 0.1, "loss": 0.2}, log_tail="end"),
    "fail": lambda c, lease: leases.fail(c, lease, "diverged", "NaN", log_tail="end"),
    "crash": lambda c, lease: leases.fail(c, lease, "crash", "killed", log_tail="end"),
    "release": lambda c, lease: leases.release(c, lease, log_tail="end"),
    "environment_fault": lambda c, lease: leases.environment_fault(c, lease, "no data", log_tail="end"),
}


def saved(lease: Lease, epoch: int, kind: str = "resume") -> SavedCheckpoint:
    key = f"{lease.evaluation_id}/{lease.token}/{epoch}.{kind}"
    return SavedCheckpoint(kind, epoch, key, sha256="0" * 64, bytes=epoch)


def everything(database: Database) -> list[object]:
    with database.read() as connection:
        tables = (evaluation, attempt, epoch_metric, checkpoint, objective_value)
        return [connection.execute(table.select().order_by(*table.primary_key)).all() for table in tables]


@pytest.mark.parametrize("fate", ["reaped", "taken", "done", "deleted"])
def test_no_write_passes_once_the_lease_is_lost(database: Database, fate: str) -> None:
    found = factories.running(database)
    late = factories.must_claim(database, factories.registered_worker(database), lease_s=-1).lease
    if fate in ("reaped", "taken"):
        assert do(database, leases.reap) == 1
    if fate == "taken":
        factories.must_claim(database, factories.registered_worker(database))
    if fate == "done":
        do(database, leases.complete, late, {"error": 0.5})
    if fate == "deleted":
        do(database, experiments.remove, found)
    before = everything(database)

    for write in GUARDED.values():
        with pytest.raises(LeaseLost, match=f"evaluation {late.evaluation_id}"):
            do(database, write, late)
    assert everything(database) == before


def test_a_lease_that_ran_out_still_holds_until_it_is_reaped(database: Database) -> None:
    factories.running(database)
    lease = factories.must_claim(database, factories.registered_worker(database), lease_s=-1).lease
    do(database, leases.complete, lease, {"error": 0.5})

    assert do(database, leases.reap) == 0
    assert row_of(database, lease.evaluation_id).state == "done"


def test_a_row_written_again_changes_nothing(database: Database) -> None:
    """After a COMMIT whose outcome is unknown, a worker writes its rows again."""
    lease = claimed_lease(database)
    for name in ("attempt_started", "record_epochs", "record_checkpoint"):
        do(database, GUARDED[name], lease)
    before = everything(database)[2]
    for name in ("attempt_started", "record_epochs", "record_checkpoint"):
        do(database, GUARDED[name], lease)

    assert everything(database)[2] == before
    with database.read() as connection:
        assert connection.execute(select(checkpoint.c.key)).scalars().all() == [saved(lease, 1).key]


# --- heartbeat and expiry ----------------------------------------------------------------------------


def test_a_heartbeat_tells_which_leases_are_held(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    first = factories.must_claim(database, worker_id, lease_s=-1).lease
    do(database, leases.reap)
    again = factories.must_claim(database, worker_id, lease_s=-1).lease
    second = factories.must_claim(database, worker_id, lease_s=-1).lease

    answer = do(database, leases.heartbeat, worker_id, [first, again, second], 60.0)
    held = frozenset({again.token, second.token})
    assert answer == leases.Heartbeat(held, frozenset(), drain=False, is_known=True)
    assert do(database, leases.reap) == 0
    assert do(database, leases.heartbeat, worker_id, [], 60.0).held == frozenset()


def test_a_heartbeat_hands_back_the_search_of_a_stopped_experiment_only(database: Database) -> None:
    factories.running(database)
    factories.running(database, "other")
    enqueued(database, purpose="retrain", priority=1)
    worker_id = factories.registered_worker(database)
    retrain, search = (factories.must_claim(database, worker_id).lease for _ in range(2))
    other = factories.claimed(database, worker_id, after=factories.current(database).id)
    assert other is not None
    set_state(database, "search", "stopped")

    answer = do(database, leases.heartbeat, worker_id, [retrain, search, other.lease], 60.0)
    assert answer.held == {retrain.token, search.token, other.lease.token}
    assert answer.hand_back == {search.token}


def test_a_heartbeat_tells_a_worker_to_drain(database: Database) -> None:
    worker_id = factories.registered_worker(database)
    do(database, claims.worker_state, worker_id, "draining", "asked to leave")
    assert do(database, leases.heartbeat, worker_id, [], 60.0).drain


def test_expiry_is_by_the_clock_of_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.running(database)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # the client is decades ahead
    lease = factories.must_claim(database, factories.registered_worker(database), lease_s=60).lease

    assert do(database, leases.reap) == 0
    left = row_of(database, lease.evaluation_id).lease_expires_at - datetime.now(UTC)
    assert timedelta(seconds=30) < left <= timedelta(seconds=60)


# --- how it ends -------------------------------------------------------------------------------------


def test_lost_leases_strike_until_the_evaluation_fails(database: Database) -> None:
    factories.running(database, max_attempts=3)
    worker_id = factories.registered_worker(database)
    tokens = []
    for strikes in (1, 2, 3):
        lease = factories.must_claim(database, worker_id, lease_s=-1).lease
        tokens.append(lease.token)
        assert do(database, leases.reap) == 1
        row = row_of(database, lease.evaluation_id)
        assert (row.attempts, row.strikes) == (strikes, strikes)
        assert attempt_of(database, lease).outcome == "lost"
    assert (row.state, row.failure_kind) == ("failed", "lost")
    assert "lease ran out" in row.failure_message
    assert len(set(tokens)) == 3


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_only_what_need_not_happen_again_is_retried(database: Database, kind: str) -> None:
    lease = claimed_lease(database)
    do(database, leases.fail, lease, kind, "the reason", log_tail="last words")

    row = row_of(database, lease.evaluation_id)
    retried = kind in RETRIED_KINDS
    assert (row.state, row.strikes) == (("pending", 1) if retried else ("failed", 0))
    assert (row.failure_kind, row.failure_message) == ((None, None) if retried else (kind, "the reason"))
    tried = attempt_of(database, lease)
    assert (tried.outcome, tried.failure_kind, tried.message) == ("failed", kind, "the reason")
    assert tried.log_tail == "last words"


def test_a_fault_of_the_host_costs_no_try_and_keeps_this_worker_away(database: Database) -> None:
    factories.running(database, max_attempts=1)
    here, there = factories.registered_worker(database), factories.registered_worker(database)
    lease = factories.must_claim(database, here).lease
    do(database, leases.environment_fault, lease, "no data here")

    row = row_of(database, lease.evaluation_id)
    assert (row.state, row.strikes, row.attempts) == ("pending", 0, 1)
    assert factories.must_claim(database, here).lease.evaluation_id != lease.evaluation_id
    assert factories.claimed(database, here) is None
    again = factories.must_claim(database, there)
    assert (again.lease.evaluation_id, again.attempt) == (lease.evaluation_id, 2)


def test_a_release_costs_nothing_and_keeps_nobody_away(database: Database) -> None:
    factories.running(database, max_attempts=1)
    worker_id = factories.registered_worker(database)
    for number in (1, 2, 3):
        claim = factories.must_claim(database, worker_id)
        assert claim.attempt == number
        do(database, leases.release, claim.lease)
        assert attempt_of(database, claim.lease).outcome == "released"
    assert row_of(database, claim.lease.evaluation_id).strikes == 0


def test_a_claim_whose_answer_was_lost_is_handed_back_by_its_token(database: Database) -> None:
    factories.running(database)
    worker_id, token = factories.registered_worker(database), claims.new_token()
    with database.write() as connection:
        offers = claims.offers(connection)
        claimed = claims.claim(
            connection, worker_id, token=token, slot=0, device="cpu", device_name="a processor", versions={},
            lease_s=60.0, offers=offers,
        )  # fmt: skip
    assert claimed is not None
    assert claimed.lease.token == token
    other = factories.must_claim(database, worker_id).lease
    assert do(database, leases.release_tokens, [token, claims.new_token()]) == 1
    row = row_of(database, claimed.lease.evaluation_id)
    assert (row.state, row.strikes) == ("pending", 0)
    assert attempt_of(database, claimed.lease).outcome == "released"
    assert row_of(database, other.evaluation_id).state == "running"
    assert do(database, leases.release_tokens, [token]) == 0
    assert do(database, leases.release_tokens, []) == 0


def test_a_token_that_was_lost_since_hands_nothing_back(database: Database) -> None:
    lost = claimed_lease(database)
    with database.write() as connection:
        connection.execute(update(evaluation).values(token="of another worker"))
    assert do(database, leases.release_tokens, [lost.token]) == 0
    assert row_of(database, lost.evaluation_id).state == "running"


def test_finished_under_tells_whether_the_attempt_ended(database: Database) -> None:
    lease = claimed_lease(database)
    with database.read() as connection:
        assert not leases.finished_under(connection, lease)
    do(database, leases.complete, lease, {"error": 0.5})
    with database.read() as connection:
        assert leases.finished_under(connection, lease)
        assert not leases.finished_under(connection, Lease(lease.evaluation_id, "another"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_the_database_refuses_a_value_that_is_not_finite(database: Database, value: float) -> None:
    lease = claimed_lease(database)
    before = everything(database)
    with pytest.raises(IntegrityError):
        do(database, leases.complete, lease, {"error": 0.5, "loss": value})
    assert everything(database) == before


def test_texts_are_kept_as_far_as_a_database_can(database: Database) -> None:
    lease = claimed_lease(database)
    tail = "first" + "ä\x00" * LOG_TAIL_BYTES + "\udc80 last"
    do(database, leases.fail, lease, "error", "bad\x00 name \udc80", log_tail=tail)

    tried = attempt_of(database, lease)
    assert tried.log_tail.endswith("ä? last")
    assert LOG_TAIL_BYTES - 2 <= len(tried.log_tail.encode()) <= LOG_TAIL_BYTES
    assert tried.message == row_of(database, lease.evaluation_id).failure_message == "bad name ?"


# --- epochs, checkpoints, data sets ------------------------------------------------------------------


def test_a_resumed_attempt_writes_over_the_epochs_of_the_one_before(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    first = factories.must_claim(database, worker_id).lease
    for number in (1, 2):
        do(database, leases.record_epochs, first, [Epoch(number, 9.0, 0.9, None, None, 0.1, 1.0)])
    do(database, leases.release, first)
    second = factories.must_claim(database, worker_id).lease
    do(database, leases.record_epochs, second, [Epoch(2, 1.0, 0.1, 2.0, 0.2, 0.05, 3.0, {"images": 10})])

    with database.read() as connection:
        rows = connection.execute(select(epoch_metric).order_by(epoch_metric.c.epoch)).all()
    assert [(row.epoch, row.train_loss, row.validation_loss, row.extra) for row in rows] == [
        (1, 9.0, None, None),
        (2, 1.0, 2.0, {"images": 10}),
    ]


def test_the_last_resume_checkpoint_is_offered_and_older_ones_are_pruned(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    first = factories.must_claim(database, worker_id).lease
    for epoch in (1, 2):
        do(database, leases.record_checkpoint, first, saved(first, epoch))
    do(database, leases.record_checkpoint, first, saved(first, 2, "weights"))
    with database.read() as connection:
        old = leases.old_checkpoints(connection, first.evaluation_id)
    assert old == [saved(first, 1).key]
    do(database, leases.forget_checkpoints, old)
    do(database, leases.release, first)

    second = factories.must_claim(database, worker_id)
    assert second.lease.evaluation_id == first.evaluation_id
    assert second.task.resume == Resume(saved(first, 2).key, "0" * 64, 2)
    do(database, leases.complete, second.lease, {"error": 0.5})
    with database.read() as connection:
        assert leases.old_checkpoints(connection, first.evaluation_id) == [saved(first, 2).key]
        kept = connection.execute(select(checkpoint.c.kind).order_by(checkpoint.c.id)).scalars().all()
    assert kept == ["resume", "weights"]


def test_the_first_hash_of_a_data_set_counts(database: Database) -> None:
    data = factories.created(database).dataset
    assert do(database, claims.register_dataset, data.id, "a" * 64) == "a" * 64
    assert do(database, claims.register_dataset, data.id, "b" * 64) == "a" * 64
    with database.read() as connection:
        assert connection.execute(text("SELECT sha256 FROM dataset")).scalar() == "a" * 64


def test_any_number_of_checkpoints_can_be_forgotten_at_once(database: Database) -> None:
    """PostgreSQL takes 65,535 values in a statement, SQLite a number that depends on how it was built."""
    lease = claimed_lease(database)
    last = saved(lease, 1)
    do(database, leases.record_checkpoint, lease, last)
    do(database, leases.forget_checkpoints, [*(f"1/{number}" for number in range(260_000)), last.key])
    with database.read() as connection:
        assert connection.execute(select(checkpoint)).all() == []


def test_the_next_holder_hears_how_long_the_epochs_took_that_it_need_not_repeat(database: Database) -> None:
    factories.running(database, timeout=100.0)
    worker_id = factories.registered_worker(database)
    first = factories.must_claim(database, worker_id)
    assert first.trained_s == 0.0
    epochs = [replace(EPOCH, number=number, seconds=10.0 + number) for number in (1, 2, 3)]
    do(database, leases.record_epochs, first.lease, epochs)
    do(database, leases.record_checkpoint, first.lease, saved(first.lease, 2))
    do(database, leases.release, first.lease)

    second = factories.must_claim(database, worker_id)
    assert (second.lease.evaluation_id, second.task.timeout_s) == (first.lease.evaluation_id, 100.0)
    assert second.trained_s == 23.0
