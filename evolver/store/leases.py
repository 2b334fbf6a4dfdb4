"""The lease protocol: what the holder of an evaluation may write, and how its lease ends.

Everything a worker writes after its claim (``claims.py``) goes through one guarded UPDATE (this id,
running, this token); zero rows raise LeaseLost. ``reap`` takes back what expired. The transitions are
those of ``states.EVALUATION_TRANSITIONS``, one function each; no other module than these two and
``queue.py``, which holds the transitions that need no lease, writes a state, a lease column or an attempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from evolver.errors import LeaseLost
from evolver.evaluation import Epoch, SavedCheckpoint
from evolver.store import single
from evolver.store.schema import (
    attempt,
    checkpoint,
    epoch_metric,
    evaluation,
    experiment,
    objective_value,
    worker,
)
from evolver.store.states import RETRIED_KINDS
from evolver.store.types import now, now_plus, seconds_between
from evolver.store.wakeups import RESULT, WORK, announce

LOG_TAIL_BYTES = 16 * 1024
"""Of what a training process printed, and of a failure's message, the end is kept."""
KEYS_AT_ONCE = 1000
"""Keys in one statement: both databases have a limit."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on an evaluation, while the database agrees that ``token`` holds it."""

    evaluation_id: int
    token: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The database's answer to a heartbeat.

    ``held``: tokens whose leases were renewed. ``hand_back``: those of them whose experiment was
    stopped. ``drain``: the worker shall claim no more. ``is_known``: its row is there; it goes when the
    worker was silent for so long that 'evolver gc' took it for dead.
    """

    held: frozenset[str]
    hand_back: frozenset[str]
    drain: bool
    is_known: bool


def heartbeat(connection: Connection, worker_id: int, leases: Sequence[Lease], lease_s: float) -> Heartbeat:
    """Say that the worker lives, and renew its leases: those that it lost are missing in the answer."""
    state = connection.execute(
        update(worker)
        .where(worker.c.id == worker_id)
        .values(heartbeat_at=now(), expires_at=now_plus(literal(lease_s)))
        .returning(worker.c.state)
    ).scalar()
    held: set[str] = set()
    hand_back: set[str] = set()
    if leases:
        stopped = (
            select(experiment.c.state).where(experiment.c.id == evaluation.c.experiment_id).scalar_subquery()
        ) == "stopped"
        renewed = connection.execute(
            update(evaluation)
            .where(
                evaluation.c.id.in_([lease.evaluation_id for lease in leases]),
                evaluation.c.token.in_([lease.token for lease in leases]),
                evaluation.c.state == "running",
            )
            .values(lease_expires_at=now_plus(literal(lease_s)))
            .returning(evaluation.c.token, and_(stopped, evaluation.c.purpose == "search"))
        )
        for token, is_stopped in renewed:
            held.add(token)
            if is_stopped:
                hand_back.add(token)
    return Heartbeat(
        frozenset(held), frozenset(hand_back), drain=state == "draining", is_known=state is not None
    )


# --- while it runs -----------------------------------------------------------------------------------


def _is_held(lease: Lease) -> ColumnElement[bool]:
    """The guard: this evaluation runs under this token, now."""
    return and_(
        evaluation.c.id == lease.evaluation_id,
        evaluation.c.state == "running",
        evaluation.c.token == lease.token,
    )


def _require_held(connection: Connection, lease: Lease) -> None:
    """Lock the evaluation under its token until the transaction ends. Raises LeaseLost."""
    locked = connection.execute(update(evaluation).where(_is_held(lease)).values(token=lease.token))
    if locked.rowcount == 0:
        raise LeaseLost(lease.evaluation_id)


def attempt_started(
    connection: Connection, lease: Lease, *, dtype: str, resumed_from_epoch: int | None
) -> None:
    """Record how the attempt runs. Raises LeaseLost."""
    _require_held(connection, lease)
    connection.execute(
        update(attempt)
        .where(attempt.c.token == lease.token)
        .values(dtype=dtype, resumed_from_epoch=resumed_from_epoch)
    )


def record_epochs(connection: Connection, lease: Lease, epochs: Sequence[Epoch]) -> None:
    """Write the metrics of epochs, over those of an earlier attempt. Raises LeaseLost."""
    _require_held(connection, lease)
    _write_epochs(connection, lease, epochs)


def _write_epochs(connection: Connection, lease: Lease, epochs: Sequence[Epoch]) -> None:
    if not epochs:
        return
    new = _upsert(connection, epoch_metric)
    measured = {name: new.excluded[name] for name in single.EPOCH_COLUMNS if name != "epoch"}
    connection.execute(
        new.on_conflict_do_update(index_elements=["evaluation_id", "epoch"], set_=measured),
        [
            {
                **{name: getattr(epoch, name) for name in measured if name != "extra"},
                "extra": dict(epoch.extra) or None,
                "evaluation_id": lease.evaluation_id,
                "epoch": epoch.number,
            }
            for epoch in epochs
        ],
    )


def record_checkpoint(connection: Connection, lease: Lease, saved: SavedCheckpoint) -> None:
    """Write that a checkpoint was saved; writing it again changes nothing. Raises LeaseLost."""
    _require_held(connection, lease)
    connection.execute(
        _upsert(connection, checkpoint)
        .values(
            evaluation_id=lease.evaluation_id,
            attempt_token=lease.token,
            epoch=saved.epoch,
            kind=saved.kind,
            key=saved.key,
            sha256=saved.sha256,
            bytes=saved.bytes,
        )
        .on_conflict_do_nothing(index_elements=["key"])
    )


def _upsert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT with an ON CONFLICT clause, which each database spells with a class of its own."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def old_checkpoints(connection: Connection, evaluation_id: int) -> list[str]:
    """Keys that may be deleted: of a running evaluation all resume checkpoints but the last, else all."""
    keys = list(
        connection.execute(
            select(checkpoint.c.key)
            .where(checkpoint.c.evaluation_id == evaluation_id, checkpoint.c.kind == "resume")
            .order_by(checkpoint.c.id)
        ).scalars()
    )
    state = connection.execute(select(evaluation.c.state).where(evaluation.c.id == evaluation_id)).scalar()
    return keys if state in ("done", "failed") else keys[:-1]


def forget_checkpoints(connection: Connection, keys: Sequence[str]) -> None:
    """Remove the rows of checkpoints whose files were deleted."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = list(keys[start : start + KEYS_AT_ONCE])
        connection.execute(delete(checkpoint).where(checkpoint.c.key.in_(some)))


# --- how it ends -------------------------------------------------------------------------------------


def complete(
    connection: Connection,
    lease: Lease,
    values: Mapping[str, float],
    *,
    epochs: Sequence[Epoch] = (),
    log_tail: str = "",
) -> None:
    """running → done, with the values of the objectives and the epochs not yet written. Raises LeaseLost."""
    if connection.dialect.name == "postgresql":
        done = single.complete(
            connection,
            evaluation_id=lease.evaluation_id,
            token=lease.token,
            values=values,
            epochs=epochs,
            log_tail=_storable(log_tail),
        )
        if not done:
            raise LeaseLost(lease.evaluation_id)
        return
    _leave(connection, lease, state="done")
    _write_epochs(connection, lease, epochs)
    if values:
        connection.execute(
            insert(objective_value),
            [
                {"evaluation_id": lease.evaluation_id, "objective": name, "value": value}
                for name, value in values.items()
            ],
        )
    _end_attempt(connection, lease, outcome="done", log_tail=log_tail)


def fail(connection: Connection, lease: Lease, kind: str, message: str, *, log_tail: str = "") -> None:
    """running → failed; or → pending for a kind that need not happen again, while tries are left.

    Raises LeaseLost.
    """
    if kind in RETRIED_KINDS:
        _strike(connection, _is_held(lease), lease, kind, message)
    else:
        _leave(connection, lease, state="failed", failure_kind=kind, failure_message=_storable(message))
    _end_attempt(connection, lease, outcome="failed", failure_kind=kind, message=message, log_tail=log_tail)


def release(connection: Connection, lease: Lease, *, log_tail: str = "") -> None:
    """running → pending: the worker hands the work back; this costs no try. Raises LeaseLost."""
    _leave(connection, lease, state="pending")
    _end_attempt(connection, lease, outcome="released", log_tail=log_tail)


def release_tokens(connection: Connection, tokens: Sequence[str]) -> int:
    """Release what was claimed under these tokens, for who does not know what that is; returns how many.

    Where the answer to a claim was lost, its token holds an evaluation or it does not.
    """
    released = 0
    for start in range(0, len(tokens), KEYS_AT_ONCE):
        held = connection.execute(
            select(attempt.c.evaluation_id, attempt.c.token).where(
                attempt.c.token.in_(tokens[start : start + KEYS_AT_ONCE]), attempt.c.outcome == "running"
            )
        ).all()
        for evaluation_id, token in held:
            with suppress(LeaseLost):
                release(connection, Lease(evaluation_id, token))
                released += 1
    return released


def environment_fault(connection: Connection, lease: Lease, message: str, *, log_tail: str = "") -> None:
    """running → pending: this host cannot do it; another one may, at no cost of a try. Raises LeaseLost."""
    _leave(connection, lease, state="pending")
    _end_attempt(connection, lease, outcome="environment", message=message, log_tail=log_tail)


def finished_under(connection: Connection, lease: Lease) -> bool:
    """Whether this token's holder recorded its end: tells after a COMMIT whose outcome is unknown."""
    ended = select(attempt.c.outcome).where(attempt.c.token == lease.token)
    return connection.execute(ended).scalar() not in ("running", "lost", None)


def reap(connection: Connection) -> int:
    """Take back all leases that expired, by the database's clock; returns how many.

    Each costs its evaluation a strike; at ``max_attempts`` strikes it fails as ``lost``.
    """
    message = "the worker was not heard of before its lease ran out"
    expired = connection.execute(
        select(evaluation.c.id, evaluation.c.token)
        .where(evaluation.c.state == "running", evaluation.c.lease_expires_at < now())
        .with_for_update(skip_locked=True)
    ).all()
    reaped = 0
    for evaluation_id, token in expired:
        lease = Lease(evaluation_id, token)
        try:
            _strike(
                connection,
                and_(_is_held(lease), evaluation.c.lease_expires_at < now()),
                lease,
                "lost",
                message,
            )
        except LeaseLost:
            continue
        _end_attempt(connection, lease, outcome="lost", failure_kind="lost", message=message)
        reaped += 1
    return reaped


def longest_s(connection: Connection) -> float:
    """For how many seconds the leases that are held now were given, the longest of them; 0 without any."""
    holders = select(evaluation.c.worker_id).where(evaluation.c.state == "running")
    given_s = func.max(seconds_between(worker.c.heartbeat_at, worker.c.expires_at))
    return float(connection.execute(select(given_s).where(worker.c.id.in_(holders))).scalar() or 0.0)


def _leave(connection: Connection, lease: Lease, *, state: str, **values: Any) -> None:
    """The one guarded UPDATE by which a worker ends its lease."""
    if state != "pending":
        values["ended_at"] = now()
    left = connection.execute(
        update(evaluation).where(_is_held(lease)).values(state=state, lease_expires_at=None, **values)
    )
    if left.rowcount == 0:
        raise LeaseLost(lease.evaluation_id)
    announce(connection, WORK if state == "pending" else RESULT)


def _strike(
    connection: Connection, guard: ColumnElement[bool], lease: Lease, kind: str, message: str
) -> None:
    """running → pending, or → failed when this was the last try that ``max_attempts`` allows."""
    message = _storable(message)
    max_attempts = (
        select(experiment.c.max_attempts)
        .where(experiment.c.id == evaluation.c.experiment_id)
        .scalar_subquery()
    )
    is_last = evaluation.c.strikes + 1 >= max_attempts
    struck = connection.execute(
        update(evaluation)
        .where(guard)
        .values(
            strikes=evaluation.c.strikes + 1,
            lease_expires_at=None,
            state=case((is_last, "failed"), else_="pending"),
            failure_kind=case((is_last, kind), else_=None),
            failure_message=case((is_last, message), else_=None),
            ended_at=case((is_last, now()), else_=None),
        )
        .returning(evaluation.c.state)
    ).scalar()
    if struck is None:
        raise LeaseLost(lease.evaluation_id)
    announce(connection, WORK if struck == "pending" else RESULT)


def _end_attempt(
    connection: Connection,
    lease: Lease,
    *,
    outcome: str,
    failure_kind: str | None = None,
    message: str | None = None,
    log_tail: str | None = None,
) -> None:
    tail = None if log_tail is None else _storable(log_tail)
    connection.execute(
        update(attempt)
        .where(attempt.c.token == lease.token)
        .values(
            outcome=outcome,
            ended_at=now(),
            failure_kind=failure_kind,
            message=None if message is None else _storable(message),
            log_tail=func.coalesce(tail, attempt.c.log_tail),
        )
    )


def _storable(text: str) -> str:
    """The last LOG_TAIL_BYTES of a text in UTF-8, without what PostgreSQL refuses: NUL, lone surrogates."""
    kept = text.replace("\x00", "").encode(errors="replace")[-LOG_TAIL_BYTES:]
    return kept.decode(errors="ignore")
