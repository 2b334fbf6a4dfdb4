"""``evolver sql`` only reads, one query, for so long, and without holding its rows in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from evolver.errors import EvolverError, InvalidInput, UnknownName
from evolver.store import console
from evolver.store.console import QueryTimedOut
from evolver.store.db import Database

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
WRITE = "WITH x AS (SELECT 1) INSERT INTO recipe (sha256, name, settings) SELECT 'a', 'b', '{}' FROM x"


@pytest.fixture
def on_postgresql(postgresql_url: str) -> Iterator[Database]:
    database = Database.open(postgresql_url)
    yield database
    database.dispose()


def ask(database: Database, query: str, timeout_s: float = 20.0) -> list[tuple[object, ...]]:
    with console.ask(database, query, timeout_s=timeout_s) as answer:
        return list(answer.rows)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM genome",
        "DROP VIEW front",
        "SELECT 1; DELETE FROM genome",
        "SELECT 1; SELECT 2",
        WRITE,
        "CREATE TEMP TABLE x (a int)",
        "SELECT x FROM genome",
        "",
        "-- nothing",
        "/* nothing */ ;",
        "COMMIT",
        "EXPLAIN SELECT 1",
        "EXPLAIN DELETE FROM genome",
        "TABLE genome",
        "PRAGMA query_only = OFF",
        "SET TimeZone = 'UTC'",
        "WITH x AS (DELETE FROM genome RETURNING id) SELECT * FROM x",
        "SELECT 1 /* ; */; COMMIT; DELETE FROM genome",
        "/* /* */ SELECT 1 */ DELETE FROM genome",
        "SELECT * INTO copied FROM genome",
        "SELECT * FROM genome FOR UPDATE",
        "ATTACH 'other.db' AS other",
        "VALUES (1); PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_table_info('genome')",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple', x'00')",
        "COPY genome TO PROGRAM 'id'",
        "WITH x AS (SELECT 1) COPY genome TO PROGRAM 'id'",
    ],
)
def test_what_is_no_query_is_refused(module_database: Database, query: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ask(module_database, query)
    assert "\n" not in str(refused.value)
    assert ask(module_database, "SELECT count(*) FROM recipe WHERE 'a%' LIKE '%'") == [(0,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT nextval('genome_id_seq')",
        "SELECT set_config('statement_timeout', '0', true), pg_sleep(0.01) FROM generate_series(1, 100000)",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT query_to_xml('DELETE FROM seed_genome', true, true, '')",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
        "SELECT pg_notify('evolver', '')",
        "SELECT pg_advisory_lock(1)",
        "SELECT PG_READ_FILE/* a */ ('/etc/passwd')",
        "SELECT pg_catalog.\"pg_ls_dir\"('/')",
        "SELECT U&\"pg\\005fread_file\"('/etc/passwd')",
        "SELECT u&\"pg!005fread_file\" UESCAPE '!' ('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/x')",
        "SELECT * FROM ROWS FROM (pg_reload_conf())",
        "SELECT pg_logical_emit_message(false, 'a', 'b')",
        "SELECT ts_stat('SELECT pg_reload_conf()')",
    ],
)
def test_functions_of_postgresql_that_may_do_more_are_refused(on_postgresql: Database, query: str) -> None:
    """Also for a superuser, as the tests' user is."""
    with pytest.raises(InvalidInput, match=r"may do more|numbers of its letters"):
        ask(on_postgresql, query)


def test_functions_of_postgresql_that_only_tell(on_postgresql: Database) -> None:
    query = "SELECT random() < 1, clock_timestamp() > now(), pg_database_size(current_database()) > 0"
    assert ask(on_postgresql, query) == [(True, True, True)]


def test_a_lock_is_refused_as_wrong_and_not_as_a_server_that_is_away(on_postgresql: Database) -> None:
    with pytest.raises(InvalidInput, match="more than read"):
        ask(on_postgresql, "SELECT * FROM genome FOR SHARE")


@pytest.mark.parametrize(
    "query", ["-- why\nselect 1", "/* why */ VALUES (1)", "WITH x AS (SELECT 1) SELECT * FROM x;"]
)
def test_what_a_query_begins_with(module_database: Database, query: str) -> None:
    assert ask(module_database, query) == [(1,)]


def test_sqlite_opens_the_file_for_reading(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the authorizer let everything pass."""
    monkeypatch.setattr(console, "ALLOWED", frozenset(range(100)))
    database = Database.open(sqlite_url)
    with pytest.raises(InvalidInput, match="readonly database"):
        ask(database, WRITE)
    database.dispose()


def test_sqlite_authorizes_reading_alone(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the file were open for writing."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def for_writing(path: str, **options: Any) -> sqlite3.Connection:
        assert path.endswith("?mode=ro")
        return connect(path.replace("mode=ro", "mode=rw"), **options)

    database = Database.open(sqlite_url)
    monkeypatch.setattr(sqlite3, "connect", for_writing)
    for query in (WRITE, "WITH x AS (SELECT 1) DELETE FROM genome", "SELECT load_extension('x')"):
        with pytest.raises(InvalidInput):
            ask(database, query)
    with pytest.raises(InvalidInput, match="more than read"):
        ask(database, WRITE)
    database.dispose()


def test_a_table_that_is_not_there(module_database: Database) -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        ask(module_database, "SELECT * FROM gnome")


def test_a_query_is_cut_off(module_database: Database) -> None:
    with pytest.raises(QueryTimedOut) as cut:
        ask(module_database, ENDLESS, 0.3)
    assert isinstance(cut.value, EvolverError)
    assert cut.value.exit_code == 1


def test_rows_are_not_held_in_memory(module_database: Database) -> None:
    """An answer of 50 MB grows the process by far less, whether driver or evolver holds it."""
    rows, wide = 100_000, "x" * 500
    query = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
        f"SELECT i, '{wide}' || CAST(i AS text) FROM n"
    )
    process = psutil.Process()
    before, largest = process.memory_info().rss, 0
    with console.ask(module_database, query, timeout_s=60) as answer:
        for number, _text in answer.rows:
            if number % 5000 == 0:
                largest = max(largest, process.memory_info().rss)
    assert number == rows
    assert largest - before < 20e6
