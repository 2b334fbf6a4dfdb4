"""What commands do in the middle of a scheduler's step, and results that come after the end of a search."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest
from sqlalchemy import text

from evolver import failpoints
from evolver.cli.experiments import _delete
from evolver.cli.genomes import _reopen
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.store import details, experiments, leases, queue
from evolver.store.claims import Claim
from evolver.store.db import Database
from tests import factories


def once_before_a_write(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do this once, after a step was computed and before it is written."""
    acted: list[bool] = []

    def reach(name: str) -> None:
        if name == "scheduler.before_step" and not acted:
            acted.append(True)
            act()

    monkeypatch.setattr(failpoints, "reach", reach)


def test_a_deletion_that_begins_while_a_step_is_computed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = factories.running(database)
    scheduler = Scheduler(database)
    scheduler.step()
    factories.complete(database, factories.must_claim(database, factories.registered_worker(database)))

    def begin_to_delete() -> None:
        with database.write() as connection:
            experiments.begin_removal(connection, found)
            experiments.remove_genomes(connection, found, 1_000)

    once_before_a_write(monkeypatch, begin_to_delete)
    scheduler.step()
    scheduler.step()
    _delete(database, factories.current(database))
    scheduler.step()
    with database.read() as connection:
        assert experiments.find(connection, "search") is None


def test_a_retry_while_the_last_step_is_computed_keeps_the_search_running(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_the_first(database: Database, claim: Claim) -> None:
        if claim.task.genome_id == 1:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    def retry_it() -> None:
        with database.write() as connection:
            failed = queue.failed_search(connection, kind="oom")
            for one in failed:
                queue.retry(connection, one)
            _reopen(connection, failed)

    found = factories.finished(database, end=fail_the_first)
    with database.write() as connection:  # as before its last step
        connection.execute(text("UPDATE experiment SET state = 'running', state_reason = NULL"))
    once_before_a_write(monkeypatch, retry_it)
    scheduler = Scheduler(database)
    scheduler.step()

    assert factories.current(database).state == "running"
    factories.complete(database, factories.must_claim(database, factories.registered_worker(database)))
    scheduler.step()
    after = factories.current(database)
    assert (after.state, after.ingested) == ("finished", found.ingested + 1)
    scheduler.close()


@pytest.mark.parametrize("end", ["stopped", "finished"])
def test_results_that_were_under_way_at_the_end_are_taken_in(database: Database, end: str) -> None:
    factories.running(database)
    claim = factories.must_claim(database, factories.registered_worker(database))
    with database.write() as connection:
        found = experiments.get(connection, "search")
        if end == "finished":
            assert experiments.finish(connection, found, "patience")
        else:
            experiments.transition(connection, found, "stopped")
    factories.complete(database, claim)
    scheduler = Scheduler(database)
    scheduler.step()

    after = factories.current(database)
    assert (after.state, after.ingested, after.born) == (end, 1, found.born)
    assert replay(database, "search").is_clean
    scheduler._look_at = 0.0
    scheduler.step()
    assert scheduler._led == {}


def test_a_parent_that_was_tampered_with_pauses_its_search_alone(database: Database) -> None:
    for name in ("broken", "sound"):
        factories.created(database, name, budget=30)
    worker_id = factories.registered_worker(database)
    scheduler = Scheduler(database)
    for _ in range(8):
        scheduler.step()
        for name in ("broken", "sound"):
            factories.complete(database, factories.must_claim(database, worker_id, names=[name]))
    scheduler.close()
    broken = factories.current(database, "broken")
    with database.write() as connection:
        if database.is_sqlite:
            connection.execute(text("DROP TRIGGER genome_is_immutable"))
        else:
            connection.execute(text("ALTER TABLE genome DISABLE TRIGGER genome_is_immutable"))
        connection.execute(text("UPDATE genome SET code = '{}' WHERE experiment_id = :id"), {"id": broken.id})
    ingested = factories.current(database, "sound").ingested
    Scheduler(database).step()

    paused = factories.current(database, "broken")
    assert paused.state == "paused"
    assert "has a code that is not valid" in (paused.state_reason or "")
    assert factories.current(database, "sound").ingested > ingested


def test_a_space_that_raises_pauses_its_search_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("broken", "sound"):
        factories.created(database, name, seed=ord(name[0]), budget=30)
    scheduler = Scheduler(database)
    scheduler.step()
    worker_id = factories.registered_worker(database)
    for name in ("broken", "sound"):
        factories.complete(database, factories.must_claim(database, worker_id, names=[name]))
    breeder = scheduler._led[factories.current(database, "broken").id]._breeder
    raising = mock.Mock(wraps=breeder._space)
    raising.random.side_effect = ZeroDivisionError("of the plug-in")
    monkeypatch.setattr(breeder, "_space", raising)
    scheduler.step()

    paused = factories.current(database, "broken")
    assert (paused.state, paused.ingested) == ("paused", 0)
    assert "fails at birth 3: ZeroDivisionError: of the plug-in" in (paused.state_reason or "")
    assert factories.current(database, "sound").ingested == 1
    scheduler.step()
    assert factories.current(database, "broken").ingested == 1, "what had ended is taken in"
    scheduler.close()


@pytest.mark.parametrize("limit", [{"patience": 3}, {"max_hours": 1.0}])
def test_a_search_that_ended_by_a_limit_goes_on_when_it_is_extended(
    database: Database, limit: dict[str, float]
) -> None:
    def the_same(database: Database, claim: Claim) -> None:
        factories.complete(database, claim, {"error": 0.5, "loss": 1.0})
        with database.write() as connection:
            connection.execute(text("UPDATE experiment SET active_s = active_s + 1800"))

    found = factories.finished(database, budget=100, end=the_same, **limit)
    assert found.state_reason in ("patience", "max-hours")
    with database.write() as connection:
        experiments.extend(connection, found, 120)
    Scheduler(database).step()
    after = factories.current(database)
    assert after.state == "running"
    assert after.born >= found.born


def test_a_lone_worker_gets_an_evaluation_again_some_time_after_a_fault_of_its_host(
    database: Database,
) -> None:
    factories.running(database, budget=4)
    worker_id = factories.registered_worker(database)
    faulted = factories.must_claim(database, worker_id)
    with database.write() as connection:
        leases.environment_fault(connection, faulted.lease, "no space left")
    at_once = [factories.claimed(database, worker_id) for _ in range(4)]
    assert faulted.lease.evaluation_id not in {one.lease.evaluation_id for one in at_once if one}
    with database.write() as connection:
        then = "'2020-01-01 00:00:00.000'"
        connection.execute(text(f"UPDATE attempt SET ended_at = {then} WHERE outcome = 'environment'"))
    again = factories.must_claim(database, worker_id)
    assert again.lease.evaluation_id == faulted.lease.evaluation_id


def test_a_failure_that_was_retried_by_another_meanwhile_is_retried_once(database: Database) -> None:
    found = factories.running(database)
    factories.fail(database, factories.must_claim(database, factories.registered_worker(database)), "oom")
    with database.read() as connection:
        failed = queue.failed_search(connection, experiment_id=found.id)
    for _ in range(2):
        with database.write() as connection:
            queue.retry(connection, failed[0])
    with database.read() as connection:
        number = "SELECT count(*) FROM evaluation WHERE genome_id = :id"
        assert connection.execute(text(number), {"id": failed[0].genome_id}).scalar() == 2
    assert factories.current(database).failed == found.failed - 1


def test_a_code_that_is_no_json_can_be_claimed_and_shown(sqlite_url: str) -> None:
    """The evaluation fails as invalid in the training process; here nothing may stumble over it."""
    database = Database.open(sqlite_url)
    factories.running(database)
    with database.write() as connection:
        connection.execute(text("DROP TRIGGER genome_is_immutable"))
        connection.execute(text("UPDATE genome SET code = 'not json'"))
    claim = factories.must_claim(database, factories.registered_worker(database))
    assert claim.task.code == "not json"
    with database.read() as connection:
        assert details.genome_detail(connection, claim.task.genome_id).code == "not json"
    database.dispose()
