"""How each database is connected to, and how its transactions begin.

The drivers' own habits are switched off: a transaction begins with what stands here, and nothing else is
sent. Its mode is the execution option ``evolver_mode``.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from typing import Any

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.pool import QueuePool

from evolver.store.wakeups import DIRECT_VARIABLE

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 15
IDLE_IN_TRANSACTION_TIMEOUT_S = 10
"""On PostgreSQL, at most: shorter than a lease, so that a frozen process cannot block its successor."""
READ_ONLY = "25006"
"""PostgreSQL's code for a write where none is possible: a standby not yet promoted, a primary demoted."""

WRITE, READ, SINGLE, LONG = "write", "read", "single", "long"


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
    the server is waited for, and how long it may work on a write.
    """
    beginnings = _beginnings(math.inf if answer_within_s is None else answer_within_s)
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=1,
        max_overflow=4,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
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
            connection.exec_driver_sql(beginnings[mode])

    @event.listens_for(engine, "handle_error")
    def _replace_after(failure: ExceptionContext) -> None:
        """A server that was demoted keeps its connections: the next one may find the new primary."""
        if getattr(failure.original_exception, "sqlstate", None) == READ_ONLY:
            failure.is_disconnect = True

    return engine


def _beginnings(answer_within_s: float) -> dict[str, str]:
    """How a transaction of each mode begins; ``SINGLE`` has no beginning."""
    lock, statement, idle = (
        f"{1000 * min(seconds, answer_within_s):.0f}"
        for seconds in (LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S, IDLE_IN_TRANSACTION_TIMEOUT_S)
    )
    return {
        WRITE: f"BEGIN; SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}; "
        f"SET LOCAL idle_in_transaction_session_timeout = {idle}",
        LONG: f"BEGIN; SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = 0; "
        "SET LOCAL idle_in_transaction_session_timeout = 0",
        READ: "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    }


def _bound(engine: Engine, answer_within_s: float) -> None:
    """Have the engine make connections that do not wait for ever."""
    from evolver.store.bounded import connect_within  # not at the top: who uses SQLite need not load psycopg

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        return connect_within(answer_within_s, *arguments, **parameters)
