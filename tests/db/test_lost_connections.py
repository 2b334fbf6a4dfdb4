"""Connections to PostgreSQL that end badly: callers see DatabaseUnavailable, and the next use is sound."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from evolver.store.db import Database, DatabaseUnavailable

WRITE = "INSERT INTO recipe (sha256, name, settings) VALUES ('a', 'a', '{}')"


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    opened = Database.open(postgresql_url)
    yield opened
    opened.dispose()


def assert_sound(database: Database) -> None:
    """Nothing was written, and each kind of transaction works."""
    with database.single() as connection:
        assert connection.execute(text("SELECT count(*) FROM recipe WHERE sha256 = 'a'")).scalar() == 0
    with database.write() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def write(database: Database, *statements: str, pause_after: int | None = None) -> None:
    """These statements in one transaction, with a pause after the one of this number."""
    with database.write() as connection:
        for number, statement in enumerate(statements):
            connection.execute(text(statement))
            if number == pause_after:
                time.sleep(0.3)


def single(database: Database, statement: str) -> object:
    with database.single() as connection:
        return connection.execute(text(statement)).scalar()


def test_after_an_error_the_connection_is_outside_of_any_transaction(database: Database) -> None:
    with pytest.raises(IntegrityError):
        write(database, WRITE, WRITE)
    assert_sound(database)
    with pytest.raises(IntegrityError):
        single(database, "INSERT INTO leader VALUES (7, 'x', 'x', now(), 0) RETURNING step_no")
    assert_sound(database)


def test_a_transaction_that_slept_too_long_is_a_lost_connection(database: Database) -> None:
    bounded = "SET LOCAL idle_in_transaction_session_timeout = '50ms'"
    with pytest.raises(DatabaseUnavailable):
        write(database, bounded, WRITE, pause_after=0)
    assert_sound(database)
    with pytest.raises(DatabaseUnavailable):
        write(database, WRITE, bounded, pause_after=1)
    assert_sound(database)


def test_a_statement_that_takes_too_long_may_be_tried_again(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        write(database, "SET LOCAL statement_timeout = '20ms'", WRITE, "SELECT pg_sleep(1)")
    assert_sound(database)


def test_a_single_statement_on_a_dead_connection_is_a_lost_connection(
    database: Database, postgresql_url: str
) -> None:
    pid = single(database, "SELECT pg_backend_pid()")
    other = Database.open(postgresql_url)
    single(other, f"SELECT pg_terminate_backend({pid}, 5000)")
    other.dispose()
    with pytest.raises(DatabaseUnavailable):
        single(database, "SELECT 1")
    assert_sound(database)


def test_a_server_that_is_read_only_is_away(database: Database) -> None:
    """As a standby until it is promoted, or a primary that was demoted: results wait, none is refused."""
    with pytest.raises(DatabaseUnavailable):
        write(database, "SET TRANSACTION READ ONLY", WRITE)
    assert_sound(database)


def test_a_connection_to_a_server_that_was_demoted_is_not_used_again(database: Database) -> None:
    """Connections outlive the demotion; a new one may find the new primary."""
    with database.single() as connection:
        connection.execute(text("SET default_transaction_read_only = on"))
    with pytest.raises(DatabaseUnavailable):
        single(database, WRITE + " RETURNING id")
    assert_sound(database)
    write(database, WRITE)
