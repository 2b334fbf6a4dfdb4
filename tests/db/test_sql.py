"""``evolver sql`` only reads, and the queries of docs/sql.md run on both databases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evolver.errors import EvolverError, InvalidInput, UnknownName
from evolver.store import console, facts
from evolver.store.console import QueryTimedOut
from evolver.store.db import Database
from tests import factories

DOCS = Path(__file__).parents[2] / "docs/sql.md"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


def ask(database: Database, query: str, timeout_s: float = 20.0) -> list[tuple[object, ...]]:
    with console.ask(database, query, timeout_s=timeout_s) as answer:
        return list(answer.rows)


def blocks(database: Database) -> list[str]:
    other = "-- PostgreSQL" if database.is_sqlite else "-- SQLite"
    found = re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return [block for block in found if not block.startswith(other)]


def test_the_queries_of_the_docs(database: Database) -> None:
    factories.finished(database, "demo", budget=24)
    answers = [ask(database, block) for block in blocks(database)]
    assert len(answers) >= 18
    assert sorted(answers[0]) == sorted(answers[1])  # the view, and the walk
    with database.read() as connection:
        found = factories.current(database, "demo")
        then = {one.genome_id for one in facts.front_members(connection, found, at=20)}
        now = facts.front_members(connection, found)
    assert {row[0] for row in answers[3]} == then
    assert sum(row[3] for row in answers[2]) == len(now)  # type: ignore[misc]


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM genome",
        "DROP VIEW front",
        "SELECT 1; DELETE FROM genome",
        "WITH x AS (SELECT 1) INSERT INTO leader SELECT 1, 'a', 'b', 'c', 1",
        "CREATE TEMP TABLE x (a int)",
        "SELECT x FROM genome",
        "",
        "-- nothing",
        "COMMIT",
    ],
)
def test_what_is_no_query_is_refused(database: Database, query: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ask(database, query)
    assert "\n" not in str(refused.value)
    assert ask(database, "SELECT count(*) FROM front WHERE experiment LIKE '%x'") == [(0,)]


def test_a_table_that_is_not_there(database: Database) -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        ask(database, "SELECT * FROM gnome")


def test_a_query_is_cut_off(database: Database) -> None:
    with pytest.raises(QueryTimedOut) as cut:
        ask(database, ENDLESS, 0.3)
    assert isinstance(cut.value, EvolverError)
    assert cut.value.exit_code == 1
