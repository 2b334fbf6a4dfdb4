"""A database that cannot be reached for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from evolver.store.db import DatabaseUnavailable

log = logging.getLogger("evolver.worker")


class Outage:
    """Lets the supervisor go on without its database, and says so once, not at every attempt.

    Each try may take as long as a server is waited for, while signals and training processes wait: so a turn
    of the supervisor's loop that has ``failed`` once tries nothing more.
    """

    def __init__(self) -> None:
        self.failed = False
        """Whether the database was found unavailable in this turn."""
        self._is_on = False

    def begin_turn(self) -> None:
        """The database may be tried again."""
        self.failed = False

    @contextmanager
    def tolerated(self, aim: str) -> Iterator[None]:
        """Break off what is inside when the database cannot be used; the caller comes back to it."""
        try:
            yield
        except DatabaseUnavailable as error:
            if not self._is_on:
                log.warning("cannot %s: %s; trying again", aim, error)
            self._is_on = self.failed = True
        else:
            if self._is_on and not self.failed:  # else what failed was inside
                log.info("the database is back")
                self._is_on = False
