"""How each database is connected to, and how its transactions begin.

The drivers' own habits are switched off: a transaction begins with what stands here, and nothing else is
sent. Its mode is the execution option ``evolver_mode``.
"""

from __future__ import annotations

import json
import os
import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from evolver.store.wakeups import DIRECT_VARIABLE

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 15
IDLE_IN_TRANSACTION_TIMEOUT_S = 10
"""On PostgreSQL: shorter than any lease, so that a frozen process cannot block its successor."""

WRITE, READ, SINGLE, LONG = "write", "read", "single", "long"
_POSTGRESQL_BEGIN = {
    WRITE: f"BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'; "
    f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'; "
    f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION_TIMEOUT_S}s'",
    LONG: f"BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'; SET LOCAL statement_timeout = 0; "
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    READ: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
}


def sqlite(url: URL, busy_timeout_s: float) -> Engine:
    """SQLite in WAL mode; transactions begin as evolver says (the driver's own habit is switched off)."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        json_deserializer=_from_json,
        pool_size=1,
        max_overflow=4,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("evolver_mode", WRITE)
        connection.exec_driver_sql("BEGIN" if mode == READ else "BEGIN IMMEDIATE")

    return engine


def _from_json(value: str) -> Any:
    """A JSON column; text that is none is returned as it is, for who reads it to refuse.

    PostgreSQL stores nothing but JSON there. On SQLite somebody may have written anything into a code, and
    that must end as one invalid genome, not as an exception in every claim.
    """
    try:
        return json.loads(value)
    except ValueError:
        return value


def postgresql(url: URL, answer_within_s: float | None = None) -> Engine:
    """PostgreSQL through psycopg 3: one connection a process, kept alive.

    The driver is in autocommit mode and ``_begin`` sends BEGIN itself, together with the settings of the
    transaction: one round trip, and SET LOCAL lets poolers be between. ``answer_within_s`` bounds how long
    the server is waited for.
    """
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=4,
        connect_args={
            "connect_timeout": int(max(2, min(CONNECT_TIMEOUT_S, answer_within_s or CONNECT_TIMEOUT_S))),
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            # Poolers in transaction mode change the server connection, and so lose prepared statements.
            "prepare_threshold": None if os.environ.get(DIRECT_VARIABLE) else 5,
            "application_name": "evolver",
        },
    )

    if answer_within_s is not None:
        _bound(engine, answer_within_s)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("evolver_mode", WRITE)
        if mode != SINGLE:
            connection.exec_driver_sql(_POSTGRESQL_BEGIN[mode])

    return engine


def _bound(engine: Engine, answer_within_s: float) -> None:
    """Have the engine make connections that do not wait for ever."""
    from evolver.store.bounded import BoundedConnection

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        connection = BoundedConnection.connect(*arguments, **parameters)
        connection.answer_within_s = answer_within_s
        return connection
