"""What happens in a search that people want to hear of, found out by the scheduler that leads it.

Event     one of them: new members of the front, the end, no result for long, many failures.
Limits    when a search counts as stalled, when its failures as many, how often the front is told of.
Observer  looks at searches from time to time, and tells each event once.

Everything is read from the database, after a step is written: what is told has happened. Where an event
goes is ``notify.py``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection

from evolver.space import Json
from evolver.store import experiments, facts, fleet, observations, queue
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.store.facts import GenomeFact
from evolver.store.observations import Progress

log = logging.getLogger("evolver.events")

Kind = Literal["new-front-member", "finished", "stalled", "failure-rate"]

LOOK_EVERY_S = 1.0
"""The time between two looks; each costs one transaction, whatever the number of searches."""
LEAST_RESULTS = 10
"""No failure rate is told of fewer results."""
MEMBERS_TOLD = 100
"""So many genomes an event lists at the most; it has their number as well."""
MEMBERS_NAMED = 3
"""So many of them its message names."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to a search. ``message`` is one line for people, ``facts`` are for programs."""

    kind: Kind
    experiment: str
    message: str
    facts: Mapping[str, Json]
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class Limits:
    """When to tell: after ``stalled_after_s`` without a result; when more than ``failure_limit`` of the last
    ``failure_window`` results are failures; of the front once in ``front_every_s`` at the most.
    """

    stalled_after_s: float = 3600.0
    failure_limit: float = 0.5
    failure_window: int = 50
    front_every_s: float = 60.0


@dataclass(slots=True)
class _Told:
    """What is known of a search already: until which ingest number its front was told of, and so on."""

    front_until: int
    ingested: int
    progress_at: float
    front_at: float | None = None
    failures_until: int = 0
    is_stalled: bool = False
    is_failing: bool = False
    is_finished: bool = False


class Observer:
    """Looks at the searches that this process leads, and hands each event to ``tell``, which must not block.

    What happened before ``begin`` is not told. It never disturbs the search: what goes wrong
    here is logged once, and the database is looked at again later.
    """

    def __init__(
        self,
        database: Database,
        tell: Callable[[Event], None],
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._tell = tell
        self._limits = limits or Limits()
        self._clock = clock
        self._look_at = clock()
        self._told: dict[int, _Told] = {}
        self._led: set[int] = set()
        self._complained = False

    def begin(self, found: Experiment) -> None:
        """This process leads a search from now on; after a lost connection, what was told stays told."""
        if found.id not in self._told:
            self._told[found.id] = _Told(found.ingested, found.ingested, self._clock())
        self._told[found.id].is_finished = found.state == "finished"  # else it may end again

    def forget(self, experiment_id: int) -> None:
        """Another scheduler leads this search now, and tells of it."""
        self._led.discard(experiment_id)
        self._told.pop(experiment_id, None)

    def look(self, led: Collection[int], *, is_last: bool = False) -> None:
        """Look at the searches that are led now, and once more at those that were until now, when it is time.

        The last look is always taken, and waits with nothing.
        """
        self._led.update(led)
        if not self._led or (self._clock() < self._look_at and not is_last):
            return
        self._look_at = self._clock() + LOOK_EVERY_S
        try:
            with self._database.read() as connection:
                for one in observations.progress(connection, self._led):
                    for event in self._events(connection, one, is_last=is_last):
                        self._tell(event)
        except Exception as error:  # whatever it is, the search goes on
            if not self._complained:
                log.warning("cannot look for events: %s", error)
            self._complained = True
            return
        self._complained = False
        self._led = set(led)

    def _events(self, connection: Connection, now: Progress, *, is_last: bool) -> list[Event]:
        told = self._told[now.id]
        found = [
            self._front(connection, now, told, at_once=is_last or now.state == "finished"),
            self._failures(connection, now, told),
            self._stalled(connection, now, told),
            self._finished(connection, now, told),
        ]
        told.ingested = now.ingested
        return [one for one in found if one is not None]

    # --- the events ---

    def _front(self, connection: Connection, now: Progress, told: _Told, *, at_once: bool) -> Event | None:
        """New members, merged: of those that others dominated meanwhile nothing is told."""
        is_due = told.front_at is None or self._clock() >= told.front_at + self._limits.front_every_s
        if now.ingested <= told.front_until or not (is_due or at_once):
            return None
        experiment = experiments.by_id(connection, now.id)
        if experiment is None:
            return None
        members = observations.new_in_front(connection, experiment, told.front_until)
        told.front_until = now.ingested
        if not members:
            return None
        told.front_at = self._clock()
        return Event(
            "new-front-member",
            now.name,
            f"{now.name}: {_named(members)}",
            {
                "number": len(members),
                "genomes": [
                    {"genome_id": one.genome_id, "birth": one.birth, "objectives": dict(one.objectives)}
                    for one in members[:MEMBERS_TOLD]
                ],
                **_progress(now),
            },
        )

    def _failures(self, connection: Connection, now: Progress, told: _Told) -> Event | None:
        """Told when the rate rises above its limit, and not again until it was below."""
        if now.ingested == told.failures_until:
            return None
        told.failures_until = now.ingested
        last = observations.last_failures(connection, now.id, self._limits.failure_window)
        kinds = Counter(kind for kind in last if kind is not None)
        rate = kinds.total() / len(last) if last else 0.0
        was_failing = told.is_failing
        told.is_failing = len(last) >= LEAST_RESULTS and rate > self._limits.failure_limit
        if was_failing or not told.is_failing:
            return None
        by_kind = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
        return Event(
            "failure-rate",
            now.name,
            f"{now.name}: {kinds.total()} of the last {len(last)} results failed ({by_kind})",
            {"rate": rate, "results": len(last), "kinds": dict(kinds), **_progress(now)},
        )

    def _stalled(self, connection: Connection, now: Progress, told: _Told) -> Event | None:
        """Told once, and not again until a result ended. A search that is paused does not stall."""
        if now.ingested != told.ingested or now.state != "running":
            told.progress_at, told.is_stalled = self._clock(), False
            return None
        silent_s = self._clock() - told.progress_at
        if told.is_stalled or silent_s < self._limits.stalled_after_s:
            return None
        depth = queue.depth(connection, now.id)
        workers = len(fleet.live(connection))
        if depth.pending + depth.running == 0 and workers:
            return None
        told.is_stalled = True
        why = "no worker is alive" if not workers else f"{workers} alive, {depth.running} evaluations running"
        return Event(
            "stalled",
            now.name,
            f"{now.name}: no result for {silent_s / 60:.0f} minutes; {why}",
            {
                "silent_s": round(silent_s, 1),
                "workers": workers,
                "pending": depth.pending,
                "running": depth.running,
                **_progress(now),
            },
        )

    def _finished(self, connection: Connection, now: Progress, told: _Told) -> Event | None:
        """Told once; a search that was extended ends again."""
        was_finished, told.is_finished = told.is_finished, now.state == "finished"
        if was_finished or not told.is_finished:
            return None
        found = experiments.by_id(connection, now.id)
        members = facts.front_members(connection, found) if found else []
        best = facts.best_of_each(members, found.settings.objectives) if found else {}
        return Event(
            "finished",
            now.name,
            f"{now.name}: finished ({now.state_reason}) after {now.ingested} results, {now.failed} of them "
            f"failed; {len(members)} in the front",
            {"reason": now.state_reason, "front_size": len(members), "best": best, **_progress(now)},
        )


def _progress(now: Progress) -> Mapping[str, Json]:
    return {"ingested": now.ingested, "failed": now.failed, "budget": now.budget}


def _named(members: Sequence[GenomeFact]) -> str:
    """The new members in words, the first ones by name."""
    values = [
        f"genome {one.genome_id} ({', '.join(f'{key} {value:.4g}' for key, value in one.objectives.items())})"
        for one in members[:MEMBERS_NAMED]
    ]
    more = f" and {len(members) - len(values)} more" if len(members) > len(values) else ""
    return f"{len(members)} new in the front: {', '.join(values)}{more}"
