"""The options of breeding in whole searches: as recorded, as recounted, and as replayed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Row, text

from evolver import credit, selection
from evolver.replay import replay
from evolver.rng import birth_rng
from evolver.selection.base import Population
from evolver.store.claims import Claim
from evolver.store.db import Database
from tests import factories

BUDGET = 60
POPULATION = 6


def rows(database: Database, statement: str) -> list[Row[Any]]:
    with database.read() as connection:
        return list(connection.execute(text(statement)).all())


def some_fail(database: Database, claim: Claim) -> None:
    if claim.task.genome_id % 7 == 0:
        factories.fail(database, claim, "oom", "too large")
    else:
        factories.complete(database, claim)


def searched(database: Database, **values: Any) -> None:
    """A finished search in which some genomes failed, stepped with several births at a time."""
    given = {"budget": BUDGET, "population": POPULATION, "selector": "nsga2", **values}
    worker_id = factories.registered_worker(database, slots=4)
    factories.created(database, **given)
    factories.run_to_the_end(database, end=some_fail, worker_id=worker_id)


def parents_of(database: Database) -> dict[int, tuple[int, ...]]:
    """The parents of each birth, by number; ids and birth numbers are the same in these searches."""
    found: dict[int, tuple[int, ...]] = {row.birth: () for row in rows(database, "SELECT birth FROM genome")}
    for row in rows(database, "SELECT child_id, parent_id FROM parentage ORDER BY child_id, position"):
        found[row.child_id] = (*found[row.child_id], row.parent_id)
    return found


# --- evaluation-time bias ----------------------------------------------------------------------------


def test_offspring_counts_children_beside_time_and_exposure(database: Database) -> None:
    searched(database, objectives="error,params")
    parents = parents_of(database)
    children = Counter(parent for pair in parents.values() for parent in pair)
    born_after = {row.birth: row.born_after_ingest for row in rows(database, "SELECT * FROM genome")}
    front = {row.genome_id for row in rows(database, "SELECT genome_id FROM front")}
    results = {
        row.genome_id: row.ingest_no
        for row in rows(database, "SELECT genome_id, ingest_no FROM evaluation WHERE state = 'done'")
    }
    seconds = {
        row.genome_id: (row.ended_at, row.started_at)
        for row in rows(
            database,
            "SELECT v.genome_id, a.ended_at, a.started_at FROM attempt a "
            "JOIN evaluation v ON v.id = a.evaluation_id WHERE a.outcome = 'done'",
        )
    }
    view = rows(database, "SELECT * FROM offspring WHERE experiment = 'search'")

    assert len(view) == len(results) == BUDGET - BUDGET // 7
    assert sum(row.children for row in view) == sum(children.values()) > 0
    for row in view:
        assert row.ingest_no == results[row.genome_id]
        assert row.children == children[row.genome_id]
        assert row.exposure == sum(after >= row.ingest_no for after in born_after.values())
        assert bool(row.in_front) == (row.genome_id in front)
        assert (row.train_s is None) == (row.genome_id not in seconds)
        assert row.train_s is None or 0 <= row.train_s < 60


def test_parents_that_were_used_less_often_breed(database: Database) -> None:
    searched(database, parents="least-used")
    parents = parents_of(database)
    selector = selection.load("nsga2", POPULATION, 2)
    chosen_second = 0
    first_tries = [
        row
        for row in rows(database, "SELECT * FROM genome ORDER BY birth")
        if row.tries == 1 and row.operator not in ("random", "seed")
    ]
    for row in first_tries:
        population = population_at(database, row.born_after_ingest)
        rng = birth_rng(0, row.birth)
        pairs = [
            tuple(
                population.genome_ids[slot] or 0
                for slot in selector.parents(population, {}, row.slot, rng) or ()
            )
            for _ in range(2)
        ]
        uses = Counter(parent for birth, pair in parents.items() if birth < row.birth for parent in pair)
        best = min(pairs, key=lambda pair: sum(uses[one] for one in pair))
        assert parents[row.birth] == tuple(dict.fromkeys(best))
        chosen_second += best != pairs[0]
    assert len(first_tries) > 20
    assert chosen_second > 3
    report = replay(database, "search")
    assert report.is_clean, report.differences


def population_at(database: Database, at: int) -> Population:
    """The population after so many results, by the records alone."""
    population = Population.empty(POPULATION, 2)
    for row in rows(
        database,
        "SELECT m.slot, m.genome_id, e.value AS error, l.value AS loss FROM membership m "
        "JOIN evaluation v ON v.genome_id = m.genome_id "
        "JOIN objective_value e ON e.evaluation_id = v.id AND e.objective = 'error' "
        "JOIN objective_value l ON l.evaluation_id = v.id AND l.objective = 'loss' "
        f"WHERE kind = 'population' AND entered_at <= {at} AND (left_at IS NULL OR left_at > {at})",
    ):
        population = population.with_slot(row.slot, row.genome_id, (row.error, row.loss))  # type: ignore[arg-type]
    return population


def test_uses_are_spread_more_evenly(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    spread = {}
    for how in ("drawn", "least-used"):
        factories.finished(database, how, parents=how, population=12, budget=120, selector="nsga2")
        exposed = rows(
            database,
            f"SELECT children, exposure FROM offspring WHERE experiment = '{how}' AND exposure >= 50",
        )
        rates = [row.children / row.exposure for row in exposed if row.children]
        spread[how] = max(rates) / (sum(rates) / len(rates))
    database.dispose()
    assert spread["least-used"] < spread["drawn"]


# --- operators that learn ----------------------------------------------------------------------------


def test_credit_is_what_births_and_memberships_say(database: Database) -> None:
    searched(database, operators="learned", space_settings={"blocks": [1, 1], "channels": [4, 6]}, budget=90)
    entered = {
        row.genome_id
        for row in rows(
            database,
            "SELECT m.genome_id FROM membership m JOIN evaluation v ON v.genome_id = m.genome_id "
            "WHERE m.kind = 'front' AND m.entered_at = v.ingest_no",
        )
    }
    expected: credit.Credit = {}
    failed = 0
    for row in rows(
        database,
        "SELECT g.id, g.operator, g.duplicate_of, v.state FROM evaluation v "
        "JOIN genome g ON g.id = v.genome_id WHERE v.ingest_no IS NOT NULL ORDER BY v.ingest_no",
    ):
        if row.operator != "random" and row.duplicate_of is None:
            expected = credit.after(expected, row.operator, success=row.id in entered)
            failed += row.state == "failed"
    found = factories.current(database)
    assert found.operator_credit == expected
    assert failed > 3
    assert any(operator.startswith("mutation:") for operator in expected)
    assert any(alpha > 1 for alpha, _ in expected.values())
    report = replay(database, "search")
    assert report.is_clean, report.differences


def test_without_learning_there_is_no_credit(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    searched(database)
    assert factories.current(database).operator_credit == {}
    operators = {row.operator for row in rows(database, "SELECT operator FROM genome")}
    assert operators <= {"random", "crossover", "crossover+mutation", "mutation"}
    database.dispose()


def test_replay_finds_a_changed_credit(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    searched(database, operators="learned")
    with database.write() as connection:
        connection.execute(text("UPDATE experiment SET operator_credit = '{\"crossover\": [9.0, 1.0]}'"))
    differences = replay(database, "search").differences
    assert len(differences) == 1
    assert differences[0].startswith("operator_credit is {'crossover': [9.0, 1.0]}, derived {")
    assert replay(database, "search", until=BUDGET - 1).is_clean
    database.dispose()


def test_duplicates_teach_nothing(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    searched(database, operators="learned", space_settings=factories.FEW_PHENOTYPES)
    taught = rows(
        database,
        "SELECT count(*) AS n FROM genome WHERE duplicate_of IS NULL AND operator <> 'random'",
    )[0].n
    assert rows(database, "SELECT count(*) AS n FROM genome WHERE duplicate_of IS NOT NULL")[0].n > 5
    credit_now = factories.current(database).operator_credit
    assert sum(sum(pair) - 2 for pair in credit_now.values()) == taught
    assert replay(database, "search").is_clean
    database.dispose()


# --- all of them -------------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "candidates": {"candidates": 8},
    "all three": {"parents": "least-used", "candidates": 8, "operators": "learned"},
    "few phenotypes": {
        "parents": "least-used",
        "candidates": 4,
        "operators": "learned",
        "space_settings": factories.FEW_PHENOTYPES,
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_new_leaders_on_the_way_breed_the_same_children(database: Database, options: dict[str, Any]) -> None:
    given = {"budget": 40, "population": POPULATION, "objectives": "error,params", **options}
    factories.created(database, "one leader", **given)
    factories.created(database, "many leaders", **given)
    worker_id = factories.registered_worker(database)
    factories.run_to_the_end(database, "one leader", worker_id=worker_id)
    factories.run_with_new_leaders(database, "many leaders", worker_id)
    children = {
        name: rows(
            database,
            "SELECT g.birth, g.phenotype, g.operator, g.tries, g.born_after_ingest FROM genome g "
            f"JOIN experiment x ON x.id = g.experiment_id WHERE x.name = '{name}' ORDER BY g.birth",
        )
        for name in ("one leader", "many leaders")
    }
    assert len(children["one leader"]) == 40
    assert children["one leader"] == children["many leaders"]
    for name in children:
        report = replay(database, name)
        assert report.is_clean, report.differences
