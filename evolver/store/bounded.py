"""A connection to PostgreSQL that does not wait for ever.

TCP notices a dead machine (keep-alive), but not a server, proxy or firewall that keeps the connection and
answers no more. Whoever has leases to renew must not hang there: after ``answer_within_s`` the connection
is closed, and the caller sees what it sees of any lost connection.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any, TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_attempts, conninfo_to_dict

R = TypeVar("R")
SHORTEST_CONNECT_S = 2
"""psycopg takes no shorter time for connecting."""


def connect_within(answer_within_s: float, conninfo: str = "", **parameters: Any) -> BoundedConnection:
    """Connect in this time, which the hosts and addresses that are tried in turn share.

    Raises OperationalError when none of them answers.
    """
    attempts = conninfo_attempts(conninfo_to_dict(conninfo, **parameters))
    parameters["connect_timeout"] = max(SHORTEST_CONNECT_S, int(answer_within_s / len(attempts)))
    connection = BoundedConnection.connect(conninfo, **parameters)
    connection.answer_within_s = answer_within_s
    return connection


class BoundedConnection(psycopg.Connection[Any]):
    """Every exchange with the server must end in time."""

    answer_within_s: float = math.inf

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Run one exchange (psycopg calls this for each). Raises OperationalError when it takes too long."""
        try:
            return super().wait(_bounded(gen, self.answer_within_s), *args, **kwargs)
        except TimeoutError as error:
            self.close()
            raise psycopg.OperationalError(str(error)) from error


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
