"""What people read of a search: its status, its front at any time, its genomes.

Every function reads what it shows and no more: counters and partial indexes, never a count over a
history. No numpy here, so that ``evolver status`` starts at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from evolver.objectives import bound_to_device
from evolver.store import fleet, queue
from evolver.store.experiments import Experiment
from evolver.store.schema import attempt, evaluation, genome, leader, membership, objective_value
from evolver.store.types import now, seconds_between

RATE_WINDOW = 50
"""The rate of a search is that of its last so many results."""
RATE_RESULTS, RATE_SPAN_S = 5, 10.0
"""No rate is told of fewer results, or of results that ended within a shorter time. Nor of fewer than two
for each evaluation that runs now: the first ones were begun together, and end together.
"""
FAILURE_WINDOW = 1_000
"""Failures are told by kind for the last so many results, so that a long history costs no more."""


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many of the last results failed for one reason; ``genome_id`` is the youngest such genome."""

    kind: str
    number: int
    genome_id: int


@dataclass(frozen=True, slots=True)
class Status:
    """How a search stands.

    ``best`` has the least value of each objective, hence not of one genome. ``failures`` has those of the
    last 1,000 results that were not retried, the most frequent kind first. ``workers`` are those whose
    lease is valid, for whatever search; one that crashed is counted until its lease ends. Rate and time
    left are None until they can be told. ``leader`` is the scheduler that leads now.
    ``mixed_devices``: as the function of this name says. ``none_feasible``: genomes have succeeded, but none
    that keeps all ``constraints``, so that the front is empty.
    """

    experiment: str
    state: str
    state_reason: str | None
    budget: int
    evaluated: int
    pending: int
    running: int
    failed: int
    failures: tuple[FailureCount, ...]
    front_size: int
    best: dict[str, float]
    workers: int
    evaluations_per_hour: float | None
    eta_s: float | None
    leader: str | None
    faulted_workers: tuple[str, ...]
    mixed_devices: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    none_feasible: bool = False


def status(connection: Connection, found: Experiment) -> Status:
    """How a search stands now."""
    return statuses(connection, [found])[0]


def statuses(connection: Connection, searches: Sequence[Experiment]) -> list[Status]:
    """How searches stand now; the workers, which all of them share, are read once."""
    workers, faults = len(fleet.live(connection)), fleet.recent_faults(connection)
    return [_status(connection, found, workers, faults) for found in searches]


def _status(connection: Connection, found: Experiment, workers: int, faults: tuple[str, ...]) -> Status:
    depth = queue.depth(connection, found.id)
    front = front_members(connection, found)
    rate = _rate_per_hour(connection, found.id, depth.running)
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
        failures=_failures(connection, found.id) if found.failed else (),
        front_size=len(front),
        best=best_of_each(front, found.settings.objectives),
        workers=workers,
        evaluations_per_hour=rate,
        eta_s=left / rate * 3600 if rate and left and found.state == "running" else None,
        leader=current_leader(connection, found.id),
        faulted_workers=faults,
        mixed_devices=mixed_devices(connection, found),
        constraints=tuple(str(one) for one in found.settings.constraints),
        none_feasible=not front and found.ingested > found.failed,
    )


def best_of_each(front: Sequence[GenomeFact], objectives: Sequence[str]) -> dict[str, float]:
    """The least value of each objective in a front; nothing where it is empty."""
    return {name: min(one.objectives[name] for one in front) for name in objectives if front}


def last_results(experiment_id: int, window: int, *columns: ColumnElement[Any]) -> Select[Any]:
    """Of a search's last results, at most ``window`` of them, these columns of ``evaluation``; the newest
    first.
    """
    return (
        select(*columns)
        .where(evaluation.c.experiment_id == experiment_id, evaluation.c.ingest_no.is_not(None))
        .order_by(evaluation.c.ingest_no.desc())
        .limit(window)
    )


def _failures(connection: Connection, experiment_id: int) -> tuple[FailureCount, ...]:
    columns = (evaluation.c.genome_id, evaluation.c.seed_no, evaluation.c.failure_kind)
    recent = last_results(experiment_id, FAILURE_WINDOW, *columns).subquery()
    number = func.count()
    query = (
        select(recent.c.failure_kind, number, func.max(recent.c.genome_id))
        .where(recent.c.failure_kind.is_not(None), ~queue.was_retried(recent.c.genome_id, recent.c.seed_no))
        .group_by(recent.c.failure_kind)
        .order_by(number.desc(), recent.c.failure_kind)
    )
    return tuple(FailureCount(*row) for row in connection.execute(query))


def _rate_per_hour(connection: Connection, experiment_id: int, running: int) -> float | None:
    recent = last_results(experiment_id, RATE_WINDOW, evaluation.c.ended_at).subquery()
    number, span_s = connection.execute(
        select(func.count(), seconds_between(func.min(recent.c.ended_at), func.max(recent.c.ended_at)))
    ).one()
    enough = min(RATE_WINDOW, max(RATE_RESULTS, 2 * running))
    return (number - 1) / span_s * 3600 if number >= enough and span_s >= RATE_SPAN_S else None


def current_leader(connection: Connection, experiment_id: int) -> str | None:
    """The scheduler (host:pid) that leads an experiment now."""
    query = select(leader.c.holder).where(
        leader.c.experiment_id == experiment_id, leader.c.expires_at > now()
    )
    holder: str | None = connection.execute(query).scalar()
    return holder.rsplit(":", 1)[0] if holder else None


@dataclass(frozen=True, slots=True)
class GenomeFact:
    """A genome with the values of its search evaluation; ``state`` is that evaluation's.

    ``objectives`` are those of the experiment; ``other_values`` were measured beside them.
    """

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
    other_values: dict[str, float]


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
    query = (
        _genomes_query()
        .join(membership, membership.c.genome_id == genome.c.id)
        .where(in_front(found.id, at), evaluation.c.state == "done")
    )
    facts = _genome_facts(connection, found, query)
    first = found.settings.objectives[0]
    return sorted(facts, key=lambda fact: (fact.objectives[first], fact.genome_id))


def in_front(experiment_id: int, at: int | None) -> ColumnElement[bool]:
    """Which rows of ``membership`` are the front of a search now, or after ingest number ``at``."""
    left = membership.c.left_at
    own = and_(membership.c.experiment_id == experiment_id, membership.c.kind == "front")
    if at is None:
        return and_(own, left.is_(None))
    return and_(own, membership.c.entered_at <= at, or_(left.is_(None), left > at))


def genomes(connection: Connection, found: Experiment, *, states: Sequence[str] = ()) -> list[GenomeFact]:
    """All genomes of an experiment in order of birth; with ``states``, those whose evaluation is in one.

    A genome whose evaluation was retried appears once for each evaluation.
    """
    query = (
        _genomes_query()
        .where(genome.c.experiment_id == found.id)
        .order_by(genome.c.birth, evaluation.c.seed_no)
    )
    if states:
        query = query.where(evaluation.c.state.in_(list(states)))
    return _genome_facts(connection, found, query)


def _genome_facts(connection: Connection, found: Experiment, query: Select[Any]) -> list[GenomeFact]:
    rows = connection.execute(query).all()
    chosen = query.with_only_columns(evaluation.c.id).order_by(None)
    values: dict[int, dict[str, float]] = {row.evaluation_id: {} for row in rows}
    on_record = select(objective_value).where(objective_value.c.evaluation_id.in_(chosen))
    for one in connection.execute(on_record.order_by(objective_value.c.objective)):
        values[one.evaluation_id][one.objective] = one.value
    names = GenomeFact.__slots__[:-2]
    facts: list[GenomeFact] = []
    for row in rows:
        own, others = split_values(values[row.evaluation_id], found.settings.objectives)
        fields = {name: getattr(row, name) for name in names}
        facts.append(GenomeFact(**fields, objectives=own, other_values=others))
    return facts


def split_values(
    values: Mapping[str, float], objectives: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """The values of an evaluation: those of the experiment's objectives, in their order, and the others."""
    own = {name: values[name] for name in objectives if name in values}
    return own, {name: value for name, value in values.items() if name not in own}


def mixed_devices(connection: Connection, found: Experiment) -> tuple[str, ...]:
    """The types of device that the values of population and front were measured on, where there are several
    and an objective depends on them: its values must not be compared. Empty where all is well.
    """
    # For each member by itself: joined, many members make PostgreSQL read the whole history.
    device = (
        select(attempt.c.device_name)
        .join(evaluation, evaluation.c.id == attempt.c.evaluation_id)
        .where(
            evaluation.c.genome_id == membership.c.genome_id,
            evaluation.c.purpose == "search",
            attempt.c.outcome == "done",
        )
        .limit(1)
        .scalar_subquery()
    )
    own = and_(membership.c.experiment_id == found.id, membership.c.left_at.is_(None))
    names = set(connection.execute(select(device).where(own).distinct()).scalars())
    devices = tuple(sorted(names - {None}))  # a duplicate has its twin's values, and no device
    # Plug-ins are loaded only when it matters, so that a status is read at once.
    return devices if len(devices) > 1 and bound_to_device(found.settings.objectives) else ()
