"""The workers: who they are, who is alive, and asking them to leave.

A worker writes its own row through ``leases.py``; here is what others read of it and do to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    String,
    and_,
    cast,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    update,
)

from evolver.store.schema import evaluation, worker
from evolver.store.types import now, seconds_between

RECENT_FAULT_S = 3600
"""How long a worker that gave up because of its host is shown."""

_IS_LIVE = and_(worker.c.state.in_(["active", "draining"]), worker.c.expires_at > now())


@dataclass(frozen=True, slots=True)
class WorkerFact:
    """A worker: ``running`` is how many evaluations it holds.

    ``state`` is what it said last: one that died said nothing, which ``is_live`` tells. It renews its
    leases for ``lease_s`` at a time.
    """

    id: int
    host: str
    pid: int
    device: str
    slots: int
    state: str
    note: str | None
    running: int
    started_at: datetime
    seconds_since_heartbeat: float
    lease_s: float
    is_live: bool
    versions: dict[str, str]

    @property
    def name(self) -> str:
        """What people call it: host:pid."""
        return f"{self.host}:{self.pid}"

    @property
    def condition(self) -> str:
        """Its state for people: ``gone`` when it ended without a word."""
        return "gone" if self.state in ("active", "draining") and not self.is_live else self.state


def live(connection: Connection) -> list[WorkerFact]:
    """The workers whose heartbeat is recent enough."""
    return _workers(connection, _IS_LIVE)


def faulted(connection: Connection) -> list[WorkerFact]:
    """The workers that stopped claiming because of their host, in the last hour."""
    recent = seconds_between(worker.c.heartbeat_at, now()) < RECENT_FAULT_S
    return _workers(connection, and_(worker.c.state == "faulted", recent))


def recent_faults(connection: Connection) -> tuple[str, ...]:
    """A line for each of the faulted workers."""
    return tuple(f"{one.name}: {one.note}" for one in faulted(connection))


def heard_of(connection: Connection, within_s: float) -> list[WorkerFact]:
    """The workers that are alive, or gave a sign of life in this time, oldest first."""
    recent = seconds_between(worker.c.heartbeat_at, now()) < within_s
    return _workers(connection, or_(_IS_LIVE, recent))


def every(connection: Connection) -> list[WorkerFact]:
    """All workers that are on record, oldest first."""
    return _workers(connection, literal(True))


def named(connection: Connection, name: str) -> list[WorkerFact]:
    """The workers of this id or host:pid, oldest first: a pid comes back, so there may be several.

    Compared as text, since people may type anything, also numbers that no column holds.
    """
    host, colon, pid = name.rpartition(":")
    if colon:
        return _workers(connection, and_(worker.c.host == host, cast(worker.c.pid, String) == pid))
    return _workers(connection, cast(worker.c.id, String) == name)


def drain(connection: Connection, worker_id: int) -> bool:
    """Ask a live worker to claim no more, to finish what it holds, and to leave.

    It hears of it with its next heartbeat. False when it is not alive.
    """
    asked = connection.execute(
        update(worker).where(worker.c.id == worker_id, _IS_LIVE).values(state="draining")
    )
    return asked.rowcount == 1


def long_gone(connection: Connection, older_than_s: float) -> int:
    """How many workers ended or fell silent longer ago than that, and hold nothing."""
    query = select(func.count()).select_from(worker).where(_is_long_gone(older_than_s))
    return int(connection.execute(query).scalar_one())


def forget(connection: Connection, older_than_s: float) -> int:
    """Delete the rows of those workers; returns how many. What they did keeps their ids and hosts."""
    return connection.execute(delete(worker).where(_is_long_gone(older_than_s))).rowcount


def _is_long_gone(older_than_s: float) -> ColumnElement[bool]:
    holders = select(evaluation.c.worker_id).where(
        evaluation.c.state == "running", evaluation.c.worker_id.is_not(None)
    )
    return and_(
        not_(_IS_LIVE),
        seconds_between(worker.c.heartbeat_at, now()) > older_than_s,
        worker.c.id.not_in(holders),
    )


def _workers(connection: Connection, condition: Any) -> list[WorkerFact]:
    held = (
        select(evaluation.c.worker_id, func.count().label("number"))
        .where(evaluation.c.state == "running")
        .group_by(evaluation.c.worker_id)
        .subquery()
    )
    query = select(
        worker.c.id,
        worker.c.host,
        worker.c.pid,
        worker.c.device,
        worker.c.slots,
        worker.c.state,
        worker.c.note,
        func.coalesce(held.c.number, 0),
        worker.c.started_at,
        seconds_between(worker.c.heartbeat_at, now()),
        seconds_between(worker.c.heartbeat_at, worker.c.expires_at),
        _IS_LIVE,
        worker.c.versions,
    ).outerjoin(held, held.c.worker_id == worker.c.id)
    rows = connection.execute(query.where(condition).order_by(worker.c.id)).all()
    return [WorkerFact(*row) for row in rows]
