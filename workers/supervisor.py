"""The supervisor: claims work for its slots, keeps the leases, writes what the slots report.

One thread, one database, no torch. Each turn of its loop waits until something happens, lets every
slot attend to its process, and then does whatever is due. The database may be unreachable for a
while: the training goes on, as long as its lease is trusted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from evolver import failpoints
from evolver.errors import EnvironmentFault, LeaseLost
from evolver.reaping import Reaper
from evolver.store import claims, leases
from evolver.store.claims import Claim, Offer, WorkerInfo
from evolver.store.db import Database
from evolver.store.leases import Heartbeat
from evolver.store.wakeups import WORK, Wakeups
from workers.admission import estimate
from workers.claiming import Claimer
from workers.loop import Backoff, SignalWatch, jittered
from workers.options import WorkerOptions, checkpoint_base
from workers.outage import Outage
from workers.readiness import Readiness, differing_data
from workers.slots import STOP_S, Slot, claimable, start_what_fits
from workers.work import How, Work, delete_old_checkpoints

POLL_S = (0.05, 1.0)
"""Between looks for work: the shortest and the longest pause."""
LISTENING_POLL_S = (0.05, 5.0)
"""The same where PostgreSQL tells of work: then the look is for what was not told."""
MARGIN = 0.1
"""The share of a lease's time by which the worker ceases to trust it before the database does."""
MAX_FAULTS = 3
"""So many faults of the host in a row, without a success between, and the worker claims no more."""
REFUSALS = (SQLAlchemyError, OverflowError, UnicodeError)
"""What a database, or the driver before it, says of values that no column holds."""
RELEASE_S = 10.0
"""How long writing the releases may take when the worker was told to stop."""

log = logging.getLogger("evolver.worker")


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Something a user interface may show. ``what`` is ``claimed``, ``dropped``, or how the work ended."""

    what: Literal["claimed", "dropped"] | How
    slot: int
    experiment: str
    genome_id: int
    evaluation_id: int
    detail: str


@dataclass(slots=True)
class _Leaving:
    """Whether and how the worker leaves: ``at`` is when it does so at the latest."""

    under_way: bool = False
    state: Literal["stopped", "faulted"] = "stopped"
    note: str | None = None
    at: float = math.inf
    signals_heeded: int = 0


@dataclass(slots=True)
class _Due:
    """When what is to be done next, on the monotonic clock."""

    renewal: float = -math.inf
    search: float = -math.inf
    reap: float = field(default_factory=time.monotonic)


class Supervisor:
    """One worker. ``run`` may be called once, in the main thread (it handles signals)."""

    def __init__(
        self,
        database: Database,
        slots: Sequence[Slot],
        info: WorkerInfo,
        options: WorkerOptions,
        on_event: Callable[[WorkerEvent], None] | None = None,
    ) -> None:
        self._database = database
        self._slots = slots
        self._info = info
        self._options = options
        self._on_event = on_event
        self._signals = SignalWatch()
        self._wakeups = Wakeups(database.engine, WORK)
        self._readiness = Readiness()
        self._claimer = Claimer(database, info, options.lease_s)
        self._reaper = Reaper()
        self._poll = Backoff(*(POLL_S if database.is_sqlite else LISTENING_POLL_S))
        self._due = _Due()
        self._leaving = _Leaving()
        self._outage = Outage()
        self._note: str | None = None
        self._noted: str | None = None
        self._worker_id = 0
        self._finished = 0
        self._faults_in_a_row = 0
        self._idle_since = math.inf

    def run(self) -> int:
        """Work until there is a reason to leave; returns the exit status.

        0 after a signal, a drain, or a limit; 4 when the host was at fault ``MAX_FAULTS`` times in a
        row. Raises DatabaseError when the worker cannot be registered.
        """
        with self._signals:
            with self._database.write() as conn:
                self._register(conn)
            self._idle_since = time.monotonic()
            try:
                while not self._may_leave():
                    self._turn()
            finally:
                for slot in self._slots:
                    slot.kill()
            # Who must leave now does not try once more what was away a moment ago.
            if not (self._outage.failed and time.monotonic() >= self._leaving.at):
                self._sign_off()
        log.info("worker %d: %s, evaluations: %d", self._worker_id, self._leaving.state, self._finished)
        return EnvironmentFault.exit_code if self._leaving.state == "faulted" else 0

    def _register(self, conn: Connection) -> None:
        self._worker_id = claims.register_worker(conn, self._info, lease_s=self._options.lease_s)
        self._noted = None
        log.info("worker %d: on %s, slots: %d", self._worker_id, self._info.device, len(self._slots))

    def _sign_off(self) -> None:
        with self._outage.tolerated("sign off"):
            self._claimer.release_unclear()
            with self._database.write() as conn:
                claims.worker_state(conn, self._worker_id, self._leaving.state, self._leaving.note)

    def _turn(self) -> None:
        processes = [slot.process for slot in self._slots if slot.process]
        self._signals.wait(
            self._next_due() - time.monotonic(),
            [*self._wakeup_fd(), *(fd for process in processes for fd in process.readable())],
            [fd for process in processes for fd in process.writable()],
        )
        self._outage.begin_turn()
        if self._wakeups.take():
            self._look_soon()
        for slot in self._slots:
            slot.attend()
        start_what_fits(self._slots)
        self._heed_signals()
        self._renew()
        self._drop_what_is_not_trusted()  # after the renewal: who was frozen may hold its leases still
        for use_database in (self._record, self._conclude_checks, self._look_for_work):
            if not self._outage.failed:
                use_database()

    def _wakeup_fd(self) -> list[int]:
        descriptor = self._wakeups.fileno()
        return [] if descriptor is None else [descriptor]

    def _next_due(self) -> float:
        if self._outage.failed:
            return -math.inf  # the next turn does what this one has left out
        times = [self._due.renewal, self._leaving.at]
        if self._wants_work():
            times.append(self._due.search)
        if self._options.idle_timeout_s is not None and all(slot.is_free for slot in self._slots):
            times.append(self._idle_since + self._options.idle_timeout_s)
        for slot in self._slots:
            times.append(slot.next_deadline())
            if slot.work:
                times.append(slot.work.trusted_until if not slot.work.ending else math.inf)
                times.append(slot.work.next_write())
        return min(times)

    # --- leaving -------------------------------------------------------------------------------------

    def _may_leave(self) -> bool:
        now = time.monotonic()
        if now >= self._leaving.at:
            return True
        if any(not slot.is_free for slot in self._slots):
            self._idle_since = now
            return False
        limit, timeout_s = self._options.max_evaluations, self._options.idle_timeout_s
        is_enough = limit is not None and self._finished >= limit
        is_idle = timeout_s is not None and now >= self._idle_since + timeout_s
        return self._leaving.under_way or is_enough or is_idle

    def _heed_signals(self) -> None:
        """The first signal hands the work back in order; the second leaves as soon as that is possible."""
        if self._signals.stops == self._leaving.signals_heeded:
            return
        first = self._leaving.signals_heeded == 0
        self._leaving.signals_heeded = self._signals.stops
        self._leaving.under_way = True
        if first and self._signals.stops == 1:
            log.info("worker %d: told to stop; handing the work back", self._worker_id)
            self._leaving.at = time.monotonic() + STOP_S + RELEASE_S
            for slot in self._slots:
                slot.stop()
            return
        for slot in self._slots:
            slot.hand_back_now()
        self._record()
        self._leaving.at = time.monotonic()

    def _drain(self, reason: str) -> None:
        """Claim no more, and leave when the work under way has ended."""
        if not self._leaving.under_way:
            log.info("worker %d: %s; finishing the work under way", self._worker_id, reason)
            self._leaving.under_way = True
            with self._outage.tolerated("say that it drains"), self._database.write() as conn:
                claims.worker_state(conn, self._worker_id, "draining", reason)

    # --- leases --------------------------------------------------------------------------------------

    def _drop_what_is_not_trusted(self) -> None:
        """What has not ended; whether an ending is accepted so late, its own write tells."""
        now = time.monotonic()
        for slot in self._slots:
            if slot.work and not slot.work.ending and now >= slot.work.trusted_until:
                self._claimer.hand_back(slot.work.lease.token)
                self._drop(slot, slot.work, "its lease could not be renewed in time")

    def _drop(self, slot: Slot, work: Work, reason: str) -> None:
        slot.drop()
        self._tell("dropped", slot, work.claim, reason)
        self._look_soon()

    def _renew(self) -> None:
        """Renew all leases in one transaction, and hear whether work or worker shall stop."""
        asked = time.monotonic()
        if asked < self._due.renewal or self._outage.failed:
            return
        period = self._options.lease_s / 4
        self._due.renewal = asked + jittered(min(1.0, period))
        held = [slot.work.lease for slot in self._slots if slot.work]
        with self._outage.tolerated("renew its leases"):
            with self._database.write() as conn:
                beat = leases.heartbeat(conn, self._worker_id, held, self._options.lease_s)
                if not beat.is_known:
                    self._register(conn)
                # Not over a request to drain, which stands in the same row.
                if self._note != self._noted and not beat.drain:
                    claims.worker_state(conn, self._worker_id, "active", self._note)
            self._noted = self._note
            self._due.renewal = asked + period
            self._heed(beat, self._trusted_until(asked))
            self._claimer.release_unclear()

    def _heed(self, beat: Heartbeat, trusted_until: float) -> None:
        for slot in self._slots:
            work = slot.work
            if work is None or work.ending:  # whether an ending is still accepted, its own write tells
                continue
            if work.lease.token not in beat.held:
                self._drop(slot, work, "its lease is lost")
                continue
            work.trusted_until = trusted_until
            if work.lease.token in beat.hand_back:
                slot.stop()
        if beat.drain:
            self._drain("asked to drain")

    def _trusted_until(self, asked: float) -> float:
        """The database counted from a moment after ``asked``, so this is before its own expiry."""
        return asked + self._options.lease_s * (1 - MARGIN)

    # --- recording -----------------------------------------------------------------------------------

    def _record(self) -> None:
        """Write what the slots have reported, a transaction for each slot."""
        for slot in self._slots:
            if self._outage.failed:
                return
            work = slot.work
            if work is None or time.monotonic() < work.next_write():
                continue
            try:
                with self._outage.tolerated("record results"):
                    work.record(self._database)
                    if work.takes_new_checkpoint():
                        self._delete_old_checkpoints(work.lease.evaluation_id)
                    if work.ending:
                        self._settle(slot, work, work.ending.how, work.ending.detail)
            except LeaseLost:
                self._drop(slot, work, "its lease is lost")
            except REFUSALS as error:
                self._refuse(slot, work, error)

    def _refuse(self, slot: Slot, work: Work, error: Exception) -> None:
        """The database takes the connection but not the values: the fault of the evaluator that gave them."""
        log.error("evaluation %d: the database refuses its results", work.lease.evaluation_id, exc_info=error)
        slot.kill()
        if not work.refuse(f"the database refuses the results: {type(error).__name__}"):
            self._drop(slot, work, "the database refuses even its failure")

    def _settle(self, slot: Slot, work: Work, how: How, detail: str) -> None:
        """The end of the work stands in the database: the slot is free."""
        slot.work = None
        self._tell(how, slot, work.claim, detail)
        self._look_soon()
        if how in ("done", "failed"):
            self._finished += 1
            self._delete_old_checkpoints(work.lease.evaluation_id)
        if how == "done":
            self._faults_in_a_row = 0
        elif how == "environment":
            self._count_fault(work.claim, detail)

    def _count_fault(self, claim: Claim, detail: str) -> None:
        self._readiness.doubt(claim.task.evaluator, claim.task.dataset.id)
        self._faults_in_a_row += 1
        if self._faults_in_a_row == MAX_FAULTS:
            note = f"{MAX_FAULTS} faults of this host in a row; the last: {detail}"
            log.error("worker %d: %s", self._worker_id, note)
            self._drain(note)
            self._leaving.state, self._leaving.note = "faulted", note

    def _delete_old_checkpoints(self, evaluation_id: int) -> None:
        with self._outage.tolerated("delete old checkpoints"):
            delete_old_checkpoints(
                self._database, checkpoint_base(self._options, self._database.url), evaluation_id
            )

    # --- finding work --------------------------------------------------------------------------------

    def _wants_work(self) -> bool:
        if self._leaving.under_way or not claimable(self._slots):
            return False
        under_way = sum(slot.work is not None for slot in self._slots)
        limit = self._options.max_evaluations
        return limit is None or self._finished + under_way < limit

    def _look_soon(self) -> None:
        self._poll.reset()
        self._due.search = -math.inf

    def _look_for_work(self) -> None:
        """Fill the free slots, or check the data for an experiment that is new here."""
        now = time.monotonic()
        if not self._wants_work() or now < self._due.search:
            return
        self._due.search = now + self._poll.delay()
        with self._outage.tolerated("look for work"):
            self._reap(now)
            with self._database.read() as conn:
                offers = claims.offers(conn, self._options.experiments)
            self._check_next(offers)
            self._say_what_is_missing(self._readiness.complaint(offers))
            servable = self._readiness.servable(offers)
            while self._wants_work() and self._claim(claimable(self._slots)[0], servable):
                pass

    def _reap(self, now: float) -> None:
        if now < self._due.reap:
            return
        self._due.reap = now + jittered(self._options.lease_s / 4)
        if expired := self._reaper.reap(self._database):
            log.info("worker %d: took back %d expired leases", self._worker_id, expired)

    def _claim(self, slot: Slot, offers: Sequence[Offer]) -> bool:
        if not offers:
            return False
        asked = time.monotonic()
        claim = self._claimer.claim(self._worker_id, slot, offers)
        if claim is None:
            return False
        failpoints.reach("worker.after_claim")
        self._poll.reset()
        slot.work = Work(claim, self._trusted_until(asked), estimate(claim.task))
        start_what_fits(self._slots)
        waits = f", waits for memory of {slot.device}" if slot.is_waiting else ""
        self._tell("claimed", slot, claim, f"attempt {claim.attempt}{waits}")
        return True

    def _check_next(self, offers: Sequence[Offer]) -> None:
        under_way = [slot.checking for slot in self._slots if slot.checking]
        offer = self._readiness.to_check(offers, under_way)
        free = next((slot for slot in self._slots if slot.is_free), None)
        if offer and free:
            free.check(offer)

    def _conclude_checks(self) -> None:
        for slot in self._slots:
            if self._outage.failed:
                return
            answer = slot.take_verdict()
            if answer is None:
                continue
            offer, verdict = answer
            with self._outage.tolerated("compare the data"):
                fault = verdict.fault or differing_data(self._database, offer, verdict.sha256)
                self._readiness.conclude(offer, fault)
                self._look_soon()

    def _say_what_is_missing(self, complaint: str | None) -> None:
        """Into the worker's row, with the next renewal, which a new complaint brings forward."""
        if complaint != self._note:
            self._note = complaint
            self._due.renewal = -math.inf

    # --- telling -------------------------------------------------------------------------------------

    def _tell(self, what: Literal["claimed", "dropped"] | How, slot: Slot, claim: Claim, detail: str) -> None:
        event = WorkerEvent(
            what, slot.number, claim.experiment, claim.task.genome_id, claim.lease.evaluation_id, detail
        )
        log.info(
            "slot %d: %s: genome %d (evaluation %d) %s: %s",
            event.slot,
            event.experiment,
            event.genome_id,
            event.evaluation_id,
            event.what,
            event.detail,
        )
        if self._on_event:
            self._on_event(event)
