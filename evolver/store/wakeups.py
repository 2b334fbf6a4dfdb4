"""Wake-ups: PostgreSQL tells at once that there is work, or a result. Hints, never more.

Who waits for something polls anyhow, with back-off and jitter; a notification ends the pause early. It
arrives on the connection that the process has for everything else. Only behind a pooler, where LISTEN
means nothing, a second connection goes to EVOLVER_DATABASE_DIRECT_URL. On SQLite there are none.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Engine, event, exc, make_url

from evolver.errors import DatabaseError

if TYPE_CHECKING:
    import psycopg

Channel = Literal["evolver_work", "evolver_result"]
WORK: Channel = "evolver_work"
RESULT: Channel = "evolver_result"
DIRECT_VARIABLE = "EVOLVER_DATABASE_DIRECT_URL"
"""Set where EVOLVER_DATABASE_URL leads through a pooler in transaction mode: the way around it."""
RECONNECT_S = 60.0
"""Between tries to make a direct connection; polling goes on meanwhile."""
DIRECT_ANSWER_S = 2.0
"""How long it is waited for: whoever makes it may have leases to renew."""


def announce(connection: Connection, channel: Channel) -> None:
    """Wake who listens, when this transaction commits."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_notify(%(channel)s, '')", {"channel": channel})


class Wakeups:
    """The notifications of one channel; what fails is left to polling.

    Never blocks, but for ``wait``, and where a direct connection is to be made (``DIRECT_ANSWER_S``). Raises
    DatabaseError when it is made and the direct URL is malformed.
    """

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None
        self._direct: tuple[Any, Any] | None = None
        self._connect_at = 0.0
        self._came = False
        if engine.dialect.name != "postgresql":
            return
        if direct_url := os.environ.get(DIRECT_VARIABLE):
            self._direct = _connect_arguments(engine, direct_url)
        else:
            event.listen(engine, "connect", lambda connection, _record: self._listen(connection))
            engine.dispose()  # the next connection listens

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        connection.add_notify_handler(self._notice)
        connection.execute(b"LISTEN " + self._channel.encode())
        connection.commit()
        self._connection = connection
        self._came = True  # what was announced before is not told again

    def _notice(self, _notification: object) -> None:
        self._came = True

    def _connect_directly(self) -> None:
        """Behind a pooler: a connection of its own, tried again now and then."""
        if self._connection is not None or self._direct is None or time.monotonic() < self._connect_at:
            return
        import psycopg  # not at the top: who uses SQLite need not load it

        from evolver.store.bounded import connect_within

        arguments, parameters = self._direct
        with contextlib.suppress(psycopg.Error):
            self._listen(connect_within(DIRECT_ANSWER_S, *arguments, **parameters))
        self._connect_at = time.monotonic() + RECONNECT_S

    def fileno(self) -> int | None:
        """What becomes readable with a notification; None while there is no connection."""
        self._connect_directly()
        if self._connection is not None and self._connection.closed:
            self._connection = None
        return None if self._connection is None else self._connection.fileno()

    def take(self) -> bool:
        """Whether a notification came since this was last asked."""
        if self.fileno() is not None and self._connection is not None:
            try:
                self._connection.pgconn.consume_input()
                while self._connection.pgconn.notifies():
                    self._came = True
            except self._connection.Error:  # the connection is gone: whoever uses it next will see
                self._connection = None
        came, self._came = self._came, False
        return came

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a notification comes; returns whether one did."""
        descriptor = self.fileno()
        if self._came or descriptor is None:
            time.sleep(0 if self._came else seconds)
        else:
            select.select([descriptor], [], [], seconds)
        return self.take()


def _connect_arguments(engine: Engine, url: str) -> tuple[Any, Any]:
    """What psycopg is to be called with for a URL of the same form as the database's."""
    try:
        return engine.dialect.create_connect_args(make_url(url))
    except (exc.ArgumentError, ValueError):
        raise DatabaseError(
            f"malformed URL in {DIRECT_VARIABLE}; expected postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
