"""What people read of a search: its status, its front at any time, its genomes.

Every function reads what it shows and no more: counters and partial indexes, never a count over a
history. No numpy here, so that ``evolver status`` starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from evolver.store import fleet, queue
from evolver.store.experiments import Experiment
from evolver.store.schema import evaluation, genome, leader, membership, objective_value
from evolver.store.types import now, seconds_between

RATE_WINDOW = 50
"""The rate of a search is that of its last so many results."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a search stands. ``best`` has the least value of each objective; rate and time left are None
    until they can be told. ``leader`` is the scheduler that leads now.
    """

    experiment: str
    state: str
    state_reason: str | None
    budget: int
    evaluated: int
    pending: int
    running: int
    failed: int
    front_size: int
    best: dict[str, float]
    workers: int
    evaluations_per_hour: float | None
    eta_s: float | None
    leader: str | None
    faulted_workers: tuple[str, ...]


def status(connection: Connection, found: Experiment) -> Status:
    """How a search stands now."""
    depth = queue.depth(connection, found.id)
    front = front_members(connection, found)
    rate = _rate_per_hour(connection, found.id)
    left = found.settings.budget - found.born + depth.pending + depth.running
    evaluated = found.born - depth.pending - depth.running
    return Status(
        experiment=found.settings.name,
        state=found.state,
        state_reason=found.state_reason,
        budget=found.settings.budget,
        evaluated=evaluated,
        pending=depth.pending,
        running=depth.running,
        failed=found.failed,
        front_size=len(front),
        best={name: min(m.objectives[name] for m in front) for name in found.settings.objectives}
        if front
        else {},
        workers=len(fleet.live(connection)),
        evaluations_per_hour=rate,
        eta_s=left / rate * 3600 if rate and left and found.state == "running" else None,
        leader=current_leader(connection, found.id),
        faulted_workers=fleet.recent_faults(connection),
    )


def _rate_per_hour(connection: Connection, experiment_id: int) -> float | None:
    recent = (
        select(evaluation.c.ended_at)
        .where(evaluation.c.experiment_id == experiment_id, evaluation.c.ingest_no.is_not(None))
        .order_by(evaluation.c.ingest_no.desc())
        .limit(RATE_WINDOW)
        .subquery()
    )
    number, span_s = connection.execute(
        select(func.count(), seconds_between(func.min(recent.c.ended_at), func.max(recent.c.ended_at)))
    ).one()
    return (number - 1) / span_s * 3600 if number > 1 and span_s else None


def current_leader(connection: Connection, experiment_id: int) -> str | None:
    """The scheduler (host:pid) that leads an experiment now."""
    query = select(leader.c.holder).where(
        leader.c.experiment_id == experiment_id, leader.c.expires_at > now()
    )
    holder: str | None = connection.execute(query).scalar()
    return holder.rsplit(":", 1)[0] if holder else None


@dataclass(frozen=True, slots=True)
class GenomeFact:
    """A genome with the values of its search evaluation; ``state`` is that evaluation's."""

    genome_id: int
    birth: int
    operator: str
    params: int
    flops: int
    duplicate_of: int | None
    state: str
    failure_kind: str | None
    ingest_no: int | None
    objectives: dict[str, float]


def _genomes_query() -> Select[Any]:
    return select(
        genome.c.id.label("genome_id"),
        genome.c.birth,
        genome.c.operator,
        genome.c.params,
        genome.c.flops,
        genome.c.duplicate_of,
        evaluation.c.state,
        evaluation.c.failure_kind,
        evaluation.c.ingest_no,
        evaluation.c.id.label("evaluation_id"),
    ).join(evaluation, and_(evaluation.c.genome_id == genome.c.id, evaluation.c.purpose == "search"))


def front_members(connection: Connection, found: Experiment, at: int | None = None) -> list[GenomeFact]:
    """The front now, or as it stood after ingest number ``at``; sorted by the first objective."""
    in_time = membership.c.left_at.is_(None) if at is None else and_(
        membership.c.entered_at <= at, or_(membership.c.left_at.is_(None), membership.c.left_at > at)
    )  # fmt: skip
    query = (
        _genomes_query()
        .join(membership, membership.c.genome_id == genome.c.id)
        .where(
            membership.c.experiment_id == found.id,
            membership.c.kind == "front",
            in_time,
            evaluation.c.state == "done",
        )
    )
    facts = _genome_facts(connection, query)
    first = found.settings.objectives[0]
    return sorted(facts, key=lambda fact: (fact.objectives[first], fact.genome_id))


def genomes(connection: Connection, found: Experiment, *, states: Sequence[str] = ()) -> list[GenomeFact]:
    """All genomes of an experiment in order of birth; with ``states``, those whose evaluation is in one.

    A genome whose evaluation was retried appears once for each evaluation.
    """
    query = (
        _genomes_query()
        .where(genome.c.experiment_id == found.id)
        .order_by(genome.c.birth, evaluation.c.seed_no)
    )
    return _genome_facts(connection, query.where(evaluation.c.state.in_(list(states))) if states else query)


def _genome_facts(connection: Connection, query: Select[Any]) -> list[GenomeFact]:
    rows = connection.execute(query).all()
    chosen = query.with_only_columns(evaluation.c.id).order_by(None)
    values: dict[int, dict[str, float]] = {}
    found = connection.execute(
        select(objective_value.c.evaluation_id, objective_value.c.objective, objective_value.c.value).where(
            objective_value.c.evaluation_id.in_(chosen)
        )
    )
    for evaluation_id, objective, value in found:
        values.setdefault(evaluation_id, {})[objective] = value
    names = GenomeFact.__slots__[:-1]
    return [
        GenomeFact(
            **{name: getattr(row, name) for name in names}, objectives=values.get(row.evaluation_id, {})
        )
        for row in rows
    ]
