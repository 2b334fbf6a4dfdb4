"""Bring a database to this version's schema, with alembic.

Safe when many processes start at once: SQLite's write lock or an advisory lock of PostgreSQL lets one
of them migrate, the others find the work done.
"""

from __future__ import annotations

import io
import random
import sqlite3
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text

import evolver
from evolver.errors import DatabaseError
from evolver.store.db import BEGIN_RETRY_S, Database
from evolver.store.schema import REVISION, experiment, metadata

NAMES_SHOWN = 3
_LOCK = 0x65766F6C766572  # "evolver": one advisory lock for all migrations


def migrations_dir() -> Path:
    """Where the migrations lie: inside an installed wheel, or at the top of a checkout."""
    package = Path(evolver.__file__).parent
    for candidate in (package / "_migrations", package.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise DatabaseError("this installation of evolver lacks its migrations; install it again")


def _config(connection: Connection | None = None) -> Config:
    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(migrations_dir()))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(database: Database, revision: str = "head") -> tuple[str | None, str]:
    """Migrate to this version's revision; returns the revisions before and after.

    Raises DatabaseError when the database is newer than this version of evolver, or belongs to another
    program.
    """
    _require_own(database)
    before = database.revision()
    if before is not None and before > REVISION:
        raise DatabaseError(
            f"the database {database} is at revision {before}, "
            f"newer than this evolver's {REVISION}; upgrade evolver"
        )
    if database.is_sqlite:
        _use_wal(database)
    with database.long_write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        command.upgrade(_config(connection), revision)
    return before, REVISION


def _require_own(database: Database) -> None:
    """Refuse a database where another program has its tables, before anything in it is changed.

    A SQLite file has one owner, and is easily named by mistake. In PostgreSQL people do keep several programs
    in one schema: there, only tables that are named as evolver's are in the way.
    """
    with database.read() as connection:
        found = set(inspect(connection).get_table_names())
    foreign = found - {"alembic_version"}
    is_own = {"alembic_version", experiment.name} <= found
    is_in_the_way = database.is_sqlite or found & {"alembic_version", *metadata.tables}
    if foreign and not is_own and is_in_the_way:
        remedy = "give another file" if database.is_sqlite else "give evolver a database of its own"
        raise DatabaseError(
            f"{database} belongs to another program, which has tables there ({_some(foreign)}); "
            f"nothing was changed; {remedy}"
        )


def _some(names: set[str]) -> str:
    first = sorted(names)[:NAMES_SHOWN]
    return ", ".join([*first, "…"] if len(names) > NAMES_SHOWN else first)


def _use_wal(database: Database) -> None:
    """Write-ahead logging lets readers and one writer work at the same time; it stays set in the file."""
    raw = database.engine.raw_connection()
    deadline = time.monotonic() + BEGIN_RETRY_S
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError:  # busy: this pragma does not wait by itself
                if time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.01, 0.1))
    finally:
        raw.close()
