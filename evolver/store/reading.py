"""A database for reading alone, by who must never slow a search down.

``Reader`` has no way to write, and the database refuses one as well: transactions are READ ONLY on
PostgreSQL, connections are ``query_only`` on SQLite. A statement that takes too long is cut off, because a
reader that stays keeps rows from being cleaned up (PostgreSQL) and the log from being emptied (SQLite).
"""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from evolver.store.db import Database

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
        """One read-only transaction. Raises DatabaseUnavailable where a statement takes too long."""
        with self._database.read() as connection:
            yield connection

    def dispose(self) -> None:
        """Close all connections."""
        self._database.dispose()

    def __str__(self) -> str:
        return str(self._database)


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
