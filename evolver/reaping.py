"""When leases that ran out are taken back: not right after a time in which nobody could renew them.

A machine that was suspended, a container that was frozen, a clock that was set forward and a database that
was away all leave leases behind that ran out although their holders are alive. Whoever looks first, as a rule
the scheduler, would take the work from all of them, at a strike each: after ``max_attempts`` such nights a
long training would have failed as ``lost``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from evolver.store import leases, operations
from evolver.store.db import Database

JUMP_S = 5.0
"""The database's clock is ahead of this process's by so much more than before: the machine stood still, or
the clock was set."""
AWAY_S = 15.0
"""After so long a time without a look, this process may have been frozen together with the holders, or all of
them without the database."""


class Reaper:
    """Takes back leases that ran out: keep one for the life of a process, and call ``reap`` now and then.

    ``clock`` counts as processes of this machine run: it stands still while the machine is suspended.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: tuple[datetime, float] | None = None
        """The database's clock and this process's, at the last look."""
        self._wait_until: float | None = None

    def reap(self, database: Database) -> int:
        """Take back what ran out; returns how many. None while holders may yet renew it.

        Raises DatabaseUnavailable.
        """
        with database.write() as connection:
            now = operations.clock(connection)
            if self._must_wait(now):
                self._wait_until = self._clock() + leases.longest_s(connection)
            is_waiting = self._wait_until is not None and self._clock() < self._wait_until
            reaped = 0 if is_waiting else leases.reap(connection)
        self._last = now, self._clock()
        if not is_waiting:
            self._wait_until = None
        return reaped

    def _must_wait(self, now: datetime) -> bool:
        """Whether holders may have been unable to renew their leases until ``now`` (the database's clock)."""
        if self._last is None:
            return False
        by_database = (now - self._last[0]).total_seconds()
        by_process = self._clock() - self._last[1]
        # Who always looks so seldom waits every other time, not for ever.
        return by_database - by_process > JUMP_S or (by_process > AWAY_S and self._wait_until is None)
