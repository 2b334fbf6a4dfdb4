"""One claimed evaluation, from its claim until its end stands in the database.

What the training process tells becomes rows under the lease's token. They wait here while the
database cannot be reached, as long as the lease is trusted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from evolver import failpoints
from evolver.errors import EnvironmentFault
from evolver.evaluation import Epoch
from evolver.store import leases
from evolver.store.claims import Claim
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.leases import Lease
from workers import checkpoints
from workers.loop import Backoff

Write = Callable[[Connection], object]
End = Callable[[Connection, Sequence[Epoch]], object]
How = Literal["done", "failed", "released", "environment"]

log = logging.getLogger("evolver.worker")


@dataclass(frozen=True, slots=True)
class Ending:
    """How an evaluation ended, in words, and the write that records it with the epochs not yet written."""

    how: How
    detail: str
    write: End

    @classmethod
    def done(cls, lease: Lease, values: Mapping[str, float], log_tail: str) -> Ending:
        detail = ", ".join(f"{name} {value:.4g}" for name, value in sorted(values.items()))
        return cls(
            "done",
            detail,
            lambda conn, epochs: leases.complete(conn, lease, values, epochs=epochs, log_tail=log_tail),
        )

    @classmethod
    def failed(cls, lease: Lease, kind: str, message: str, log_tail: str) -> Ending:
        return cls(
            "failed",
            f"{kind}: {message}",
            _after_epochs(lease, lambda conn: leases.fail(conn, lease, kind, message, log_tail=log_tail)),
        )

    @classmethod
    def released(cls, lease: Lease, log_tail: str) -> Ending:
        write = _after_epochs(lease, lambda conn: leases.release(conn, lease, log_tail=log_tail))
        return cls("released", "handed back", write)

    @classmethod
    def environment(cls, lease: Lease, message: str, log_tail: str) -> Ending:
        return cls(
            "environment",
            message,
            _after_epochs(
                lease, lambda conn: leases.environment_fault(conn, lease, message, log_tail=log_tail)
            ),
        )


def _after_epochs(lease: Lease, end: Write) -> End:
    def write(conn: Connection, epochs: Sequence[Epoch]) -> None:
        if epochs:
            leases.record_epochs(conn, lease, epochs)
        end(conn)

    return write


class Work:
    """A claim, what is still to be written of it, and the times by which something must have happened.

    All times are of the monotonic clock. ``trusted_until``: after it, somebody else may hold the
    evaluation. ``memory_bytes``: what its training takes, see ``workers.admission.estimate``.
    """

    def __init__(self, claim: Claim, trusted_until: float, memory_bytes: int = 0) -> None:
        self.claim = claim
        self.trusted_until = trusted_until
        self.memory_bytes = memory_bytes
        self.started = False
        """A training process was told of it; until then it waits for memory."""
        self.begun = False
        self.deadline = math.inf
        """The training process must be ready, or, once it has begun, have an outcome by then."""
        self._timeout_at = math.inf
        """The deadline of what has begun, if no part of it was trained before."""
        self.stop_by = math.inf
        """It was asked to stop, and must have stopped by then."""
        self.ending: Ending | None = None
        self._rows: list[Write] = []
        self._epochs: list[Epoch] = []
        self._retry_at = -math.inf
        self._backoff = Backoff(0.1, 5.0)
        self._may_be_recorded = False
        self._is_refused = False
        self._has_new_checkpoint = False

    @property
    def lease(self) -> Lease:
        return self.claim.lease

    @property
    def stopping(self) -> bool:
        return self.stop_by < math.inf

    def start(self, ready_by: float) -> None:
        """A training process is told of it, and must be ready by then."""
        self.started = True
        self.deadline = ready_by

    def begin(self, now: float) -> None:
        """The evaluation starts: its time-out runs from here, so that loading torch costs no genome."""
        self.begun = True
        self.deadline = self._timeout_at = now + (self.claim.task.timeout_s or math.inf)

    def resume(self, epoch: int | None) -> None:
        """It goes on from a checkpoint, whose time counts, or (None) begins anew, with all of its time."""
        self.deadline = self._timeout_at - (0.0 if epoch is None else self.claim.trained_s)

    def add(self, row: Write) -> None:
        """Write this, in order, under the lease."""
        self._rows.append(row)

    def add_epoch(self, epoch: Epoch) -> None:
        """Write the metrics of an epoch."""
        self._epochs.append(epoch)

    def add_checkpoint(self, row: Write) -> None:
        """Write that a checkpoint was saved."""
        self.add(row)
        self._has_new_checkpoint = True

    def takes_new_checkpoint(self) -> bool:
        """Whether a checkpoint was recorded since this was last asked: it replaces those before."""
        taken, self._has_new_checkpoint = self._has_new_checkpoint, False
        return taken

    def end(self, ending: Ending) -> None:
        """Write this as the last thing; the first ending counts."""
        self.ending = self.ending or ending

    def refuse(self, message: str) -> bool:
        """The database refuses what waits: fail instead. False when that failure is what it refuses."""
        if self._is_refused:
            return False
        self._is_refused = True
        self._rows.clear()
        self._epochs.clear()
        self.ending = Ending.failed(self.lease, "error", message, "")
        return True

    def next_write(self) -> float:
        """When to call ``record``; never, while nothing is to be written."""
        return self._retry_at if self._rows or self._epochs or self.ending else math.inf

    def record(self, database: Database) -> None:
        """Write what waits, in one transaction.

        Raises LeaseLost, or DatabaseUnavailable: then it is to be tried again at ``next_write()``.
        Repeating rows is harmless; whether an ending has been committed is asked before it is repeated.
        """
        if self.ending:
            failpoints.reach("worker.before_complete")
        try:
            with self._transaction(database) as conn:
                if not (self._may_be_recorded and leases.finished_under(conn, self.lease)):
                    self._write(conn)
        except DatabaseUnavailable:
            self._may_be_recorded = self.ending is not None
            self._retry_at = time.monotonic() + self._backoff.delay()
            raise
        self._rows.clear()
        self._epochs.clear()
        self._backoff.reset()
        self._retry_at = -math.inf
        if self.ending:
            failpoints.reach("worker.after_complete")

    def _transaction(self, database: Database) -> AbstractContextManager[Connection]:
        """A success with its epochs is one statement, which needs no transaction around it."""
        is_one = self.ending is not None and self.ending.how == "done"
        return database.single() if is_one and not (self._rows or self._may_be_recorded) else database.write()

    def _write(self, conn: Connection) -> None:
        for row in self._rows:
            row(conn)
        if self.ending:
            self.ending.write(conn, self._epochs)
        elif self._epochs:
            leases.record_epochs(conn, self.lease, self._epochs)


def delete_old_checkpoints(database: Database, base_url: str, evaluation_id: int) -> None:
    """Delete those that a newer one, or the end of the evaluation, has made useless.

    One that cannot be deleted is logged, and tried again with the next.
    """
    with database.read() as conn:
        keys = leases.old_checkpoints(conn, evaluation_id)
    if not keys:
        return
    try:
        for key in keys:
            checkpoints.delete(base_url, key)
    except EnvironmentFault as error:
        log.warning("%s", error)
        return
    with database.write() as conn:
        leases.forget_checkpoints(conn, keys)
