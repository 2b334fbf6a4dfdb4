"""What is done often reads through indexes: no plan passes over a large table.

Statements are recorded while the functions of the store run on a search of 20,000 genomes, and then
explained in the same transaction. An index that holds only what is open or unnumbered may be read as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from evolver.store import activity, claims, details, facts, leases, migrate, observations, queue, steps
from evolver.store.db import Database, resolve_url
from evolver.store.experiments import Experiment
from tests import factories

GENOMES = 20_000
OPEN = 8
"""The last evaluations: half of them pending, the others running."""
LARGE = ("genome", "evaluation", "objective_value", "attempt", "parentage", "epoch_metric")
ALIASES = {"twin": "evaluation", "newer": "evaluation"}
SMALL_INDEXES = frozenset(
    f"ix_evaluation_{name}" for name in ("claimable", "open", "leased", "unnumbered", "waits_for")
)


def load(genomes: int) -> list[str]:
    """The statements that write a search with so many genomes behind it."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {genomes}) "
    return [
        "INSERT INTO genome (id, experiment_id, birth, code, phenotype, operator, rng_seed, tries, "
        "slot, born_after_ingest, breeder_version, params, flops) " + numbers +
        "SELECT i, :experiment, i, '{}', 'phenotype ' || i, 'random', '[0, 1]', 1, 0, 0, 1, 9, 9 FROM n",
        "INSERT INTO parentage (child_id, position, parent_id) " + numbers +
        "SELECT i, 0, i - 1 - i % 40 FROM n WHERE i > 100",
        "INSERT INTO evaluation (id, experiment_id, genome_id, purpose, dataset_id, recipe_id) " + numbers +
        "SELECT i, :experiment, i, 'search', :dataset, :recipe FROM n",
        f"UPDATE evaluation SET state = 'done', ended_at = enqueued_at, "
        f"ingest_no = CASE WHEN id <= {genomes - 3 * OPEN} THEN id END WHERE id <= {genomes - OPEN}",
        "INSERT INTO objective_value (evaluation_id, objective, value) "
        "SELECT id, 'error', id / 40000.0 FROM evaluation WHERE state = 'done' UNION ALL "
        "SELECT id, 'loss', 1.0 - id / 40000.0 FROM evaluation WHERE state = 'done'",
        "INSERT INTO attempt (evaluation_id, number, worker_id, host, slot, token, device, device_name, "
        "versions, ended_at, outcome) SELECT id, 1, :worker, 'host', 0, 'token ' || id, 'cpu', 'one', "
        "'{}', enqueued_at, 'done' FROM evaluation WHERE state = 'done'",
        "INSERT INTO epoch_metric (evaluation_id, epoch, train_loss, train_error, lr, seconds) "
        "SELECT id, 1, 1, 1, 1, 1 FROM evaluation WHERE state = 'done'",
        "INSERT INTO membership (experiment_id, kind, genome_id, entered_at, left_at) "
        f"SELECT experiment_id, 'front', genome_id, id, CASE WHEN id < {genomes - 400} THEN id + 100 END "
        "FROM evaluation WHERE ingest_no % 10 = 0",
        "INSERT INTO membership (experiment_id, kind, slot, genome_id, entered_at, left_at) "
        "SELECT experiment_id, 'population', id % 20, genome_id, id, "
        f"CASE WHEN id <= {genomes - 100} THEN id + 20 END FROM evaluation WHERE ingest_no <= {genomes - 80}",
        f"UPDATE experiment SET state = 'running', born = {genomes}, ingested = {genomes - 3 * OPEN}",
    ]  # fmt: skip


@pytest.fixture
def large(database: Database) -> Database:
    """A search under way, with 20,000 genomes behind it."""
    return with_history(database, GENOMES)


def with_history(database: Database, genomes: int) -> Database:
    """The database, with a search under way that has so many genomes behind it."""
    found = factories.created(database, budget=2 * GENOMES, population=20)
    values = {
        "experiment": found.id,
        "dataset": found.dataset.id,
        "recipe": found.recipe_id,
        "worker": factories.registered_worker(database),
    }
    with database.write() as connection:
        for statement in load(genomes):
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), names)
    if not database.is_sqlite:
        with database.single() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    for _ in range(OPEN // 2):
        factories.must_claim(database, values["worker"])
    return database


Use = Callable[[Connection, Experiment], object]


def claim(connection: Connection, _found: Experiment) -> None:
    claims.claim(
        connection,
        1,
        slot=0,
        device="cpu",
        device_name="a processor",
        versions={},
        lease_s=60,
        offers=claims.offers(connection),
    )


def end(connection: Connection, _found: Experiment) -> None:
    lease = running_lease(connection)
    leases.heartbeat(connection, 1, [lease], 60)
    leases.complete(connection, lease, {"error": 0.5, "loss": 0.5})


def running_lease(connection: Connection) -> leases.Lease:
    running = text("SELECT id, token FROM evaluation WHERE id > :id AND state = 'running' LIMIT 1")
    row = connection.execute(running, {"id": GENOMES - OPEN}).one()
    return leases.Lease(row.id, row.token)


def reap(connection: Connection, _found: Experiment) -> None:
    leases.heartbeat(connection, 1, [running_lease(connection)], -1)
    leases.reap(connection)


OBJECTIVES = ("error", "loss")
USES: dict[str, Use] = {
    "claim": claim,
    "heartbeat and complete": end,
    "reap": reap,
    "newly ended": lambda c, found: steps.newly_ended(c, found.id, OBJECTIVES, 256),
    "number ended": lambda c, _: steps.number_ended(c, {GENOMES - OPEN: GENOMES}),
    "first birth, known": lambda c, found: steps.first_births(c, found.id, ["phenotype 777"]),
    "first birth, new": lambda c, found: steps.first_births(c, found.id, ["another phenotype"]),
    "genome of birth": lambda c, found: steps.genome_of_birth(c, found.id, 777),
    "population": lambda c, found: steps.members(c, found.id, "population", OBJECTIVES),
    "children of the population": lambda c, _: steps.children_of(c, range(GENOMES - 100, GENOMES - 80)),
    "depth": lambda c, found: queue.depth(c, found.id),
    "inherit": lambda c, found: queue.inherit(c, found.id),
    "other open": lambda c, found: queue.other_open(c, found.id),
    "status": facts.status,
    "status with failures": lambda c, found: facts.status(c, replace(found, failed=1)),
    "front": facts.front_members,
    "earlier front": lambda c, found: facts.front_members(c, found, 500),
    "running": lambda c, _: activity.running(c, 1_000),
    "results of workers": lambda c, _: activity.results_per_hour(c),
    "progress": lambda c, found: observations.progress(c, [found.id]),
    "new in the front": lambda c, found: observations.new_in_front(c, found, GENOMES - 100),
    "last failures": lambda c, found: observations.last_failures(c, found.id, 50),
    "genome": lambda c, _: details.genome_detail(c, 777),
    "lineage": lambda c, _: details.lineage(c, 500),
}


def test_frequent_statements_read_through_indexes(large: Database) -> None:
    assert_through_indexes(large, USES)


def assert_through_indexes(database: Database, uses: Mapping[str, Use]) -> None:
    """No statement of these uses passes over a large table."""
    found = factories.current(database)
    slow: list[str] = []
    for name, use in uses.items():
        with database.write() as connection, recorded(connection) as statements:
            use(connection, found)
            explained = [(statement, explain(connection, *statement)) for statement in list(statements)]
            connection.rollback()
        assert explained, name
        slow += [f"{name}: {scan}\n{sql}" for (sql, _), scans in explained for scan in scans]
    assert not slow, "\n".join(slow)


FLAT = ("claim", "newly ended", "first birth, known", "population", "depth", "status", "front")


def test_buffers_do_not_grow_with_the_history(
    request: pytest.FixtureRequest, postgresql_url: str, empty_postgresql_url: str
) -> None:
    """What a statement touches does not grow with the history, but for a level of an index.

    Both are large enough for indexes to be chosen at all: a table of a few pages is read as a whole.
    """
    databases = []
    for url, genomes in ((postgresql_url, GENOMES // 5), (empty_postgresql_url, GENOMES)):
        database = Database(resolve_url(url))
        request.addfinalizer(database.dispose)
        migrate.upgrade(database)
        databases.append(with_history(database, genomes))
    short, long = (buffers(one) for one in databases)
    grown = {name: (short[name], long[name]) for name in FLAT if long[name] > 1.2 * short[name] + 10}
    assert not grown


def test_a_claim_does_not_read_the_whole_queue(postgresql_url: str) -> None:
    """However much is pending, the next evaluation is the first of an index."""
    database = Database(resolve_url(postgresql_url))
    try:
        migrate.upgrade(database)
        with_history(database, 2_000)
        before = buffers(database)["claim"]
        with database.write() as connection:
            again = "state = 'pending', attempts = 1, ended_at = NULL, ingest_no = NULL"
            connection.execute(text(f"UPDATE evaluation SET {again} WHERE id < 1000"))
        assert buffers(database)["claim"] <= 2 * before  # a thousand are pending
    finally:
        database.dispose()


def buffers(database: Database) -> dict[str, int]:
    """The pages that each use touches; everything is read once before, so that hints are set."""
    found = factories.current(database)
    touched: dict[str, int] = {}
    for _ in range(2):
        for name in FLAT:
            with database.write() as connection, recorded(connection) as statements:
                USES[name](connection, found)
                connection.rollback()
            with database.write() as connection:
                touched[name] = sum(_touched(connection, *statement) for statement in statements)
    return touched


def _touched(connection: Connection, sql: str, parameters: Any) -> int:
    with connection.begin_nested() as savepoint:
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters)
        node = plan.scalar_one()[0]["Plan"]
        savepoint.rollback()
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


Statement = tuple[str, Any]


@contextmanager
def recorded(connection: Connection) -> Iterator[list[Statement]]:
    """The statements with their parameters that are executed inside, but for plain inserts."""
    statements: list[Statement] = []

    def record(_c: object, _cursor: object, sql: str, parameters: Any, _context: object, _many: bool) -> None:
        if sql.startswith(("SELECT", "UPDATE", "DELETE")) or ("INSERT" in sql and "SELECT" in sql):
            statements.append((sql, parameters))

    event.listen(connection, "before_cursor_execute", record)
    yield statements
    event.remove(connection, "before_cursor_execute", record)


def explain(connection: Connection, sql: str, parameters: Any) -> list[str]:
    """The steps of the statement's plan that pass over a large table."""
    if connection.dialect.name == "sqlite":
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
        return [row.detail for row in plan if _scans_on_sqlite(row.detail)]
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {sql}", parameters)
    return [_shown(node) for node in _nodes(plan.scalar_one()[0]["Plan"]) if _scans_on_postgresql(node)]


def _scans_on_sqlite(detail: str) -> bool:
    found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", detail)
    return found is not None and is_large(found[1]) and found[2] not in SMALL_INDEXES


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _scans_on_postgresql(node: Mapping[str, Any]) -> bool:
    if node["Node Type"] == "Seq Scan":
        return is_large(node["Relation Name"])
    index = node.get("Index Name")
    return index is not None and index not in SMALL_INDEXES and "Index Cond" not in node


def _shown(node: Mapping[str, Any]) -> str:
    return " ".join(str(node.get(key, "")) for key in ("Node Type", "Relation Name", "Index Name", "Filter"))


def is_large(name: str) -> bool:
    table = re.sub(r"_\d+$", "", name)
    return ALIASES.get(table, table) in LARGE
