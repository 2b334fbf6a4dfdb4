"""Connections and transactions.

``Database.open`` refuses a database at another revision with a message that says what to do, and
makes a SQLite file on first use. ``write`` and ``read`` are one transaction each. Failures of the
server or the connection surface as ``DatabaseUnavailable``, which callers may retry.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, exc, make_url, text

from evolver.errors import DatabaseError
from evolver.store import engines
from evolver.store.engines import LONG, READ, SINGLE, WRITE
from evolver.store.schema import REVISION

DEFAULT_URL = "sqlite:///evolver.db"
VARIABLE = "EVOLVER_DATABASE_URL"
BEGIN_RETRY_S = 60.0
"""How long a SQLite transaction waits for others before the caller sees DatabaseUnavailable."""
INSUFFICIENT_PRIVILEGE = "42501"
"""PostgreSQL's code for what a user has no right to do."""


class DatabaseUnavailable(DatabaseError):
    """The database could not be reached, or dropped the connection: trying again may help."""


def resolve_url(url: str | None) -> URL:
    """The URL to use: the argument, else the environment, else a file in this directory.

    Raises DatabaseError when it is malformed or names another kind of database.
    """
    given = url or os.environ.get(VARIABLE) or DEFAULT_URL
    try:
        parsed = make_url(given)
    except (exc.ArgumentError, ValueError):
        raise DatabaseError(
            f"malformed database URL '{without_password(given)}'; "
            "expected sqlite:///FILE.db or postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise DatabaseError("a SQLite database must be a file that processes share: sqlite:///FILE.db")
        return parsed.set(drivername="sqlite+pysqlite")
    raise DatabaseError(f"database '{backend}' is not supported; use sqlite:///FILE.db or postgresql://…")


def without_password(url: str) -> str:
    """A URL, or a message with one, without secrets; a password may hold any sign, an @ too."""
    hidden = re.sub(r"([^:/@\s]*):(?!//)\S*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&\s]*", r"\1***", hidden)


def display_url(url: URL) -> str:
    """The URL for people: no driver, no password."""
    plain = url.set(drivername=url.get_backend_name())
    return without_password(plain.render_as_string(hide_password=True))


class Database:
    """One database: opens transactions. Cheap to open; hold one in each process.

    ``wait_s`` bounds how long a transaction on SQLite waits for others, ``answer_within_s`` how long a
    PostgreSQL server is waited for and works on a write; who has leases to renew must not hang.
    """

    def __init__(
        self, url: URL, *, wait_s: float = BEGIN_RETRY_S, answer_within_s: float | None = None
    ) -> None:
        self.url = url
        self.wait_s = wait_s
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.engine = (
            engines.sqlite(url, wait_s / 2) if self.is_sqlite else engines.postgresql(url, answer_within_s)
        )

    @classmethod
    def open(
        cls,
        url: str | None = None,
        *,
        create: bool = False,
        wait_s: float = BEGIN_RETRY_S,
        answer_within_s: float | None = None,
    ) -> Database:
        """Open a database at this version's revision.

        With ``create``, a SQLite file that is not there yet is made and migrated. Raises DatabaseError
        when the database is unreachable, missing, or at another revision.
        """
        database = cls(resolve_url(url), wait_s=wait_s, answer_within_s=answer_within_s)
        try:
            database._require_revision(create=create)
        except BaseException:
            database.dispose()
            raise
        return database

    def _require_revision(self, *, create: bool) -> None:
        if self.is_sqlite:
            path = Path(self.url.database or "")
            if not create and not path.exists():
                raise DatabaseError(
                    f"there is no database at {self}; 'evolver new' or 'evolver run' makes one"
                )
            if not path.resolve().parent.is_dir():
                raise DatabaseError(f"the directory of the database {self} does not exist; make it first")
        found = self.revision()
        if found is None and self.is_sqlite and create:
            from evolver.store import migrate  # alembic is loaded only where it is needed

            migrate.upgrade(self)
        elif found != REVISION:
            raise DatabaseError(_wrong_revision(str(self), found))

    def revision(self) -> str | None:
        """The revision that the database is at, None when it has no schema."""
        with self.read() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One read-write transaction: committed at the end, rolled back on an exception."""
        with self._connection(WRITE) as connection:
            yield connection

    @contextmanager
    def long_write(self) -> Iterator[Connection]:
        """As ``write``, for what may take long: no statement of it is cut off."""
        with self._connection(LONG) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read-only transaction, of one consistent state of the database."""
        with self._connection(READ) as connection:
            yield connection

    @contextmanager
    def single(self) -> Iterator[Connection]:
        """A connection for one statement that is a transaction of its own.

        On PostgreSQL nothing is sent but that statement: no BEGIN, no COMMIT. SQLite, which is in this
        process anyhow, gets a read-write transaction.
        """
        with self._connection(WRITE if self.is_sqlite else SINGLE) as connection:
            yield connection

    @contextmanager
    def _connection(self, mode: str) -> Iterator[Connection]:
        with self._translated(remedy=f"; check that {self._to_check}"):
            connection = self._begin(mode)
        try:
            with self._translated():
                yield connection
                connection.commit()
        finally:
            connection.close()

    def _begin(self, mode: str) -> Connection:
        """A connection inside a transaction.

        On SQLite, a busy database is waited for, with jitter. On PostgreSQL, a pooled connection that has
        died since its last use is replaced once: nothing has been sent on it yet. Not where the server was
        silent: the next connection would be waited for as well.
        """
        deadline = time.monotonic() + self.wait_s
        is_first = True
        while True:
            connection = self.engine.connect().execution_options(evolver_mode=mode)
            try:
                connection.begin()
            except exc.DBAPIError as error:
                connection.close()
                if self.is_sqlite:
                    if not _is_busy(error) or time.monotonic() > deadline:
                        raise
                    time.sleep(random.uniform(0.01, 0.1))
                elif not (error.connection_invalidated and is_first) or _was_silent(error):
                    raise
                is_first = False
            except BaseException:
                connection.close()
                raise
            else:
                return connection

    @contextmanager
    def _translated(self, remedy: str = "") -> Iterator[None]:
        """Failures of the server or the connection, as the one error that callers know."""
        try:
            yield
        except exc.OperationalError as error:
            raise DatabaseUnavailable(f"cannot use the database {self}: {_reason(error)}{remedy}") from error
        except exc.DatabaseError as error:
            if isinstance(error.orig, sqlite3.DatabaseError) and "not a database" in str(error.orig):
                raise DatabaseError(
                    f"{self} is not a SQLite database; give the path of another file"
                ) from error
            if getattr(error.orig, "sqlstate", None) == INSUFFICIENT_PRIVILEGE:
                raise DatabaseError(
                    f"this user may not do that in {self}: {_reason(error)}; "
                    "'evolver db roles' prints who may do what"
                ) from error
            if error.connection_invalidated:
                raise DatabaseUnavailable(f"cannot use the database {self}: {_reason(error)}") from error
            raise

    @property
    def _to_check(self) -> str:
        """What must hold for a transaction to begin; names no password."""
        if self.is_sqlite:
            return "this user may write the file and its directory, and that no stopped process holds it"
        host, port = (getattr(self.url, key) or self.url.query.get(key) for key in ("host", "port"))
        return f"the server runs (host {host or 'local'}, port {port or 5432}) and that the URL is right"

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __str__(self) -> str:
        return display_url(self.url)


def _wrong_revision(where: str, found: str | None) -> str:
    if found is None:
        return f"the database {where} has no schema yet; run: evolver db upgrade"
    if found > REVISION:
        return (
            f"the database {where} is at revision {found}, newer than evolver's {REVISION}; upgrade evolver"
        )
    return (
        f"the database {where} is at revision {found}, this evolver needs {REVISION}; run: evolver db upgrade"
    )


def _reason(error: exc.DBAPIError) -> str:
    """The first line of the driver's message, without the connection string."""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return without_password(lines[0]).strip()


def _was_silent(error: exc.DBAPIError) -> bool:
    """Whether a bounded connection (``bounded.py``) was given up for want of an answer."""
    return error.orig is not None and isinstance(error.orig.__cause__, TimeoutError)


def _is_busy(error: exc.DBAPIError) -> bool:
    return "locked" in str(error.orig) or "busy" in str(error.orig)
