"""One genome in full: its evaluations, attempts, curves and ancestors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from evolver import constraints
from evolver.errors import NotFound
from evolver.space import Json
from evolver.store import kin
from evolver.store.facts import split_values
from evolver.store.schema import (
    attempt,
    checkpoint,
    dataset,
    epoch_metric,
    evaluation,
    experiment,
    genome,
    objective_value,
    seed_genome,
)


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
    """One evaluation of a genome, with its attempts, values, curve, and the key of its kept weights.

    ``dataset`` is the one that it was trained on, beginning with the weights of the evaluation ``init_from``,
    if any. ``objectives`` are those of the experiment; ``other_values`` were measured beside them;
    ``violated`` are the constraints that they break. The key is relative to the checkpoint URL of the worker
    that trained it.
    """

    evaluation_id: int
    purpose: str
    seed_no: int
    dataset: str
    init_from: int | None
    state: str
    failure_kind: str | None
    failure_message: str | None
    ingest_no: int | None
    objectives: dict[str, float]
    other_values: dict[str, float]
    violated: tuple[str, ...]
    attempts: tuple[AttemptFact, ...]
    curve: tuple[EpochFact, ...]
    weights: str | None


@dataclass(frozen=True, slots=True)
class GenomeDetail:
    """Everything about one genome; ``origin`` says where a seed comes from."""

    genome_id: int
    experiment: str
    experiment_id: int
    birth: int
    code: Json
    phenotype: str
    duplicate_of: int | None
    operator: str
    origin: str | None
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
        select(
            genome,
            experiment.c.name.label("experiment"),
            experiment.c.objectives,
            experiment.c.constraints,
            seed_genome.c.origin,
        )
        .join(experiment, experiment.c.id == genome.c.experiment_id)
        .join(
            seed_genome,
            and_(
                seed_genome.c.experiment_id == genome.c.experiment_id, seed_genome.c.birth == genome.c.birth
            ),
            isouter=True,
        )
        .where(genome.c.id == genome_id)
    ).first()
    if row is None:
        raise NotFound(f"there is no genome {genome_id}; 'evolver front NAME' lists the best ones")
    evaluations = connection.execute(
        select(evaluation, dataset.c.name.label("dataset"))
        .join(dataset, dataset.c.id == evaluation.c.dataset_id)
        .where(evaluation.c.genome_id == genome_id)
        .order_by(evaluation.c.id)
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
        origin=row.origin,
        rng_seed=(row.rng_seed[0], row.rng_seed[1]),
        tries=row.tries,
        slot=row.slot,
        born_after_ingest=row.born_after_ingest,
        params=row.params,
        flops=row.flops,
        born_at=row.born_at,
        parent_ids=kin.parents_of(connection, [genome_id]).get(genome_id, ()),
        evaluations=tuple(_evaluation_fact(connection, one, row) for one in evaluations),
    )


def _evaluation_fact(connection: Connection, row: Any, of: Any) -> EvaluationFact:
    """An evaluation; ``of`` has the objectives and constraints of its experiment."""
    own, others = split_values(_values(connection, row.id), of.objectives)
    kept = constraints.from_json(of.constraints) if row.purpose == "search" else ()
    violated = tuple(str(one) for one in kept if one.name in own and one.excess(own[one.name]) > 0.0)
    tries = connection.execute(
        select(*(attempt.c[name] for name in AttemptFact.__slots__))
        .where(attempt.c.evaluation_id == row.id)
        .order_by(attempt.c.number)
    )
    return EvaluationFact(
        evaluation_id=row.id,
        purpose=row.purpose,
        seed_no=row.seed_no,
        dataset=row.dataset,
        init_from=row.init_from,
        state=row.state,
        failure_kind=row.failure_kind,
        failure_message=row.failure_message,
        ingest_no=row.ingest_no,
        objectives=own,
        other_values=others,
        violated=violated,
        attempts=tuple(AttemptFact(*one) for one in tries),
        curve=tuple(curve(connection, row.id)),
        weights=_weights(connection, row.id),
    )


def _values(connection: Connection, evaluation_id: int) -> dict[str, float]:
    query = (
        select(objective_value.c.objective, objective_value.c.value)
        .where(objective_value.c.evaluation_id == evaluation_id)
        .order_by(objective_value.c.objective)
    )
    return {row.objective: row.value for row in connection.execute(query)}


def _weights(connection: Connection, evaluation_id: int) -> str | None:
    query = (
        select(checkpoint.c.key)
        .where(checkpoint.c.evaluation_id == evaluation_id, checkpoint.c.kind == "weights")
        .order_by(checkpoint.c.id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def curve(connection: Connection, evaluation_id: int) -> list[EpochFact]:
    """The epochs of an evaluation so far."""
    query = (
        select(*(epoch_metric.c[name] for name in EpochFact.__slots__))
        .where(epoch_metric.c.evaluation_id == evaluation_id)
        .order_by(epoch_metric.c.epoch)
    )
    return [EpochFact(*row) for row in connection.execute(query)]


def codes(connection: Connection, genome_ids: Sequence[int]) -> dict[int, Json]:
    """The codes of genomes, by id."""
    query = select(genome.c.id, genome.c.code).where(genome.c.id.in_(list(genome_ids)))
    return {row.id: row.code for row in connection.execute(query)}


# --- lineage -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ancestor:
    """An ancestor of a genome; ``distance`` is the least number of births between the two."""

    genome_id: int
    parent_ids: tuple[int, ...]
    operator: str
    distance: int


def lineage(connection: Connection, genome_id: int) -> list[Ancestor]:
    """The genome itself (distance 0) and all its ancestors, nearest first. Raises NotFound."""
    relatives, _ = kin.ancestors(connection, [genome_id])
    if not relatives:
        raise NotFound(f"there is no genome {genome_id}; 'evolver front NAME' lists the best ones")
    return [Ancestor(one.genome_id, one.parent_ids, one.operator, one.distance) for one in relatives]
