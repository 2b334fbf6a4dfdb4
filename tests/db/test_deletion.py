"""A deletion that was interrupted: nobody goes on with what is left, and repeating the command ends it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from evolver import doctor, recipe, retraining
from evolver.cli import infull
from evolver.errors import LeaseLost, NotFound
from evolver.scheduler import Scheduler
from evolver.store import experiments, leadership, leases
from evolver.store.db import Database
from evolver.store.schema import evaluation
from evolver.store.states import EXPERIMENT_STATES
from tests import factories
from tests.acceptance.helpers import cli, facts_of, refused
from tests.factories import do

END_IT = "experiment 'search' is being deleted; end that: evolver delete search"


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


def half_deleted(database: Database) -> experiments.Experiment:
    """A finished search without its last genome, since its deletion was cut off after the first part."""
    found = factories.finished(database)
    do(database, experiments.begin_removal, found)
    do(database, experiments.remove_genomes, found, 1)
    return factories.current(database)


@pytest.mark.parametrize(
    "command",
    [
        ("run", "search", "--workers", "0"),
        ("resume", "search"),
        ("pause", "search"),
        ("stop", "search"),
        ("extend", "search", "--budget", "40"),
        ("retry", "1"),
        ("retry", "--kind", "oom", "search"),
        ("retrain", "search", "--workers", "0"),
        ("scheduler", "search"),
        ("worker", "search"),
        ("new", "search"),
    ],
    ids=" ".join,
)
def test_every_command_that_would_go_on_refuses(database: Database, command: tuple[str, ...]) -> None:
    half_deleted(database)
    before = facts_of("list", url=url_of(database))
    assert END_IT in refused(*command, url=url_of(database))
    assert facts_of("list", url=url_of(database)) == before


def test_it_is_shown_and_the_same_command_ends_it(database: Database) -> None:
    half_deleted(database)
    url = url_of(database)
    assert [one["state"] for one in facts_of("list", url=url)] == ["deleting"]
    assert "deleting" in cli("status", "search", url=url).stdout
    findings = {one.check: one for one in doctor.examine(database)}
    assert (findings["deletions"].level, findings["deletions"].remedy) == (
        "warning", "end it: evolver delete search")  # fmt: skip
    assert findings["rows"].level == "ok"

    assert "deleted 'search'" in cli("delete", "search", "--yes", url=url).stdout
    assert facts_of("list", url=url) == []
    factories.created(database)


@pytest.mark.parametrize("state", EXPERIMENT_STATES)
def test_a_deletion_begins_in_every_state_and_nothing_is_left_to_do(database: Database, state: str) -> None:
    found = factories.running(database)
    worker_id = factories.registered_worker(database)
    claim = factories.must_claim(database, worker_id)
    factories.enqueued(database, purpose="retrain")
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE experiment SET state = '{state}'")
    do(database, experiments.begin_removal, found)

    assert factories.claimed(database, worker_id) is None
    assert do(database, leases.heartbeat, worker_id, [claim.lease], 60.0).held == frozenset()
    with pytest.raises(LeaseLost):
        factories.complete(database, claim)
    with database.read() as connection:
        open_now = evaluation.c.state.in_(["pending", "running"])
        assert connection.execute(select(evaluation.c.id).where(open_now)).first() is None
    assert factories.current(database).state == "deleting"


def test_no_scheduler_leads_it_even_when_the_remover_was_killed_long_ago(database: Database) -> None:
    found = factories.finished(database)
    factories.created(database, "other")
    do(database, experiments.begin_removal, found)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE leader SET expires_at = '2020-01-01 00:00:00.000'")
        connection.exec_driver_sql(
            "UPDATE evaluation SET ingest_no = NULL"
        )  # results that wait to be taken in
    assert do(database, leadership.lead, found.id, "host:1:x", 15.0) is None
    scheduler = Scheduler(database)
    scheduler.step()
    assert [search.experiment.settings.name for search in scheduler._led.values()] == ["other"]
    scheduler.close()
    assert factories.current(database).ingested == found.ingested


def test_a_retraining_that_is_waited_for_ends_with_the_reason(database: Database) -> None:
    found = factories.finished(database)
    asked = do(database, retraining.enqueue, found, (), recipe.parse(found.settings.recipe))
    assert {one.state for one in infull.rows(database, asked)} == {"pending"}
    do(database, experiments.begin_removal, found)
    with pytest.raises(NotFound, match="were deleted meanwhile"):
        infull.rows(database, asked)
