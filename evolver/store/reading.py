"""A database for reading alone, by who must never slow a search down.

``Reader`` has no way to write, and the database refuses one as well: transactions are READ ONLY on
PostgreSQL, connections are ``query_only`` on SQLite. A statement that takes too long is cut off, because a
reader that stays keeps rows from being cleaned up (PostgreSQL) and the log from being emptied (SQLite).
"""

from __future__ import annotations

import math
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from evolver.store.db import Database, DatabaseUnavailable

STATEMENT_S = 5.0
"""How long one statement may take; on SQLite, all of a transaction together."""
WAIT_S = 2.0
"""How long a busy SQLite file is waited for."""
ANSWER_S = 10.0
"""How long a PostgreSQL server is waited for."""
_STEPS_BETWEEN_LOOKS = 20_000
"""Steps of SQLite's machine between two looks at the clock: about a millisecond."""


class Reader:
    """Opens read-only transactions, each of one consistent state of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file = _identity(database)

    @classmethod
    def open(cls, url: str | None = None, *, statement_s: float = STATEMENT_S) -> Reader:
        """Open a database at this version's revision.

        Raises DatabaseError when it is unreachable, missing, or at another revision.
        """
        database = Database.open(url, wait_s=WAIT_S, answer_within_s=ANSWER_S)
        if database.is_sqlite:
            _bound_sqlite(database, statement_s)
        else:
            _bound_postgresql(database, statement_s)
        database.engine.dispose()  # the connection that it was opened with knows nothing of this
        return cls(database)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read-only transaction.

        Raises DatabaseUnavailable where a statement takes too long, or the file is gone.
        """
        self._follow_the_file()
        with self._database.read() as connection:
            yield connection

    def _follow_the_file(self) -> None:
        """See that a SQLite file is still the one that was opened; a new one under its name is taken instead.

        Else open connections would go on reading a file that was deleted, and new ones make an empty one.
        """
        there = _identity(self._database)
        if there != self._file:
            self._database.engine.dispose()
            self._file = there

    def dispose(self) -> None:
        """Close all connections."""
        self._database.dispose()

    def __str__(self) -> str:
        return str(self._database)


def _identity(database: Database) -> tuple[int, int] | None:
    """Which file a SQLite database is; None on PostgreSQL. Raises DatabaseUnavailable where it is gone."""
    path = database.engine.url.database
    if not database.is_sqlite or path is None:
        return None
    try:
        found = os.stat(path)
    except OSError as error:
        raise DatabaseUnavailable(f"the database {database} is gone: {error.strerror}") from error
    return found.st_dev, found.st_ino


def _bound_postgresql(database: Database, statement_s: float) -> None:
    limit = f"{1000 * statement_s:.0f}"

    @event.listens_for(database.engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(
            f"SET LOCAL transaction_read_only = on; SET LOCAL statement_timeout = {limit}; "
            f"SET LOCAL lock_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = {limit}"
        )


def _bound_sqlite(database: Database, statement_s: float) -> None:
    @event.listens_for(database.engine, "connect")
    def _configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.execute("PRAGMA query_only = ON")
        deadline = record.info["deadline"] = [math.inf]
        connection.set_progress_handler(lambda: time.monotonic() > deadline[0], _STEPS_BETWEEN_LOOKS)

    @event.listens_for(database.engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.info["deadline"][0] = time.monotonic() + statement_s
