"""A database that cannot be reached for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from evolver.store.db import DatabaseUnavailable

log = logging.getLogger("evolver.worker")


class Outage:
    """Lets the supervisor go on without its database, and says so once, not at every attempt."""

    def __init__(self) -> None:
        self._is_on = False

    @contextmanager
    def tolerated(self, aim: str) -> Iterator[None]:
        """Break off what is inside when the database cannot be used; the caller comes back to it."""
        try:
            yield
        except DatabaseUnavailable as error:
            if not self._is_on:
                log.warning("cannot %s: %s; trying again", aim, error)
            self._is_on = True
        else:
            if self._is_on:
                log.info("the database is back")
            self._is_on = False
