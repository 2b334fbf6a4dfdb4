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

from sqlalchemy import Connection, Engine, event, make_url

if TYPE_CHECKING:
    import psycopg

Channel = Literal["evolver_work", "evolver_result"]
WORK: Channel = "evolver_work"
RESULT: Channel = "evolver_result"
DIRECT_VARIABLE = "EVOLVER_DATABASE_DIRECT_URL"
"""Set where EVOLVER_DATABASE_URL leads through a pooler in transaction mode: the way around it."""
RECONNECT_S = 5.0


def announce(connection: Connection, channel: Channel) -> None:
    """Wake who listens, when this transaction commits."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_notify(%(channel)s, '')", {"channel": channel})


class Wakeups:
    """The notifications of one channel. Never blocks, but for ``wait``, and never raises: polling goes on."""

    def __init__(self, engine: Engine, channel: Channel) -> None:
        self._channel = channel
        self._connection: psycopg.Connection[Any] | None = None
        self._direct_url = os.environ.get(DIRECT_VARIABLE)
        self._connect_at = 0.0
        self._came = False
        if engine.dialect.name == "postgresql" and not self._direct_url:
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
        if self._connection is not None or not self._direct_url or time.monotonic() < self._connect_at:
            return
        import psycopg  # not at the top: who uses SQLite need not load it

        self._connect_at = time.monotonic() + RECONNECT_S
        url = make_url(self._direct_url).set(drivername="postgresql")
        with contextlib.suppress(psycopg.Error):
            self._listen(psycopg.connect(url.render_as_string(hide_password=False), connect_timeout=5))

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
