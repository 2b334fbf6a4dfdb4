"""What people read: status, fronts in time, one genome, lineage."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text

from evolver.errors import NotFound
from evolver.evaluation import Epoch, SavedCheckpoint
from evolver.scheduler import Scheduler
from evolver.store import claims, details, experiments, facts, fleet, history, leases, queue
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.schema import parentage
from tests import factories
from tests.factories import do, enqueued


def status(database: Database, name: str = "search") -> facts.Status:
    with database.read() as connection:
        return facts.status(connection, experiments.get(connection, name))


def test_status_before_anything_happened(database: Database) -> None:
    factories.created(database, budget=12)
    assert status(database) == facts.Status(
        experiment="search", state="created", state_reason=None, budget=12, evaluated=0, pending=0, running=0,
        failed=0, failures=(), front_size=0, best={}, workers=0, evaluations_per_hour=None, eta_s=None,
        leader=None, faulted_workers=())  # fmt: skip


def test_status_counts_what_a_search_does_now(database: Database) -> None:
    factories.created(database, budget=12)
    worker_id = factories.registered_worker(database, slots=16)
    scheduler = Scheduler(database)
    scheduler.step()
    claims = [factories.must_claim(database, worker_id) for _ in range(3)]
    factories.complete(database, claims[0], {"error": 0.2, "loss": 0.9})
    factories.fail(database, claims[1], "oom", "too large")
    enqueued(database, purpose="retrain")  # of no account for the search
    scheduler.step()

    now = status(database)
    assert (now.state, now.budget, now.workers, now.failed) == ("running", 12, 1, 1)
    assert (now.evaluated, now.running, now.pending) == (2, 1, 4)
    assert (now.front_size, now.best) == (1, {"error": 0.2, "loss": 0.9})
    assert now.leader == scheduler.holder.rsplit(":", 1)[0]
    scheduler.close()
    assert status(database).leader is None


def test_the_rate_is_that_of_the_last_results(database: Database) -> None:
    factories.finished(database, budget=12)
    spread(database, 10.0)
    with database.write() as connection:
        connection.execute(text("UPDATE experiment SET budget = 32, state = 'running'"))

    now = status(database)
    assert now.evaluations_per_hour == pytest.approx(360)
    assert now.eta_s == pytest.approx(200)
    do(database, experiments.transition, factories.current(database), "paused")
    assert status(database).eta_s is None


def spread(database: Database, every_s: float) -> None:
    """Have the results ended at such intervals."""
    ended_at = (
        f"strftime('%Y-%m-%d %H:%M:%f', '2030-01-01', (ingest_no * {every_s}) || ' seconds')"
        if database.is_sqlite
        else f"timestamptz '2030-01-01' + ingest_no * interval '{every_s} seconds'"
    )
    with database.write() as connection:
        connection.execute(text(f"UPDATE evaluation SET ended_at = {ended_at} WHERE ingest_no IS NOT NULL"))


@pytest.mark.parametrize(
    ("results", "every_s", "running", "per_hour"),
    [
        (4, 3600, 0, None),
        (5, 3600, 0, 1),
        (9, 1, 0, None),
        (12, 1, 0, 3600),
        (7, 3600, 4, None),
        (8, 3600, 4, 1),
    ],
    ids=["few", "enough", "hasty", "quick", "one wave", "two waves"],
)
def test_no_rate_is_told_too_early(
    database: Database, results: int, every_s: float, running: int, per_hour: float | None
) -> None:
    factories.created(database, budget=100)
    worker_id = factories.registered_worker(database, slots=16)
    scheduler = Scheduler(database)
    for _ in range(results):
        scheduler.step()
        factories.complete(database, factories.must_claim(database, worker_id))
    scheduler.step()
    scheduler.close()
    spread(database, every_s)
    for _ in range(running):
        factories.must_claim(database, worker_id)
    assert status(database).evaluations_per_hour == (per_hour and pytest.approx(per_hour, rel=1e-3))


def test_failures_are_told_by_kind_with_an_example(database: Database) -> None:
    def fail_all(database: Database, claim: Claim) -> None:
        factories.fail(database, claim, "oom" if claim.task.genome_id % 3 else "diverged")

    factories.finished(database, end=fail_all, budget=9)
    assert status(database).failures == (
        facts.FailureCount("oom", 6, 8),
        facts.FailureCount("diverged", 3, 9),
    )
    with database.write() as connection:
        for one in queue.failed_search(connection, kind="diverged"):
            queue.retry(connection, one)
    assert status(database).failures == (facts.FailureCount("oom", 6, 8),)


def test_workers_are_live_until_their_heartbeat_is_overdue(database: Database) -> None:
    factories.running(database)
    live, gone = factories.registered_worker(database), factories.registered_worker(database)
    faulted = factories.registered_worker(database, host="broken")
    factories.must_claim(database, live)
    do(database, leases.heartbeat, gone, [], -1.0)
    do(database, claims.worker_state, faulted, "faulted", "no data")

    with database.read() as connection:
        workers = fleet.live(connection)
    assert [(one.id, one.running) for one in workers] == [(live, 1)]
    assert 0 <= workers[0].seconds_since_heartbeat < 60
    assert status(database).faulted_workers == ("broken:1: no data",)


def test_the_front_of_any_time_is_what_the_stays_until_then_leave(database: Database) -> None:
    found = factories.finished(database, budget=30)
    with database.read() as connection:
        stays = history.memberships(connection, found.id, first=1, last=found.ingested)
        for at in range(found.ingested + 1):
            expected = {
                one.genome_id
                for one in stays
                if one.kind == "front" and one.entered_at <= at and (one.left_at is None or one.left_at > at)
            }
            front = facts.front_members(connection, found, at)
            assert {member.genome_id for member in front} == expected
            assert [m.objectives["error"] for m in front] == sorted(m.objectives["error"] for m in front)
        assert facts.front_members(connection, found, found.ingested) == facts.front_members(
            connection, found
        )


def test_genomes_are_listed_in_order_of_birth(database: Database) -> None:
    def fail_some(database: Database, claim: Claim) -> None:
        if claim.task.genome_id % 4 == 0:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    found = factories.finished(database, end=fail_some)
    with database.read() as connection:
        everything = facts.genomes(connection, found)
        failed = facts.genomes(connection, found, states=["failed"])
    assert [one.birth for one in everything] == list(range(1, 13))
    assert failed == [one for one in everything if one.failure_kind == "oom"] != []
    succeeded = [one for one in everything if one not in failed]
    assert all(list(one.objectives) == ["error", "loss"] for one in succeeded)
    assert all(set(one.other_values) == {"params", "flops"} for one in succeeded)
    assert all(one.objectives == {} for one in failed)


def test_a_genome_is_shown_with_all_its_evaluations(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database, host="node1")
    first = factories.must_claim(database, worker_id)
    factories.fail(database, first, "crash", "killed by SIGKILL")
    second = factories.must_claim(database, worker_id)
    with database.write() as connection:
        for number in (1, 2):
            leases.record_epochs(connection, second.lease, [Epoch(number, 1.0, 0.5, 1.1, 0.6, 0.1, 2.0)])
        saved = SavedCheckpoint("weights", 2, "the key", "0" * 64, 10)
        leases.record_checkpoint(connection, second.lease, saved)
    factories.complete(database, second, {"error": 0.25, "loss": 0.5})

    with database.read() as connection:
        detail = details.genome_detail(connection, first.task.genome_id)
    assert (detail.experiment, detail.birth, detail.operator, detail.parent_ids) == (
        "search",
        1,
        "random",
        (),
    )
    assert (detail.code, detail.rng_seed) == (first.task.code, (0, 1))
    assert abs((datetime.now(UTC) - detail.born_at).total_seconds()) < 60
    (shown,) = detail.evaluations
    assert (shown.purpose, shown.state, shown.weights) == ("search", "done", "the key")
    assert shown.objectives == {"error": 0.25, "loss": 0.5}
    assert [(one.number, one.host, one.outcome, one.message) for one in shown.attempts] == [
        (1, "node1", "failed", "killed by SIGKILL"), (2, "node1", "done", None)]  # fmt: skip
    assert [one.epoch for one in shown.curve] == [1, 2]


def test_a_lineage_holds_every_ancestor_at_its_least_distance(database: Database) -> None:
    found = factories.finished(database, budget=60)
    with database.read() as connection:
        parents: dict[int, list[int]] = {}
        for child, parent in connection.execute(select(parentage.c.child_id, parentage.c.parent_id)):
            parents.setdefault(child, []).append(parent)
        deepest = 0
        for one in facts.genomes(connection, found):
            lineage = details.lineage(connection, one.genome_id)
            assert {a.genome_id: a.distance for a in lineage} == distances(one.genome_id, parents)
            assert [a.distance for a in lineage] == sorted(a.distance for a in lineage)
            assert lineage[0].operator == one.operator
            assert all(sorted(a.parent_ids) == sorted(parents.get(a.genome_id, [])) for a in lineage)
            deepest = max(deepest, lineage[-1].distance)
    assert deepest >= 3


def distances(genome_id: int, parents: dict[int, list[int]]) -> dict[int, int]:
    found = {genome_id: 0}
    waiting = deque([genome_id])
    while waiting:
        one = waiting.popleft()
        for parent in parents.get(one, []):
            if parent not in found:
                found[parent] = found[one] + 1
                waiting.append(parent)
    return found


def test_an_id_that_is_not_there_is_not_found(database: Database) -> None:
    factories.created(database)
    with database.read() as connection:
        for look in (details.genome_detail, details.lineage):
            with pytest.raises(NotFound, match="no genome 99; 'evolver front NAME'"):
                look(connection, 99)
        assert details.curve(connection, 99) == []
