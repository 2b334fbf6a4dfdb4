"""The scheduler's step of one experiment: ingest, select, breed.

``Search`` leads one experiment. Its step reads what ended, computes selection and births outside of any
lock, and writes them in one short transaction that begins with the guard of its leadership.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import Connection

from evolver import failpoints, terms
from evolver.births import Breeder
from evolver.breeding import Birth
from evolver.errors import LeadershipLost
from evolver.search import MembershipChange, SearchState
from evolver.selection.archive import Front
from evolver.selection.base import Objectives, Population
from evolver.store import experiments, leadership, queue, steps
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.store.leadership import Leadership
from evolver.store.seeds import Seed
from evolver.store.steps import Ended

log = logging.getLogger("evolver.scheduler")

LEASE_S = 15.0
"""How long a scheduler leads without a step; another one takes over after that."""
MAX_INGEST = 256
"""Results in one step, at most: it keeps the transaction short."""
MAX_BIRTHS = 64
"""Births in one step, at most."""
SLOTS_PER_PENDING = 4
MIN_DEPTH = 2
"""How many pending evaluations are kept ready: one for so many slots that are alive, and at least so many.
What is bred ahead knows less. Where results come faster than steps, twice as many as ended since the last."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """A step, computed and not yet written. ``ended[i]`` gets the ingest number of ``first_no`` + i."""

    state: SearchState
    first_no: int
    ended: Sequence[Ended]
    changes: Sequence[MembershipChange]
    births: Sequence[Birth[Any]]
    seeds: Mapping[int, Seed]
    finished: str | None

    @property
    def is_empty(self) -> bool:
        return not (self.ended or self.births or self.finished)

    @property
    def front_changed_at(self) -> int | None:
        return max((change.at for change in self.changes if change.kind == "front"), default=None)


class Search:
    """One experiment, led by this process. Everything it keeps can be loaded again at any time."""

    def __init__(
        self,
        connection: Connection,
        experiment: Experiment,
        led: Leadership,
        *,
        lease_s: float = LEASE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        settings = experiment.settings
        self.experiment = experiment
        self.leadership = led
        self.lease_s = lease_s
        self._clock = clock
        self._led_until = self._stepped_at = clock()
        self.objectives = settings.objectives
        self.selector = terms.load_selector(settings)
        self.state = self._load(connection)
        self._breeder = Breeder(experiment, terms.load_space(experiment), self.selector)

    def _load(self, connection: Connection) -> SearchState:
        found = self.experiment
        population = Population.empty(self.selector.slots, len(self.objectives))
        holders = steps.members(connection, found.id, "population", self.objectives)
        for holder in holders:
            assert holder.slot is not None
            population = population.with_slot(
                holder.slot,
                holder.genome_id,
                _vector(holder.objectives),
                terms.violation(found.settings, holder.objectives),
            )
        front = Front.empty(len(self.objectives))
        in_front = steps.members(connection, found.id, "front", self.objectives)
        if in_front:
            front = Front(tuple(m.genome_id for m in in_front), _vector([m.objectives for m in in_front]))
        return SearchState(population, front, found.selector_state, found.ingested, found.operator_credit)

    def step(self, database: Database) -> bool:
        """Ingest, select, breed; returns whether there was anything to do.

        Raises LeadershipLost when another scheduler leads now; this one is of no use then.
        """
        with database.read() as connection:
            current = experiments.by_id(connection, self.experiment.id)
            if current is None:
                raise LeadershipLost(self.experiment.id)
            if current.ingested != self.state.ingested:
                raise LeadershipLost(self.experiment.id)
            self.experiment = current
            plan = self._plan(connection)
        if plan.is_empty and self._clock() < self._led_until - self.lease_s / 2:
            return False
        failpoints.reach("scheduler.before_step")
        begun = self._clock()
        with database.write() as connection:
            advanced = leadership.advance(connection, self.leadership, self.lease_s)
            self._write(connection, plan, active_s=min(begun - self._stepped_at, self.lease_s))
            failpoints.reach("scheduler.before_commit")
        failpoints.reach("scheduler.after_commit")
        self.leadership, self.state = advanced, plan.state
        self._led_until, self._stepped_at = begun + self.lease_s, begun
        return not plan.is_empty

    # --- compute ---

    def _plan(self, connection: Connection) -> _Plan:
        ended = steps.newly_ended(connection, self.experiment.id, self.objectives, MAX_INGEST)
        state, changes = self.state, list[MembershipChange]()
        for one in ended:
            state, changed = terms.take_in(self.experiment.settings, self.selector, state, one)
            changes += changed
        plan = _Plan(state, self.state.ingested + 1, ended, changes, (), {}, None)
        if self.experiment.state != "running":
            return plan
        depth = queue.depth(connection, self.experiment.id)
        is_idle = depth.pending + depth.running == 0 and len(ended) < MAX_INGEST
        finished = self._finished(plan, is_idle=is_idle)
        if finished:
            return replace(plan, finished=finished)
        numbers = self._numbers(connection, plan, depth.pending - depth.waiting)
        sown = self._breeder.seeds(connection, numbers)
        births = self._breeder.breed(connection, state, numbers, sown)
        return replace(plan, births=births, seeds=sown)

    def _finished(self, plan: _Plan, *, is_idle: bool) -> str | None:
        """Why the search ends with this step, if it does."""
        settings = self.experiment.settings
        if self.experiment.born >= settings.budget and is_idle:
            return "budget"
        if settings.max_hours is not None and self.experiment.active_s >= settings.max_hours * 3600:
            return "max-hours"
        front_changed_at = plan.front_changed_at or self.experiment.front_changed_at
        if settings.patience is not None and plan.state.ingested - front_changed_at >= settings.patience:
            return "patience"
        return None

    def _numbers(self, connection: Connection, plan: _Plan, claimable: int) -> range:
        """The numbers of as many children as the queue needs to last until the next step."""
        slots = steps.live_slots(connection)
        depth = max(MIN_DEPTH, math.ceil(slots / SLOTS_PER_PENDING), 2 * len(plan.ended))
        budget = self.experiment.settings.budget - self.experiment.born
        number = max(0, min(depth - claimable, MAX_BIRTHS, budget))
        return range(self.experiment.born + 1, self.experiment.born + number + 1)

    # --- write ---

    def _write(self, connection: Connection, plan: _Plan, *, active_s: float) -> None:
        found = self.experiment
        steps.number_ended(
            connection, {one.evaluation_id: plan.first_no + i for i, one in enumerate(plan.ended)}
        )
        failpoints.reach("scheduler.mid_step")
        steps.change_memberships(connection, found.id, plan.changes)
        steps.update_progress(
            connection,
            found.id,
            born=len(plan.births),
            ingested=len(plan.ended),
            failed=sum(one.objectives is None for one in plan.ended),
            front_changed_at=plan.front_changed_at,
            selector_state=plan.state.selector_state,
            operator_credit=plan.state.credit,
            active_s=active_s if found.state == "running" else 0.0,
        )
        self._breeder.write(connection, plan.births, plan.seeds, plan.state.ingested)
        queue.inherit(connection, found.id)
        if plan.finished and not self._finish(connection, plan.finished):
            log.info("%s: not finished, it was changed meanwhile", found.settings.name)

    def _finish(self, connection: Connection, reason: str) -> bool:
        """running → finished, unless something was changed since the step was computed.

        A failure may have been retried: its evaluation is seen here, since the row of the experiment is
        locked by now, and 'evolver retry' writes that row.
        """
        open_now = queue.depth(connection, self.experiment.id)
        if reason == "budget" and open_now.pending + open_now.running:
            return False
        return experiments.finish(connection, self.experiment, reason)


def _vector(values: Any) -> Objectives:
    return np.asarray(values, dtype=np.float64)
