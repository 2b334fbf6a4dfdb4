"""Evaluations enter the queue, and leave it without a lease.

The counterpart of ``leases.py``: what the scheduler and the command line do to evaluations that no
worker holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from evolver.store.schema import attempt, evaluation, experiment, objective_value
from evolver.store.states import INFRASTRUCTURE_KINDS, Purpose
from evolver.store.types import now
from evolver.store.wakeups import WORK, announce


@dataclass(frozen=True, slots=True)
class NewEvaluation:
    """An evaluation to enqueue; ``waits_for`` is the evaluation of its twin, when it is a duplicate.

    ``id`` is given when it was reserved, for all that are enqueued together or for none.
    """

    experiment_id: int
    genome_id: int
    purpose: Purpose
    dataset_id: int
    recipe_id: int
    seed_no: int = 0
    rung: int = 0
    priority: int = 0
    init_from: int | None = None
    id: int | None = None
    waits_for: int | None = None


def enqueue(connection: Connection, new: Sequence[NewEvaluation]) -> None:
    """Add pending evaluations."""
    if new:
        columns = [name for name in NewEvaluation.__slots__ if name != "id" or new[0].id is not None]
        rows = [{name: getattr(one, name) for name in columns} for one in new]
        connection.execute(insert(evaluation), rows)
        announce(connection, WORK)


def search_evaluations(connection: Connection, genome_ids: Sequence[int]) -> dict[int, int]:
    """The first search evaluation of each genome: the one that its duplicates wait for."""
    if not genome_ids:
        return {}
    query = (
        select(evaluation.c.genome_id, func.min(evaluation.c.id).label("id"))
        .where(evaluation.c.genome_id.in_(list(genome_ids)), evaluation.c.purpose == "search")
        .group_by(evaluation.c.genome_id)
    )
    return {row.genome_id: row.id for row in connection.execute(query)}


def inherit(connection: Connection, experiment_id: int) -> None:
    """pending → done or failed: duplicates whose twin has ended take its result, untrained.

    A twin that failed for a reason which says nothing about the genome is no twin: then the duplicate
    is freed, to be evaluated itself.
    """
    twin = evaluation.alias("twin")
    waiting = connection.execute(
        select(evaluation.c.id, twin.c.id, twin.c.state, twin.c.failure_kind)
        .join(twin, twin.c.id == evaluation.c.waits_for)
        .where(
            evaluation.c.experiment_id == experiment_id,
            evaluation.c.waits_for.is_not(None),  # implied, but PostgreSQL needs it to use the partial index
            twin.c.state.in_(["done", "failed"]),
        )
        .order_by(evaluation.c.id)
    ).all()
    for evaluation_id, twin_id, state, kind in waiting:
        if kind in INFRASTRUCTURE_KINDS:
            values: Mapping[str, object] = {"waits_for": None}
            announce(connection, WORK)
        else:
            message = f"as its twin, evaluation {twin_id}" if kind else None
            values = {"waits_for": None, "state": state, "failure_kind": kind, "failure_message": message,
                      "ended_at": now()}  # fmt: skip
        connection.execute(
            update(evaluation)
            .where(evaluation.c.id == evaluation_id, evaluation.c.state == "pending")
            .values(**values)
        )
        if state == "done":
            _copy_values(connection, twin_id, evaluation_id)


def take_over(connection: Connection, results: Mapping[int, Mapping[str, float]]) -> None:
    """pending → done: evaluations that take a result of another search, untrained, by evaluation id."""
    if not results:
        return
    connection.execute(
        update(evaluation)
        .where(evaluation.c.id.in_(list(results)), evaluation.c.state == "pending")
        .values(state="done", ended_at=now())
    )
    connection.execute(
        insert(objective_value),
        [
            {"evaluation_id": evaluation_id, "objective": name, "value": value}
            for evaluation_id, values in results.items()
            for name, value in values.items()
        ],
    )


def _copy_values(connection: Connection, twin_id: int, evaluation_id: int) -> None:
    values = select(literal(evaluation_id), objective_value.c.objective, objective_value.c.value).where(
        objective_value.c.evaluation_id == twin_id
    )
    connection.execute(insert(objective_value).from_select(["evaluation_id", "objective", "value"], values))


@dataclass(frozen=True, slots=True)
class Failed:
    """A failed search evaluation that nothing has replaced yet."""

    evaluation_id: int
    experiment_id: int
    genome_id: int
    kind: str


def failed_search(
    connection: Connection,
    *,
    genome_id: int | None = None,
    experiment_id: int | None = None,
    kind: str | None = None,
) -> list[Failed]:
    """Search evaluations that failed and were not retried since, of a genome, an experiment or a kind.

    None of an experiment that is being deleted.
    """
    query = (
        select(evaluation.c.id, evaluation.c.experiment_id, evaluation.c.genome_id, evaluation.c.failure_kind)
        .join(experiment, experiment.c.id == evaluation.c.experiment_id)
        .where(
            evaluation.c.purpose == "search",
            evaluation.c.state == "failed",
            experiment.c.state != "deleting",
            ~was_retried(evaluation.c.genome_id, evaluation.c.seed_no),
        )
    )
    if genome_id is not None:
        query = query.where(evaluation.c.genome_id == genome_id)
    if experiment_id is not None:
        query = query.where(evaluation.c.experiment_id == experiment_id)
    if kind is not None:
        query = query.where(evaluation.c.failure_kind == kind)
    return [Failed(*row) for row in connection.execute(query.order_by(evaluation.c.id))]


def was_retried(genome_id: ColumnElement[int], seed_no: ColumnElement[int]) -> ColumnElement[bool]:
    """Whether a genome has a newer search evaluation than that of this number."""
    newer = evaluation.alias("newer")
    return (
        select(newer.c.id)
        .where(newer.c.genome_id == genome_id, newer.c.purpose == "search", newer.c.seed_no > seed_no)
        .exists()
    )


def retry(connection: Connection, failed: Failed) -> None:
    """Enqueue another search evaluation of a failed one's genome, with the next training seed.

    The failed one stays as history, with its ingest number; the budget is not touched. What somebody
    else retried meanwhile stays as it is.
    """
    columns = ["experiment_id", "genome_id", "purpose", "rung", "dataset_id", "recipe_id", "seed_no"]
    again = select(*(evaluation.c[name] for name in columns[:-1]), evaluation.c.seed_no + 1).where(
        evaluation.c.id == failed.evaluation_id
    )
    new = sqlite.insert(evaluation) if connection.dialect.name == "sqlite" else postgresql.insert(evaluation)
    enqueued = new.from_select(columns, again).on_conflict_do_nothing().returning(evaluation.c.id)
    if connection.execute(enqueued).first() is None:
        return
    announce(connection, WORK)
    connection.execute(
        update(experiment)
        .where(experiment.c.id == failed.experiment_id)
        .values(failed=experiment.c.failed - 1)
    )


def withdraw_open(connection: Connection, experiment_id: int) -> None:
    """Remove the pending and running evaluations of an experiment that is being deleted."""
    connection.execute(
        delete(evaluation).where(
            evaluation.c.experiment_id == experiment_id, evaluation.c.state.in_(["pending", "running"])
        )
    )


def hand_back_all(connection: Connection) -> int:
    """running → pending for every evaluation, at no cost of a try; returns how many.

    For a copy of a database: its leases are held by workers of the original, which know nothing of it.
    """
    connection.execute(
        update(attempt).where(attempt.c.outcome == "running").values(outcome="released", ended_at=now())
    )
    handed_back = connection.execute(
        update(evaluation)
        .where(evaluation.c.state == "running")
        .values(state="pending", lease_expires_at=None)
    )
    return handed_back.rowcount


@dataclass(frozen=True, slots=True)
class Depth:
    """How many search evaluations are open: ``waiting`` of the pending ones wait for their twin."""

    pending: int
    waiting: int
    running: int


def depth(connection: Connection, experiment_id: int) -> Depth:
    """Count the open search evaluations of an experiment; reads only those."""
    rows = connection.execute(
        select(evaluation.c.state, func.count(), func.count(evaluation.c.waits_for))
        .where(
            evaluation.c.experiment_id == experiment_id,
            evaluation.c.purpose == "search",
            evaluation.c.state.in_(["pending", "running"]),
        )
        .group_by(evaluation.c.state)
    ).all()
    found = {state: (number, waiting) for state, number, waiting in rows}
    pending, waiting = found.get("pending", (0, 0))
    return Depth(pending, waiting, found.get("running", (0, 0))[0])


def other_open(connection: Connection, experiment_id: int) -> int:
    """How many evaluations of an experiment are pending or running for any purpose but search."""
    query = select(func.count()).where(
        and_(
            evaluation.c.experiment_id == experiment_id,
            evaluation.c.purpose != "search",
            evaluation.c.state.in_(["pending", "running"]),
        )
    )
    return int(connection.execute(query).scalar_one())
