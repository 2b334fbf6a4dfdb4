"""Searches with constraints: what is born, what is selected, what people see, and that replay derives it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from evolver import config
from evolver.errors import InvalidInput
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.store import details, experiments, facts
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from tests import factories
from tests.factories import do

BUDGET = 30
ERROR_LIMIT = 0.3


def searched(database: Database, *constraints: str, **values: Any) -> Experiment:
    return factories.finished(database, budget=BUDGET, population=6, constraints=constraints, **values)


def column(database: Database, statement: str) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(text(statement)).scalars())


def fronts(database: Database, found: Experiment) -> list[list[facts.GenomeFact]]:
    """The front after each result."""
    with database.read() as connection:
        return [facts.front_members(connection, found, at) for at in range(found.ingested + 1)]


def test_constraints_are_kept_with_the_experiment(database: Database) -> None:
    found = factories.created(database, constraints=["params<=1e22", "error<=0.3"])
    assert [str(one) for one in found.settings.constraints] == ["error<=0.3", "params<=1e+22"]
    assert factories.current(database).settings == found.settings


def test_genomes_beyond_a_cost_are_never_born(database: Database) -> None:
    searched(database, "params<=20000", "flops>=100000", "activations<=9000")
    assert max(column(database, "SELECT params FROM genome")) <= 20_000
    assert min(column(database, "SELECT flops FROM genome")) >= 100_000
    assert max(column(database, "SELECT tries FROM genome")) > 1
    assert replay(database, "search").is_clean


def test_infeasible_genomes_are_never_in_the_front(database: Database) -> None:
    found = searched(database, f"error<={ERROR_LIMIT}")
    with database.read() as connection:
        everything = facts.genomes(connection, found, states=["done"])
    vectors = [(one.objectives["error"], one.objectives["loss"]) for one in everything]
    feasible = [(error, loss) for error, loss in vectors if error <= ERROR_LIMIT]
    assert 0 < len(feasible) < len(vectors)
    *before, now = fronts(database, found)
    assert all(one.objectives["error"] <= ERROR_LIMIT for front in before for one in front)
    assert {(one.objectives["error"], one.objectives["loss"]) for one in now} == {
        (e, lo) for e, lo in feasible if not any(e2 <= e and lo2 <= lo and (e2, lo2) != (e, lo)
                                                 for e2, lo2 in feasible)
    }  # fmt: skip
    report = replay(database, "search")
    assert report.is_clean, report.differences


def test_the_population_becomes_feasible(database: Database) -> None:
    searched(database, f"error<={ERROR_LIMIT}")
    state = replay(database, "search").state
    assert len(state.population) == 6
    assert max(one.objectives["error"] for one in state.population) <= ERROR_LIMIT


def test_who_leads_a_step_changes_nothing(database: Database) -> None:
    """A new scheduler for every step knows how far each genome is from being feasible."""
    limits = {"budget": 20, "constraints": ["error<=0.15", "params<=20000"], "seed_genomes": "known"}
    for name in ("one", "many"):
        factories.created(database, name, **limits)
    worker_id = factories.registered_worker(database)
    factories.run_to_the_end(database, "one", worker_id=worker_id)
    factories.run_with_new_leaders(database, "many", worker_id)

    one, many = (replay(database, name) for name in ("one", "many"))
    assert one.is_clean
    assert many.is_clean, many.differences
    births = "SELECT phenotype FROM genome WHERE experiment_id = {} ORDER BY birth"
    ids = [factories.current(database, name).id for name in ("one", "many")]
    assert column(database, births.format(ids[0])) == column(database, births.format(ids[1]))


def facts_status(database: Database) -> facts.Status:
    with database.read() as connection:
        return facts.status(connection, experiments.get(connection, "search"))


def test_status_says_when_no_genome_is_feasible_yet(database: Database) -> None:
    def complete(error: float) -> None:
        claim = factories.must_claim(database, worker_id)
        factories.complete(database, claim, {"error": error, "loss": 1.0})
        scheduler.step()

    factories.running(database, constraints=["error<=0.2"])
    worker_id, scheduler = factories.registered_worker(database), Scheduler(database)
    before = facts_status(database)
    assert (before.constraints, before.none_feasible) == (("error<=0.2",), False)
    complete(0.5)
    assert (facts_status(database).front_size, facts_status(database).none_feasible) == (0, True)
    complete(0.2)
    assert (facts_status(database).front_size, facts_status(database).none_feasible) == (1, False)


def test_a_genome_says_what_it_breaks(database: Database) -> None:
    factories.running(database, constraints=["error<=0.2", "loss<=2"])
    claim = factories.must_claim(database, factories.registered_worker(database))
    factories.complete(database, claim, {"error": 0.5, "loss": 1.0})
    (fact,) = do(database, details.genome_detail, claim.task.genome_id).evaluations
    assert fact.violated == ("error<=0.2",)


def test_the_views_know_what_is_feasible(database: Database) -> None:
    searched(database, "error<=0.4", "loss>=0.2", "params<=20000")
    with database.read() as connection:
        rows = connection.execute(text("SELECT * FROM leaderboard ORDER BY place, genome_id")).all()
    feasible = [row.error <= 0.4 and row.loss >= 0.2 for row in rows]
    assert [bool(row.is_feasible) for row in rows] == feasible
    assert feasible == sorted(feasible, reverse=True)
    assert 0 < feasible.count(True) < len(rows) == BUDGET
    errors = [row.error for row in rows if row.is_feasible]
    assert errors == sorted(errors)
    in_front = column(database, "SELECT genome_id FROM front")
    assert in_front
    assert set(in_front) <= {row.genome_id for row in rows if row.is_feasible}


def test_a_constraint_that_no_genome_can_keep_is_refused(database: Database) -> None:
    settings, data = factories.built(constraints=["params<=10"])
    with pytest.raises(InvalidInput, match=r"no genome within .* and params<=10 in 1000 tries"):
        config.require_possible(settings, data)


def test_an_impossible_constraint_pauses_the_search_with_a_reason(database: Database) -> None:
    factories.created(database, constraints=["flops<=10"])
    Scheduler(database).step()
    found = factories.current(database)
    assert found.state == "paused"
    assert "flops<=10" in (found.state_reason or "")


def test_a_search_without_a_feasible_genome_ends_with_its_budget(database: Database) -> None:
    def complete(database: Database, claim: Claim) -> None:
        factories.complete(database, claim, {"error": 0.5 + claim.task.genome_id / 1000, "loss": 1.0})

    found = searched(database, "error<=0.1", end=complete)
    assert (found.state_reason, found.ingested, facts_status(database).front_size) == ("budget", BUDGET, 0)
    state = replay(database, "search").state
    assert state.front == ()
    assert state.best == {}
    nearest = sorted(column(database, "SELECT value FROM objective_value WHERE objective = 'error'"))[0]
    assert nearest in [one.objectives["error"] for one in state.population]
