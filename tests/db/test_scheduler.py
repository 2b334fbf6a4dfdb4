"""The scheduler's step: budget, births, selection, leadership; and that replay derives it all again."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text

from evolver.errors import LeadershipLost, LeaseLost
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.step import Search
from evolver.store import experiments, facts, leadership, leases, queue, schema
from evolver.store.claims import Claim
from evolver.store.db import Database
from tests import factories


def scalar(database: Database, statement: str) -> object:
    with database.read() as connection:
        return connection.execute(text(statement)).scalar()


@pytest.mark.parametrize("selector", ["moead", "smsemoa"])
def test_a_search_spends_exactly_its_budget_and_replays(database: Database, selector: str) -> None:
    found = factories.finished(database, budget=40, population=8, selector=selector, seed=3)

    assert (found.state, found.state_reason) == ("finished", "budget")
    assert found.born == found.ingested == 40
    assert scalar(database, "SELECT count(*) FROM evaluation WHERE state = 'done'") == 40
    assert scalar(database, "SELECT count(DISTINCT ingest_no) FROM evaluation") == 40
    report = replay(database, "search")
    assert report.is_clean, report.differences
    assert (report.births, report.results) == (40, 40)
    assert report.changes > 8


def test_replay_finds_what_was_changed_behind_its_back(database: Database) -> None:
    factories.finished(database, budget=20, population=4)
    ninth = "evaluation_id = (SELECT id FROM evaluation WHERE ingest_no = 9)"
    with database.write() as connection:
        connection.execute(
            text(f"UPDATE objective_value SET value = 0.001 WHERE objective = 'error' AND {ninth}")
        )

    assert not replay(database, "search").is_clean


def test_births_are_random_until_the_population_is_full(database: Database) -> None:
    factories.finished(database, budget=30, population=6)

    assert scalar(database, "SELECT count(*) FROM genome WHERE operator = 'random'") >= 6  # type: ignore[operator]
    early = "SELECT count(*) FROM genome WHERE born_after_ingest < 6 AND operator <> 'random'"
    assert scalar(database, early) == 0
    assert scalar(database, "SELECT count(*) FROM genome WHERE operator LIKE 'crossover%'") > 5  # type: ignore[operator]


def test_the_front_holds_what_no_other_result_dominates(database: Database) -> None:
    found = factories.finished(database, budget=40, population=8)
    with database.read() as connection:
        everything = facts.genomes(connection, found, states=["done"])
        front = {fact.genome_id for fact in facts.front_members(connection, found)}

    vectors = {fact.genome_id: (fact.objectives["error"], fact.objectives["loss"]) for fact in everything}
    expected = {
        key for key, (e, lo) in vectors.items()
        if not any(e2 <= e and l2 <= lo and (e2, l2) != (e, lo) for e2, l2 in vectors.values())
    }  # fmt: skip
    assert {vectors[key] for key in front} == {vectors[key] for key in expected}


def test_failures_count_against_the_budget_and_hold_no_slot(database: Database) -> None:
    def fail_every_third(database: Database, claim: Claim) -> None:
        if claim.task.genome_id % 3 == 0:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    found = factories.finished(database, budget=30, population=4, end=fail_every_third)

    assert found.born == found.ingested == 30
    assert found.failed == scalar(database, "SELECT count(*) FROM evaluation WHERE state = 'failed'") > 0
    failed = "SELECT count(*) FROM membership JOIN evaluation USING (genome_id) WHERE state = 'failed'"
    assert scalar(database, failed) == 0
    assert replay(database, "search").is_clean


def test_the_queue_is_kept_at_its_depth(database: Database) -> None:
    factories.created(database, budget=100)
    factories.registered_worker(database, slots=21)
    Scheduler(database).step()

    with database.read() as connection:
        assert queue.depth(connection, factories.current(database).id).pending == 6


def test_patience_ends_a_search_whose_front_stands_still(database: Database) -> None:
    def always_the_same(database: Database, claim: Claim) -> None:
        factories.complete(database, claim, {"error": 0.5, "loss": 1.0})

    found = factories.finished(database, budget=100, patience=7, end=always_the_same)

    assert (found.state, found.state_reason) == ("finished", "patience")
    assert found.front_changed_at == 1
    assert 8 <= found.ingested < 12


def test_hours_end_a_search(database: Database) -> None:
    factories.created(database, budget=100, max_hours=1.0)
    with database.write() as connection:
        connection.execute(text("UPDATE experiment SET active_s = 3601"))
    Scheduler(database).step()

    assert factories.current(database).state_reason == "max-hours"


def test_an_extended_search_goes_on(database: Database) -> None:
    found = factories.finished(database, budget=12)
    with database.write() as connection:
        experiments.extend(connection, found, 20)
    factories.run_to_the_end(database)

    assert factories.current(database).ingested == 20
    assert replay(database, "search").is_clean


def test_a_search_whose_budget_was_raised_meanwhile_does_not_finish(database: Database) -> None:
    stale = factories.running(database)
    with database.write() as connection:
        experiments.extend(connection, stale, 20)
        assert not experiments.finish(connection, stale, "budget")
        assert experiments.finish(connection, experiments.get(connection, "search"), "budget")


def test_a_paused_search_ingests_and_breeds_nothing(database: Database) -> None:
    factories.running(database)
    claim = factories.must_claim(database, factories.registered_worker(database))
    scheduler = Scheduler(database)
    scheduler.step()
    found = factories.current(database)
    with database.write() as connection:
        experiments.transition(connection, factories.current(database), "paused")
    factories.complete(database, claim)
    scheduler.step()

    after = factories.current(database)
    assert (after.ingested, after.born) == (1, found.born)
    assert factories.claimed(database, factories.registered_worker(database)) is None


def test_one_scheduler_leads_and_a_frozen_one_writes_nothing(database: Database) -> None:
    factories.created(database)
    with database.write() as connection:
        first = leadership.lead(connection, factories.current(database).id, "first", lease_s=-1)
        assert first is not None
    with database.read() as connection:
        frozen = Search(connection, factories.current(database), first)
    second = Scheduler(database)
    second.step()
    born = factories.current(database).born

    with pytest.raises(LeadershipLost):
        frozen.step(database)
    assert factories.current(database).born >= born
    with database.write() as connection:
        assert leadership.lead(connection, factories.current(database).id, "third", lease_s=10) is None
    second.close()
    with database.write() as connection:
        assert leadership.lead(connection, factories.current(database).id, "third", lease_s=10) is not None


def test_a_step_is_written_as_a_whole_or_not_at_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.created(database)
    for point in ("scheduler.mid_step", "scheduler.before_commit"):
        scheduler = Scheduler(database)
        monkeypatch.setenv("EVOLVER_FAILPOINTS", f"{point}=raise")
        with pytest.raises(RuntimeError, match="failpoint"):
            scheduler.step()
        monkeypatch.delenv("EVOLVER_FAILPOINTS")
        scheduler.close()
    assert scalar(database, "SELECT count(*) FROM genome") == 0
    assert factories.current(database).born == 0

    scheduler = Scheduler(database)
    monkeypatch.setenv("EVOLVER_FAILPOINTS", "scheduler.after_commit=raise")
    with pytest.raises(RuntimeError, match="failpoint"):
        scheduler.step()
    monkeypatch.delenv("EVOLVER_FAILPOINTS")
    scheduler.close()
    factories.run_to_the_end(database)
    assert replay(database, "search").is_clean


def test_a_duplicate_takes_the_result_of_its_twin_untrained(database: Database) -> None:
    found = factories.finished(database, budget=30, population=4, space_settings=factories.FEW_PHENOTYPES)

    assert found.ingested == 30
    copies = (
        "SELECT count(*) FROM genome g JOIN evaluation e ON e.genome_id = g.id "
        "WHERE g.duplicate_of IS NOT NULL"
    )
    number = scalar(database, copies)
    assert isinstance(number, int)
    assert number > 10
    assert scalar(database, copies + " AND e.state = 'done' AND e.attempts = 0") == number
    different = """
        SELECT count(*) FROM genome g
        JOIN evaluation e ON e.genome_id = g.id JOIN objective_value v ON v.evaluation_id = e.id
        JOIN evaluation te ON te.genome_id = g.duplicate_of
        JOIN objective_value tv ON tv.evaluation_id = te.id AND tv.objective = v.objective
        WHERE v.value <> tv.value"""
    assert scalar(database, different) == 0
    assert replay(database, "search").is_clean


def test_a_duplicate_never_inherits_a_failure_of_the_infrastructure(database: Database) -> None:
    def crash(database: Database, claim: Claim) -> None:
        if claim.task.genome_id == 1:
            factories.fail(database, claim, "crash", "killed by SIGKILL")
        else:
            factories.complete(database, claim)

    factories.finished(
        database, budget=20, population=4, max_attempts=1, space_settings=factories.FEW_PHENOTYPES, end=crash
    )
    copied = "SELECT count(*) FROM evaluation WHERE failure_kind = 'crash' AND genome_id <> 1"
    assert scalar(database, copied) == 0
    assert scalar(database, "SELECT count(*) FROM evaluation WHERE failure_kind = 'crash'") == 1


def test_limits_refuse_genomes_at_birth(database: Database) -> None:
    factories.finished(database, budget=16, max_params=3_000)
    assert scalar(database, "SELECT max(params) FROM genome") <= 3_000  # type: ignore[operator]


def test_impossible_limits_pause_the_search_with_a_reason(database: Database) -> None:
    factories.created(database, max_params=1)
    Scheduler(database).step()

    found = factories.current(database)
    assert found.state == "paused"
    assert "max_params" in (found.state_reason or "")


def test_a_retried_failure_is_a_new_evaluation_beyond_the_budget(database: Database) -> None:
    def fail_the_first(database: Database, claim: Claim) -> None:
        if claim.task.genome_id == 1:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    found = factories.finished(database, end=fail_the_first)
    with database.write() as connection:
        failed = queue.failed_search(connection, experiment_id=found.id, kind="oom")
        assert [one.genome_id for one in failed] == [1]
        queue.retry(connection, failed[0])
        experiments.transition(connection, found, "running", "retry")
        assert queue.failed_search(connection, experiment_id=found.id) == []
    factories.run_to_the_end(database)

    after = factories.current(database)
    assert (after.born, after.ingested, after.failed) == (12, 13, 0)
    assert replay(database, "search").is_clean


def test_who_leads_a_step_changes_nothing(database: Database) -> None:
    """A new scheduler for every step derives the same search as one for all."""
    for name in ("one", "many"):
        factories.created(database, name, budget=20, seed=5)
    factories.run_to_the_end(database, "one", worker_id=(worker_id := factories.registered_worker(database)))
    factories.run_with_new_leaders(database, "many", worker_id)

    one, many = (_codes(database, name) for name in ("one", "many"))
    assert one == many


def _codes(database: Database, name: str) -> list[object]:
    query = select(schema.genome.c.code).order_by(schema.genome.c.birth)
    with database.read() as connection:
        found = experiments.get(connection, name)
        return list(connection.execute(query.where(schema.genome.c.experiment_id == found.id)).scalars())


def test_results_are_numbered_without_gaps_when_two_end_at_once(database: Database) -> None:
    factories.running(database)
    worker_id = factories.registered_worker(database)
    for claim in [factories.must_claim(database, worker_id), factories.must_claim(database, worker_id)]:
        factories.complete(database, claim)
    Scheduler(database).step()
    with database.read() as connection:
        numbers = select(schema.evaluation.c.ingest_no).where(schema.evaluation.c.ingest_no.is_not(None))
        assert sorted(connection.execute(numbers).scalars()) == [1, 2]
        assert connection.execute(select(func.max(schema.experiment.c.ingested))).scalar() == 2


def test_expired_leases_are_taken_back_by_the_scheduler(database: Database) -> None:
    factories.running(database)
    claim = factories.must_claim(database, factories.registered_worker(database), lease_s=-1)
    Scheduler(database).step()
    with database.write() as connection, pytest.raises(LeaseLost):
        leases.complete(connection, claim.lease, {})
