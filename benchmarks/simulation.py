"""One search in virtual time: simulated workers, and the scheduler's real step through the real store.

A worker claims, is busy for as long as its evaluation is said to take, completes, and claims again; the
scheduler steps when a result has come in. Claims, completions and steps are those of evolver, on the
database that is given, and what each of them took is charged to the virtual clock: a worker is not busy
while it claims or completes, and there is one scheduler, whose next step begins when the last one has ended.
What a step bred is there to be claimed when the step has ended. Whoever waits is woken ``WAKE_UP_S`` after
that for which it waits, as PostgreSQL's notifications do it.

The virtual clock is the ``clock`` of the step. The database keeps its own, and all leases are longer than
any simulation takes, so that none runs out. Calls that overlap in virtual time are made one after the other,
each in the order of its beginning: a step may see a result that is written within the same milliseconds. Real
times differ from run to run, and so may the order of two results that come so close to each other.

Simulation  one search with so many workers.
Result      one evaluation that has ended.
Step        one step of the scheduler.
Run         what came of a search.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from evolver.evaluation import Task
from evolver.scheduler import POLL_S
from evolver.step import Search
from evolver.store import claims, experiments, leadership, leases, queue
from evolver.store.claims import Claim, WorkerInfo
from evolver.store.db import Database
from evolver.store.experiments import Experiment

LEASE_S = 24 * 3600.0
"""On the database's clock: longer than any simulation takes."""
WAKE_UP_S = 0.003
"""From a commit until who waits for it acts: what ``wakeups.py`` measures."""

Evaluate = Callable[[Task], tuple[float, Mapping[str, float]]]
"""How long an evaluation takes, in seconds, and the values of its objectives."""


@dataclass(frozen=True, slots=True)
class Result:
    """One evaluation: claimed, under way from ``started_s``, and its result readable at ``ended_s``."""

    genome_id: int
    started_s: float
    duration_s: float
    ended_s: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step: it read the results that had ended at ``began_s``; ``born`` genomes were there before it."""

    began_s: float
    ended_s: float
    born: int


@dataclass(frozen=True, slots=True)
class Run:
    """A search from its start until it was stopped at ``seconds``, its workers still at work.

    ``results`` are in the order in which they ended, ``claim_s`` and ``complete_s`` the real times of
    each call.
    """

    experiment_id: int
    workers: int
    seconds: float
    busy_s: float
    results: Sequence[Result]
    steps: Sequence[Step]
    claim_s: Sequence[float]
    complete_s: Sequence[float]

    @property
    def utilisation(self) -> float:
        """The share of all workers' time in which they evaluated."""
        return self.busy_s / (self.workers * self.seconds)


class Simulation:
    """One search with so many workers; the experiment was created and is led here."""

    def __init__(self, database: Database, experiment: Experiment, workers: int, evaluate: Evaluate) -> None:
        self._database = database
        self._evaluate = evaluate
        self._objectives = experiment.settings.objectives
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        with database.write() as connection:
            led = leadership.lead(connection, experiment.id, "simulation", LEASE_S)
            assert led is not None, "somebody else leads the experiment"
            experiments.begin(connection, experiment.id)
            begun = experiments.get(connection, experiment.settings.name)
            info = WorkerInfo("simulated", 1, "none", 1, {})
            self._workers = [
                claims.register_worker(connection, info, lease_s=LEASE_S) for _ in range(workers)
            ]
        with database.read() as connection:
            self._search = Search(connection, begun, led, lease_s=LEASE_S, clock=lambda: self._now)
            self._offers = claims.offers(connection, [experiment.settings.name])
        self._claimable = 0
        self._waiting: deque[int] = deque()
        self._steps_now = self._wakes = self._is_woken = False
        self._started: dict[int, float] = {}
        self._busy_s = 0.0
        self._results: list[Result] = []
        self._steps: list[Step] = []
        self._claim_s: list[float] = []
        self._complete_s: list[float] = []

    def run(self, is_enough: Callable[[Sequence[Result]], bool]) -> Run:
        """Simulate until the results are enough; it is asked after each one."""
        self._waiting.extend(self._workers)
        self._at(0.0, self._step)
        seen = 0
        while len(self._results) == seen or not is_enough(self._results):
            seen = len(self._results)
            self._now, _, event = heappop(self._events)
            event()
        self._leave()
        return Run(
            self._search.experiment.id,
            len(self._workers),
            self._now,
            self._busy_s + sum(max(0.0, self._now - started) for started in self._started.values()),
            sorted(self._results, key=lambda result: result.ended_s),
            self._steps,
            self._claim_s,
            self._complete_s,
        )

    def _leave(self) -> None:
        """The workers are gone and the experiment stops, so that the next simulation is alone."""
        with self._database.write() as connection:
            for worker in self._workers:
                claims.worker_state(connection, worker, "stopped")
            experiments.transition(connection, self._search.experiment, "stopped")

    def _at(self, seconds: float, event: Callable[[], None]) -> None:
        heappush(self._events, (seconds, next(self._order), event))

    # --- the scheduler ---

    def _wake_scheduler(self) -> None:
        if self._steps_now:
            self._is_woken = True
        elif not self._wakes:
            self._wakes = True
            self._at(self._now + WAKE_UP_S, self._step)

    def _step(self) -> None:
        self._wakes, self._steps_now = False, True
        busy, took = _timed(partial(self._search.step, self._database))
        self._steps.append(Step(self._now, self._now + took, self._search.experiment.born))
        self._at(self._now + took, partial(self._stepped, busy))

    def _stepped(self, busy: bool) -> None:
        """The step has committed: who waits for work may claim what it bred."""
        self._steps_now = False
        with self._database.read() as connection:
            depth = queue.depth(connection, self._search.experiment.id)
        self._claimable = depth.pending - depth.waiting
        for _ in range(min(self._claimable, len(self._waiting))):
            self._at(self._now + WAKE_UP_S, partial(self._claim, self._waiting.popleft()))
        if self._is_woken:
            self._is_woken = False
            self._step()
        elif busy and self._waiting:
            self._wakes = True
            self._at(self._now + POLL_S[0], self._step)

    # --- a worker ---

    def _claim(self, worker: int) -> None:
        """Claim what is oldest of what is there, or wait."""
        if self._claimable == 0:
            self._waiting.append(worker)
            return
        self._claimable -= 1
        claim, took = _timed(partial(self._real_claim, worker))
        assert claim is not None, "the queue holds what was counted"
        self._claim_s.append(took)
        duration, values = self._evaluate(claim.task)
        self._started[worker] = started = self._now + took
        self._at(started + duration, partial(self._end, worker, claim, duration, values))

    def _real_claim(self, worker: int) -> Claim | None:
        with self._database.single() as connection:
            return claims.claim(
                connection,
                worker,
                slot=0,
                device="none",
                device_name="none",
                versions={},
                lease_s=LEASE_S,
                offers=self._offers,
            )

    def _end(self, worker: int, claim: Claim, duration: float, values: Mapping[str, float]) -> None:
        """The evaluation has ended: its result is written, and then read by whom it wakes."""
        started = self._started.pop(worker)
        self._busy_s += duration
        _, took = _timed(partial(self._real_completion, claim, values))
        self._complete_s.append(took)
        vector = tuple(values[name] for name in self._objectives)
        readable = self._now + took
        self._results.append(Result(claim.task.genome_id, started, duration, readable, vector))
        self._at(readable, partial(self._completed, worker))

    def _real_completion(self, claim: Claim, values: Mapping[str, float]) -> None:
        with self._database.single() as connection:
            leases.complete(connection, claim.lease, values)

    def _completed(self, worker: int) -> None:
        self._wake_scheduler()
        self._claim(worker)


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and the seconds that it took."""
    began = time.perf_counter()
    returned = call()
    return returned, time.perf_counter() - began
