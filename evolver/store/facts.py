"""What people read: status, fronts, genomes, lineage, curves, workers.

Every function reads what it shows and no more: counters and partial indexes, never a count over a
history. No numpy here, so that ``evolver status`` starts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from evolver.errors import NotFound
from evolver.space import Json
from evolver.store import queue
from evolver.store.experiments import Experiment
from evolver.store.schema import (
    attempt,
    checkpoint,
    epoch_metric,
    evaluation,
    experiment,
    genome,
    leader,
    membership,
    objective_value,
    parentage,
    worker,
)
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
        workers=len(live_workers(connection)),
        evaluations_per_hour=rate,
        eta_s=left / rate * 3600 if rate and left and found.state == "running" else None,
        leader=current_leader(connection, found.id),
        faulted_workers=_recent_faults(connection),
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
class WorkerFact:
    """A worker: ``running`` is how many evaluations it holds."""

    id: int
    host: str
    pid: int
    device: str
    slots: int
    state: str
    note: str | None
    running: int
    seconds_since_heartbeat: float


def live_workers(connection: Connection) -> list[WorkerFact]:
    """The workers whose heartbeat is recent enough."""
    return _workers(connection, and_(worker.c.state.in_(["active", "draining"]), worker.c.expires_at > now()))


def _recent_faults(connection: Connection) -> tuple[str, ...]:
    """Workers that stopped claiming because of their host, in the last hour."""
    recent = seconds_between(worker.c.heartbeat_at, now()) < 3600
    faulted = _workers(connection, and_(worker.c.state == "faulted", recent))
    return tuple(f"{one.host}:{one.pid}: {one.note}" for one in faulted)


def _workers(connection: Connection, condition: Any) -> list[WorkerFact]:
    held = (
        select(func.count())
        .where(evaluation.c.worker_id == worker.c.id, evaluation.c.state == "running")
        .scalar_subquery()
    )
    query = select(
        worker.c.id,
        worker.c.host,
        worker.c.pid,
        worker.c.device,
        worker.c.slots,
        worker.c.state,
        worker.c.note,
        held,
        seconds_between(worker.c.heartbeat_at, now()),
    )
    return [WorkerFact(*row) for row in connection.execute(query.where(condition).order_by(worker.c.id))]


# --- genomes -----------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class AttemptFact:
    """One try of an evaluation."""

    number: int
    worker_id: int | None
    host: str
    slot: int
    device: str
    device_name: str
    dtype: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    failure_kind: str | None
    message: str | None
    resumed_from_epoch: int | None
    log_tail: str | None


@dataclass(frozen=True, slots=True)
class EpochFact:
    """One epoch of an evaluation."""

    epoch: int
    train_loss: float
    train_error: float
    validation_loss: float | None
    validation_error: float | None
    lr: float
    seconds: float


@dataclass(frozen=True, slots=True)
class EvaluationFact:
    """One evaluation of a genome, with its attempts, values, curve, and the key of its kept weights."""

    evaluation_id: int
    purpose: str
    seed_no: int
    state: str
    failure_kind: str | None
    failure_message: str | None
    ingest_no: int | None
    objectives: dict[str, float]
    attempts: tuple[AttemptFact, ...]
    curve: tuple[EpochFact, ...]
    weights: str | None


@dataclass(frozen=True, slots=True)
class GenomeDetail:
    """Everything about one genome."""

    genome_id: int
    experiment: str
    experiment_id: int
    birth: int
    code: Json
    phenotype: str
    duplicate_of: int | None
    operator: str
    rng_seed: tuple[int, int]
    tries: int
    slot: int
    born_after_ingest: int
    params: int
    flops: int
    born_at: datetime
    parent_ids: tuple[int, ...]
    evaluations: tuple[EvaluationFact, ...]


def genome_detail(connection: Connection, genome_id: int) -> GenomeDetail:
    """Everything about one genome. Raises NotFound."""
    row = connection.execute(
        select(genome, experiment.c.name.label("experiment"))
        .join(experiment, experiment.c.id == genome.c.experiment_id)
        .where(genome.c.id == genome_id)
    ).first()
    if row is None:
        raise NotFound(f"there is no genome {genome_id}; 'evolver front NAME' lists the best ones")
    evaluations = connection.execute(
        select(evaluation).where(evaluation.c.genome_id == genome_id).order_by(evaluation.c.id)
    ).all()
    return GenomeDetail(
        genome_id=row.id,
        experiment=row.experiment,
        experiment_id=row.experiment_id,
        birth=row.birth,
        code=row.code,
        phenotype=row.phenotype,
        duplicate_of=row.duplicate_of,
        operator=row.operator,
        rng_seed=(row.rng_seed[0], row.rng_seed[1]),
        tries=row.tries,
        slot=row.slot,
        born_after_ingest=row.born_after_ingest,
        params=row.params,
        flops=row.flops,
        born_at=row.born_at,
        parent_ids=_parents(connection, [genome_id]).get(genome_id, ()),
        evaluations=tuple(_evaluation_fact(connection, one) for one in evaluations),
    )


def _evaluation_fact(connection: Connection, row: Any) -> EvaluationFact:
    values = connection.execute(
        select(objective_value.c.objective, objective_value.c.value)
        .where(objective_value.c.evaluation_id == row.id)
        .order_by(objective_value.c.objective)
    )
    tries = connection.execute(
        select(*(attempt.c[name] for name in AttemptFact.__slots__))
        .where(attempt.c.evaluation_id == row.id)
        .order_by(attempt.c.number)
    )
    weights = (
        select(checkpoint.c.key)
        .where(checkpoint.c.evaluation_id == row.id, checkpoint.c.kind == "weights")
        .order_by(checkpoint.c.id.desc())
        .limit(1)
    )
    return EvaluationFact(
        evaluation_id=row.id,
        purpose=row.purpose,
        seed_no=row.seed_no,
        state=row.state,
        failure_kind=row.failure_kind,
        failure_message=row.failure_message,
        ingest_no=row.ingest_no,
        objectives={row.objective: row.value for row in values},
        attempts=tuple(AttemptFact(*one) for one in tries),
        curve=tuple(curve(connection, row.id)),
        weights=connection.execute(weights).scalar(),
    )


def curve(connection: Connection, evaluation_id: int) -> list[EpochFact]:
    """The epochs of an evaluation so far."""
    query = (
        select(*(epoch_metric.c[name] for name in EpochFact.__slots__))
        .where(epoch_metric.c.evaluation_id == evaluation_id)
        .order_by(epoch_metric.c.epoch)
    )
    return [EpochFact(*row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class RetrainFact:
    """A final training of a genome; ``values`` by name, ``weights`` is the key of its kept weights."""

    evaluation_id: int
    genome_id: int
    seed_no: int
    state: str
    failure_kind: str | None
    failure_message: str | None
    values: dict[str, float]
    weights: str | None


def retrainings(connection: Connection, genome_ids: Sequence[int], recipe_id: int) -> list[RetrainFact]:
    """The last final training of each of these genomes under a recipe, in the order of ``genome_ids``."""
    rows = connection.execute(
        select(evaluation)
        .where(
            evaluation.c.genome_id.in_(list(genome_ids)),
            evaluation.c.purpose == "retrain",
            evaluation.c.recipe_id == recipe_id,
        )
        .order_by(evaluation.c.seed_no)
    )
    last = {row.genome_id: row for row in rows}
    found: list[RetrainFact] = []
    for row in (last[genome_id] for genome_id in genome_ids if genome_id in last):
        one = _evaluation_fact(connection, row)
        found.append(
            RetrainFact(row.id, row.genome_id, row.seed_no, row.state, row.failure_kind,
                        row.failure_message, one.objectives, one.weights)
        )  # fmt: skip
    return found


# --- lineage -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An ancestor of a genome; ``distance`` is the least number of births between the two."""

    genome_id: int
    parent_ids: tuple[int, ...]
    operator: str
    distance: int


def lineage(connection: Connection, genome_id: int) -> list[Ancestor]:
    """The genome itself (distance 0) and all its ancestors, nearest first.

    Walks up breadth first, a query for each generation. Raises NotFound.
    """
    operators: dict[int, str] = {}
    parents: dict[int, tuple[int, ...]] = {}
    distances: dict[int, int] = {}
    generation, distance = [genome_id], 0
    while generation:
        distances.update(dict.fromkeys(generation, distance))
        rows = connection.execute(select(genome.c.id, genome.c.operator).where(genome.c.id.in_(generation)))
        operators.update({row.id: row.operator for row in rows})
        found = _parents(connection, generation)
        parents.update(found)
        generation = sorted({parent for ids in found.values() for parent in ids} - distances.keys())
        distance += 1
    if genome_id not in operators:
        raise NotFound(f"there is no genome {genome_id}; 'evolver front NAME' lists the best ones")
    return [Ancestor(key, parents.get(key, ()), operators[key], away) for key, away in distances.items()]


def _parents(connection: Connection, genome_ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    query = (
        select(parentage.c.child_id, parentage.c.parent_id)
        .where(parentage.c.child_id.in_(list(genome_ids)))
        .order_by(parentage.c.child_id, parentage.c.position)
    )
    found: dict[int, tuple[int, ...]] = {}
    for child, parent in connection.execute(query):
        found[child] = (*found.get(child, ()), parent)
    return found
