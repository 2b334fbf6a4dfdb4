"""A connection to PostgreSQL that does not wait for ever.

TCP notices a dead machine (keep-alive), but not a server, proxy or firewall that keeps the connection and
answers no more. Whoever has leases to renew must not hang there: after ``answer_within_s`` the connection
is closed, and the caller sees what it sees of any lost connection.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar, cast

import psycopg

R = TypeVar("R")


class BoundedConnection(psycopg.Connection[Any]):
    """Every exchange with the server must end in time."""

    answer_within_s: float = 20.0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one exchange (psycopg calls this for each). Raises OperationalError when it takes too long."""
        try:
            return super().wait(_bounded(gen, self.answer_within_s), *args, **kwargs)
        except TimeoutError as error:
            self.close()
            raise psycopg.OperationalError(str(error)) from None


def _bounded(exchange: Generator[Any, Any, R], seconds: float) -> Generator[Any, Any, R]:
    """The same exchange, until the time is over; psycopg resumes it ten times a second at least."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(exchange)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise TimeoutError(f"the server did not answer within {seconds:g} s")
            wanted = exchange.send(ready)
    except StopIteration as end:
        return cast("R", end.value)
