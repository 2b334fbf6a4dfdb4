"""What holds at the end of every search, whatever happened on its way."""

from __future__ import annotations

from sqlalchemy import text

from evolver.replay import replay
from evolver.store.db import Database
from tests import factories


def number(database: Database, query: str) -> int:
    """The single number that a query gives."""
    with database.read() as connection:
        return int(connection.execute(text(query)).scalar() or 0)


def is_finished(database: Database) -> bool:
    return factories.current(database).state == "finished"


def assert_nothing_was_lost_or_doubled(database: Database, budget: int) -> None:
    found = factories.current(database)
    assert (found.state, found.state_reason) == ("finished", "budget")
    assert found.born == found.ingested == budget
    assert number(database, "SELECT count(*) FROM genome") == budget
    assert number(database, "SELECT count(*) FROM evaluation WHERE state IN ('done', 'failed')") == budget
    assert number(database, "SELECT count(DISTINCT ingest_no) FROM evaluation") == budget
    assert number(database, "SELECT max(ingest_no) FROM evaluation") == budget
    done = number(database, "SELECT count(*) FROM evaluation WHERE state = 'done' AND attempts > 0")
    assert number(database, "SELECT count(*) FROM attempt WHERE outcome = 'done'") == done
    assert number(database, "SELECT count(*) FROM attempt WHERE outcome = 'running'") == 0
    assert number(database, "SELECT count(*) FROM evaluation WHERE lease_expires_at IS NOT NULL") == 0
    incomplete = """
        SELECT count(*) FROM evaluation e WHERE state = 'done' AND 2 <> (
            SELECT count(*) FROM objective_value v
            WHERE v.evaluation_id = e.id AND v.objective IN ('error', 'loss'))"""
    assert number(database, incomplete) == 0
    report = replay(database, "search")
    assert report.is_clean, report.differences
    assert report.results == budget
