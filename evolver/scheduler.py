"""The scheduler: leads as many experiments as it can get, and stands by for the others.

What it does for each of them is ``step.Search``.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence

from evolver.births import BreedingFailed
from evolver.errors import EvolverError, IllegalTransition, InvalidGenome, LeadershipLost, SpaceExhausted
from evolver.events import Observer
from evolver.reaping import Reaper
from evolver.step import LEASE_S, Search
from evolver.store import experiments, leadership
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.wakeups import RESULT, Wakeups

log = logging.getLogger("evolver.scheduler")

POLL_S = (0.02, 1.0)
"""The wait between steps when nothing happens grows from the first to the second, with jitter."""


class Scheduler:
    """Leads experiments: those of ``names``, or all, while there is something to do for them.

    Experiments that another scheduler leads are tried again, so any number may run side by side.
    An ``observer`` is shown what it leads, after each step.
    """

    def __init__(
        self,
        database: Database,
        names: Sequence[str] = (),
        *,
        lease_s: float = LEASE_S,
        observer: Observer | None = None,
    ) -> None:
        self.database = database
        self.names = tuple(names)
        self.lease_s = lease_s
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.wakeups = Wakeups(database.engine, RESULT)
        self._observer = observer
        self._reaper = Reaper()
        self._refused: set[int] = set()
        self._led: dict[int, Search] = {}
        self._reap_at = 0.0
        self._look_at = 0.0

    def step(self) -> bool:
        """One step of every experiment that it leads; returns whether there was anything to do."""
        if time.monotonic() >= self._reap_at:
            self._reap_at = time.monotonic() + random.uniform(0.5, 1.5) * self.lease_s / 3
            if reaped := self._reaper.reap(self.database):
                log.warning("took back %d evaluations whose workers were lost", reaped)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + random.uniform(0.5, 1.0)
            self._look_for_work()
        busy = False
        for search in list(self._led.values()):
            try:
                busy = search.step(self.database) or busy
            except LeadershipLost:
                log.info("another scheduler leads %s now", search.experiment.settings.name)
                del self._led[search.experiment.id]
                if self._observer:
                    self._observer.forget(search.experiment.id)
            except (SpaceExhausted, InvalidGenome, BreedingFailed) as error:
                self._pause(search, str(error))
        if self._observer:
            self._observer.look(self._led)
        return busy

    def _look_for_work(self) -> None:
        with self.database.read() as connection:
            found = experiments.to_lead(connection)
        wanted = {one.id: one for one in found if not self.names or one.settings.name in self.names}
        for gone in self._led.keys() - wanted.keys():
            self._resign(self._led.pop(gone))
        for one in wanted.values():
            if one.id not in self._led and one.id not in self._refused:
                self._try_to_lead(one.id)

    def _try_to_lead(self, experiment_id: int) -> None:
        with self.database.write() as connection:
            led = leadership.lead(connection, experiment_id, self.holder, self.lease_s)
            if led is None:
                return
            experiments.begin(connection, experiment_id)
            found = experiments.by_id(connection, experiment_id)
        if found is None:
            return
        name = found.settings.name
        try:
            with self.database.read() as connection:
                self._led[experiment_id] = Search(connection, found, led, lease_s=self.lease_s)
            if self._observer:
                self._observer.begin(found)
            log.info("leading %s", name)
        except DatabaseUnavailable:
            raise
        except EvolverError as error:
            with self.database.write() as connection:
                leadership.resign(connection, led)
            if self.names:
                raise
            log.error("cannot lead %s: %s", name, error)
            self._refused.add(experiment_id)

    def _pause(self, search: Search, reason: str) -> None:
        """Stop breeding what cannot be bred, and say why, instead of trying for ever."""
        log.error("pausing %s: %s", search.experiment.settings.name, reason)
        try:
            with self.database.write() as connection:
                experiments.transition(connection, search.experiment, "paused", reason)
        except IllegalTransition:
            log.info("%s was paused or stopped meanwhile", search.experiment.settings.name)

    def _resign(self, search: Search) -> None:
        with self.database.write() as connection:
            leadership.resign(connection, search.leadership)

    def close(self) -> None:
        """Give up leadership, so that another scheduler can go on at once."""
        if self._observer:
            self._observer.look(self._led, is_last=True)
        for search in self._led.values():
            try:
                self._resign(search)
            except DatabaseUnavailable as error:
                log.warning("could not resign: %s", error)
        self._led.clear()

    def run(self, should_stop: Callable[[], bool], wait: Callable[[float], object] | None = None) -> None:
        """Step until ``should_stop``; a database that is away is waited for.

        ``wait`` pauses for some seconds; by default a result that comes in ends the pause.
        """
        wait = wait or self.wakeups.wait
        pause = POLL_S[0]
        while not should_stop():
            try:
                busy = self.step()
            except DatabaseUnavailable as error:
                log.warning("%s; trying again", error)
                self._led.clear()
                busy, pause = False, POLL_S[1]
            pause = POLL_S[0] if busy else min(POLL_S[1], pause * 1.5)
            wait(random.uniform(0.5, 1.0) * pause)
