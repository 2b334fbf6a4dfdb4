"""The whole history of an experiment, as it was recorded: what ``replay`` compares with.

The reads of a step, which must not grow with the history, are in ``steps.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from evolver.search import Entry, Exit, MembershipChange
from evolver.space import Json
from evolver.store.schema import evaluation, genome, membership, objective_value, parentage
from evolver.store.steps import Ended


@dataclass(frozen=True, slots=True)
class BornRow:
    """A birth as it was recorded."""

    id: int
    birth: int
    code: Json
    phenotype: str
    duplicate_of: int | None
    operator: str
    tries: int
    slot: int
    born_after_ingest: int
    breeder_version: int
    parents: tuple[int, ...]


def births(connection: Connection, experiment_id: int) -> list[BornRow]:
    """All births of an experiment, in order."""
    parents: dict[int, list[int]] = {}
    query = (
        select(parentage.c.child_id, parentage.c.parent_id)
        .join(genome, genome.c.id == parentage.c.child_id)
        .where(genome.c.experiment_id == experiment_id)
        .order_by(parentage.c.child_id, parentage.c.position)
    )
    for child, parent in connection.execute(query):
        parents.setdefault(child, []).append(parent)
    names = [name for name in BornRow.__slots__ if name != "parents"]
    rows = connection.execute(
        select(*(genome.c[name] for name in names))
        .where(genome.c.experiment_id == experiment_id)
        .order_by(genome.c.birth)
    )
    return [
        BornRow(**{name: getattr(row, name) for name in names}, parents=tuple(parents.get(row.id, ())))
        for row in rows
    ]


def results(connection: Connection, experiment_id: int, objectives: Sequence[str]) -> list[tuple[int, Ended]]:
    """All numbered results of an experiment with their ingest numbers, in order."""
    rows = connection.execute(
        select(evaluation.c.ingest_no, evaluation.c.id, evaluation.c.genome_id, genome.c.slot)
        .join(genome, genome.c.id == evaluation.c.genome_id)
        .where(evaluation.c.experiment_id == experiment_id, evaluation.c.ingest_no.is_not(None))
        .order_by(evaluation.c.ingest_no)
    ).all()
    values: dict[int, dict[str, float]] = {}
    query = (
        select(objective_value.c.evaluation_id, objective_value.c.objective, objective_value.c.value)
        .join(evaluation, evaluation.c.id == objective_value.c.evaluation_id)
        .where(
            evaluation.c.experiment_id == experiment_id,
            evaluation.c.ingest_no.is_not(None),
            or_(*(objective_value.c.objective == name for name in objectives)),
        )
    )
    for evaluation_id, objective, value in connection.execute(query):
        values.setdefault(evaluation_id, {})[objective] = value
    vectors = {key: tuple(found[name] for name in objectives) for key, found in values.items()}
    return [(row.ingest_no, Ended(row.id, row.genome_id, row.slot, vectors.get(row.id))) for row in rows]


def all_memberships(connection: Connection, experiment_id: int) -> list[MembershipChange]:
    """Every entry and exit of an experiment's population and front, in the order of entries."""
    changes: list[MembershipChange] = []
    rows = connection.execute(
        select(membership).where(membership.c.experiment_id == experiment_id).order_by(membership.c.id)
    )
    for row in rows:
        changes.append(Entry(row.kind, row.slot, row.genome_id, row.entered_at))
        if row.left_at is not None:
            changes.append(Exit(row.kind, row.slot, row.genome_id, row.left_at, row.reason))
    return changes
