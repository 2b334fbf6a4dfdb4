"""Who leads an experiment: a lease of its own, for schedulers.

``advance`` guards every step's transaction by the token and the step's number, so that a scheduler
which was frozen or replaced writes nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from evolver.errors import LeadershipLost
from evolver.store.schema import experiment, leader
from evolver.store.types import now, now_plus


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to write the next step of an experiment: step ``step_no`` + 1."""

    experiment_id: int
    token: str
    step_no: int


def lead(
    connection: Connection, experiment_id: int, holder: str, lease_s: float, *, by_force: bool = False
) -> Leadership | None:
    """Become the leader of an experiment that has none, or whose leader's lease ran out; else None.

    ``holder`` names one scheduler: it gets back at once what it led itself. ``by_force`` takes it from
    whoever leads. Nobody else leads what is being deleted.
    """
    doomed = select(experiment.c.id).where(experiment.c.id == experiment_id, experiment.c.state == "deleting")
    if not by_force and connection.execute(doomed).first():
        return None
    token = secrets.token_hex(16)
    values = {"holder": holder, "token": token, "expires_at": now_plus(literal(lease_s))}
    taken = connection.execute(
        update(leader)
        .where(
            leader.c.experiment_id == experiment_id,
            or_(leader.c.expires_at < now(), leader.c.holder == holder, literal(by_force)),
        )
        .values(values)
        .returning(leader.c.step_no)
    ).scalar()
    if taken is not None:
        return Leadership(experiment_id, token, int(taken))
    if connection.execute(select(leader.c.token).where(leader.c.experiment_id == experiment_id)).scalar():
        return None
    try:
        with connection.begin_nested():
            connection.execute(insert(leader).values(experiment_id=experiment_id, step_no=0, **values))
    except IntegrityError:  # another scheduler was quicker, or the experiment is gone
        return None
    return Leadership(experiment_id, token, 0)


def advance(connection: Connection, leadership: Leadership, lease_s: float) -> Leadership:
    """Begin a step's transaction: the guard. Raises LeadershipLost, and then nothing may be written."""
    advanced = connection.execute(
        update(leader)
        .where(
            leader.c.experiment_id == leadership.experiment_id,
            leader.c.token == leadership.token,
            leader.c.step_no == leadership.step_no,
        )
        .values(step_no=leadership.step_no + 1, expires_at=now_plus(literal(lease_s)))
    )
    if advanced.rowcount == 0:
        raise LeadershipLost(leadership.experiment_id)
    return Leadership(leadership.experiment_id, leadership.token, leadership.step_no + 1)


def resign(connection: Connection, leadership: Leadership) -> None:
    """Give leadership up, so that the next scheduler need not wait for the lease to run out."""
    connection.execute(
        update(leader)
        .where(leader.c.experiment_id == leadership.experiment_id, leader.c.token == leadership.token)
        .values(expires_at=now())
    )
