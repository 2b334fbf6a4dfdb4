"""SQL that a person wrote, which can only read: the database itself refuses everything else.

On PostgreSQL it runs through a cursor (which takes one query, and no other statement) in a READ ONLY
transaction, and names no function that may do more than compute: such functions act beside what a
transaction forbids, from reading files of the server to taking its time limit off. On SQLite the file is
opened with ``mode=ro``, and an authorizer, which SQLite asks while it compiles a statement, allows nothing
but reading; so there is no ATTACH, no PRAGMA, no temporary table.

ask     one query; its rows come as they are fetched.
tables  the tables and views that there are to ask.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, exc, inspect, text

from evolver.errors import EvolverError, InvalidInput, UnknownName
from evolver.store.db import Database, DatabaseUnavailable

BATCH = 1000
"""Rows in memory."""
PROGRESS_STEPS = 10_000
"""Instructions of SQLite's machine, about a millisecond, after which it looks at the clock."""
QUERIES = ("SELECT", "WITH", "VALUES")
"""What a query can begin with."""
WANTED = "one query that only reads (SELECT, WITH or VALUES)"

ALLOWED = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
TIMED_OUT = frozenset({"57014", "25P03"})
"""PostgreSQL's codes for a statement, and for a transaction that waits, that took too long."""
WRITES = frozenset({"25006", "0A000"})
"""For a write in a transaction that is read-only, and for one within a query."""
UNKNOWN_TABLE = "42P01"
HARMLESS = frozenset({
    "random", "random_normal", "array_sample", "array_shuffle", "gen_random_uuid", "bernoulli", "system",
    "clock_timestamp", "timeofday", "pg_is_in_recovery", "pg_database_size", "pg_indexes_size",
    "pg_relation_size", "pg_table_size", "pg_total_relation_size",
})  # fmt: skip
"""Functions that PostgreSQL holds to be volatile, as it does all that have effects, but that only tell."""
_SPELLED_OUT = re.compile(r'u&"', re.IGNORECASE)
"""A name in PostgreSQL that is written with the numbers of its letters."""


class QueryTimedOut(EvolverError):
    """The query took longer than it may, and was cut off."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the query was cut off after {timeout_s:g} s; ask for less, or give it more: --timeout SECONDS"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The names of the columns, each once, and the rows, which can be read once.

    Both databases give the same values: numbers, text, None; times as text in UTC, to the millisecond;
    bytes as hexadecimal digits. JSON is text on SQLite, objects and lists on PostgreSQL.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def ask(database: Database, query: str, *, timeout_s: float) -> Iterator[Answer]:
    """Run one query; it may take ``timeout_s`` until its last row has been read.

    Raises InvalidInput when it is no single query that only reads, or is wrong, UnknownName for a table
    that is not there, QueryTimedOut.
    """
    _require_query(query)
    asked = _ask_sqlite if database.is_sqlite else _ask_postgresql
    with asked(database, query, timeout_s) as answer:
        yield answer


def tables(connection: Connection) -> list[str]:
    """The names of tables and views."""
    found = inspect(connection)
    return sorted({*found.get_table_names(), *found.get_view_names()})


# --- SQLite ------------------------------------------------------------------------------------------


@contextmanager
def _ask_sqlite(database: Database, query: str, timeout_s: float) -> Iterator[Answer]:
    deadline = time.monotonic() + timeout_s
    with closing(_reader(database, timeout_s)) as connection, _told_by_sqlite(database, timeout_s, deadline):
        connection.set_progress_handler(lambda: time.monotonic() > deadline, PROGRESS_STEPS)
        cursor = connection.execute(query)
        rows = _in_time(cursor, deadline)
        first = list(islice(rows, 1))  # a query that fails does so here, before anything is printed
        yield Answer(_columns([one[0] for one in cursor.description]), chain(first, rows))


def _reader(database: Database, timeout_s: float) -> sqlite3.Connection:
    """A connection of its own, which can only read."""
    path = Path(database.url.database or "").resolve()
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=timeout_s)
    connection.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in ALLOWED else sqlite3.SQLITE_DENY
    )
    return connection


def _in_time(rows: sqlite3.Cursor, deadline: float) -> Iterator[tuple[Any, ...]]:
    """The rows, until the time is over: their reader may be slow, and SQLite does not notice that."""
    for row in rows:
        if time.monotonic() > deadline:
            raise sqlite3.OperationalError("interrupted")
        yield tuple(_plain(value) for value in row)


@contextmanager
def _told_by_sqlite(database: Database, timeout_s: float, deadline: float) -> Iterator[None]:
    """SQLite's errors, as one line each."""
    try:
        yield
    except sqlite3.Error as error:
        reason = str(error)
        if reason == "interrupted":
            if time.monotonic() < deadline:  # Ctrl-C came while SQLite looked at the clock
                raise KeyboardInterrupt from None
            raise QueryTimedOut(timeout_s) from None
        if "locked" in reason or "busy" in reason:
            raise DatabaseUnavailable(f"cannot use the database {database}: {reason}") from error
        if name := re.fullmatch(r"no such table: (?:\w+\.)?(.+)", reason):
            _refuse_table(database, name[1])
        if reason in ("not authorized", "authorization denied") or reason.startswith("access to"):
            _refuse("it does more than read")
        if "one statement" in reason:
            _refuse("these are several statements")
        _refuse_wrong(reason)


# --- PostgreSQL --------------------------------------------------------------------------------------


@contextmanager
def _ask_postgresql(database: Database, query: str, timeout_s: float) -> Iterator[Answer]:
    deadline = time.monotonic() + timeout_s
    with database.read() as connection:
        connection.execute(text(_limits(timeout_s)))
        _require_harmless(connection, query)
        asked = connection.execution_options(stream_results=True, max_row_buffer=BATCH, no_parameters=True)
        with _told_by_postgresql(database, timeout_s):
            result = asked.exec_driver_sql(query)
            batches = result.partitions(BATCH)
            first = next(batches, [])  # as on SQLite
            rows = chain(first, _of_batches(batches, deadline, timeout_s))
            plain = (tuple(_plain(value) for value in row) for row in rows)
            yield Answer(_columns(list(result.keys())), plain)


def _limits(timeout_s: float) -> str:
    """The settings of the transaction: all rows will be read, and nobody waits for its reader."""
    limit = max(1, round(1000 * timeout_s))
    return (
        f"SET LOCAL statement_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}; "
        "SET LOCAL cursor_tuple_fraction = 1; SET LOCAL TimeZone = 'UTC'"
    )


def _require_harmless(connection: Connection, query: str) -> None:
    """Raises InvalidInput when a word of the query is the name of a volatile function of the server.

    Any word: where a name ends and a text begins is known to PostgreSQL's own parser alone, and some
    functions run a query that is given to them as text.
    """
    if _SPELLED_OUT.search(query):
        _refuse("a name is spelled with the numbers of its letters")
    words = sorted(set(re.findall(r"\w+", query.lower())) - HARMLESS)
    volatile = text(
        "SELECT min(CAST(proname AS text)) FROM pg_catalog.pg_proc "
        "WHERE proname = ANY(CAST(:words AS text[])) "
        "AND provolatile = 'v' AND prorettype NOT IN (2279, 3838)"  # those of triggers are called by no query
    )
    if name := connection.execute(volatile, {"words": words}).scalar():
        _refuse(f"'{name}' is a function that may do more")


def _of_batches(batches: Iterator[Sequence[Any]], deadline: float, timeout_s: float) -> Iterator[Any]:
    """The rows, until the time is over: the server limits the time of each batch alone."""
    for batch in batches:
        if time.monotonic() > deadline:
            raise QueryTimedOut(timeout_s)
        yield from batch


@contextmanager
def _told_by_postgresql(database: Database, timeout_s: float) -> Iterator[None]:
    """The server's errors about the query, as one line each; others pass."""
    try:
        yield
    except exc.DBAPIError as error:
        code = getattr(error.orig, "sqlstate", None)
        reason = (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]
        if code in TIMED_OUT:
            raise QueryTimedOut(timeout_s) from None
        if code in WRITES:  # before what follows: elsewhere such an error means that the server is a standby
            _refuse("it does more than read")
        if code is None or error.connection_invalidated or code[:2] in ("08", "53", "57", "58", "XX"):
            raise
        if code == UNKNOWN_TABLE and (name := re.search(r'relation "(?:\w+\.)?(.+?)" does not', reason)):
            _refuse_table(database, name[1])
        if "multiple commands" in reason:
            _refuse("these are several statements")
        _refuse_wrong(reason)


# --- both --------------------------------------------------------------------------------------------


def _require_query(query: str) -> None:
    """Raises InvalidInput when the first word, after comments, begins no query.

    The database would refuse nearly all of it as well, but not both databases the same: EXPLAIN, TABLE.
    """
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL).strip("; \t\r\n")
    if not bare:
        raise InvalidInput("there is no SQL to run; give one SELECT, for instance: SELECT * FROM front")
    first = bare.lstrip("( \t\r\n")
    if re.split(r"\W", first, maxsplit=1)[0].upper() not in QUERIES:
        raise InvalidInput(f"give {WANTED}; '{bare.split(maxsplit=1)[0][:20]}' begins none")


def _refuse(reason: str) -> NoReturn:
    """Raises InvalidInput for what is no single query that only reads."""
    raise InvalidInput(f"give {WANTED}: {reason}") from None


def _refuse_wrong(reason: str) -> NoReturn:
    """Raises InvalidInput for SQL that the database does not understand; ``reason`` is what it says."""
    raise InvalidInput(f"wrong SQL: {reason}") from None


def _refuse_table(database: Database, name: str) -> NoReturn:
    with database.read() as connection:
        known = tables(connection)
    raise UnknownName("table or view", name, known) from None


def _columns(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once: of equal ones the second is ``name_2``."""
    taken: dict[str, None] = {}
    for name in names:
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken[unique] = None
    return tuple(taken)


def _plain(value: Any) -> Any:
    """A value as Answer has it."""
    if value is None or isinstance(value, str | int | float | dict | list):
        return value
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return moment.isoformat(" ", "milliseconds").removesuffix("+00:00")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    return str(value)


def as_text(value: Any) -> str:
    """A value in a line of text; nothing for None."""
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
