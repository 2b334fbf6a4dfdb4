"""What a step of the scheduler reads and writes; ``leadership.py`` has the guard of its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, case, func, insert, literal, select, update

from evolver.errors import EvolverError, NotFound
from evolver.search import Entry, MembershipChange
from evolver.space import Json
from evolver.store.schema import (
    evaluation,
    experiment,
    genome,
    membership,
    objective_value,
    parentage,
    worker,
)
from evolver.store.types import now

# --- reads -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """A search evaluation that ended and has no ingest number yet; ``objectives`` is None for a failure.

    ``slot``, ``operator`` and ``is_duplicate`` are the genome's.
    """

    evaluation_id: int
    genome_id: int
    slot: int
    operator: str
    is_duplicate: bool
    objectives: tuple[float, ...] | None


ENDED_COLUMNS = (
    evaluation.c.id.label("evaluation_id"),
    evaluation.c.genome_id,
    genome.c.slot,
    genome.c.operator,
    genome.c.duplicate_of.is_not(None).label("is_duplicate"),
)
"""All of an ``Ended`` but its objectives."""


def newly_ended(
    connection: Connection, experiment_id: int, objectives: Sequence[str], limit: int
) -> list[Ended]:
    """The search evaluations that ended since the last step, in the order in which they ended."""
    query = (
        select(*ENDED_COLUMNS, evaluation.c.state)
        .join(genome, genome.c.id == evaluation.c.genome_id)
        .where(
            evaluation.c.experiment_id == experiment_id,
            evaluation.c.purpose == "search",
            evaluation.c.state.in_(["done", "failed"]),
            evaluation.c.ingest_no.is_(None),
        )
        .order_by(evaluation.c.ended_at, evaluation.c.id)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    succeeded = [row.evaluation_id for row in rows if row.state == "done"]
    values = objective_values(connection, succeeded, objectives)
    return [ended(row, values) for row in rows]


def ended(row: Row[Any], values: Mapping[int, tuple[float, ...]]) -> Ended:
    """An ``Ended`` of a row with ``ENDED_COLUMNS`` and the values of all evaluations that have some."""
    names = Ended.__slots__[:-1]
    return Ended(**{name: getattr(row, name) for name in names}, objectives=values.get(row.evaluation_id))


def objective_values(
    connection: Connection, evaluation_ids: Sequence[int], objectives: Sequence[str]
) -> dict[int, tuple[float, ...]]:
    """The objective vectors of evaluations, in the order of ``objectives``.

    Raises EvolverError when a value of one is missing.
    """
    if not evaluation_ids:
        return {}
    query = select(
        objective_value.c.evaluation_id, objective_value.c.objective, objective_value.c.value
    ).where(
        objective_value.c.evaluation_id.in_(list(evaluation_ids)),
        objective_value.c.objective.in_(list(objectives)),
    )
    found: dict[int, dict[str, float]] = {}
    for evaluation_id, objective, value in connection.execute(query):
        found.setdefault(evaluation_id, {})[objective] = value
    try:
        return {key: tuple(values[name] for name in objectives) for key, values in found.items()}
    except KeyError as error:
        raise EvolverError(f"a result has no value of {error}; 'evolver doctor' looks further") from None


def live_slots(connection: Connection) -> int:
    """How many evaluations all live workers could run at a time."""
    query = select(func.coalesce(func.sum(worker.c.slots), 0)).where(
        worker.c.state == "active", worker.c.expires_at > now()
    )
    return int(connection.execute(query).scalar_one())


@dataclass(frozen=True, slots=True)
class Member:
    """A genome that is in the population (``slot``) or the front (None) now, with its objectives."""

    genome_id: int
    slot: int | None
    objectives: tuple[float, ...]


def members(connection: Connection, experiment_id: int, kind: str, objectives: Sequence[str]) -> list[Member]:
    """The population's or the front's members now, in the order in which they entered."""
    query = (
        select(membership.c.genome_id, membership.c.slot, evaluation.c.id)
        .join(evaluation, evaluation.c.genome_id == membership.c.genome_id)
        .where(
            membership.c.experiment_id == experiment_id,
            membership.c.kind == kind,
            membership.c.left_at.is_(None),
            evaluation.c.purpose == "search",
            evaluation.c.state == "done",
        )
        .order_by(membership.c.id)
    )
    rows = connection.execute(query).all()
    values = objective_values(connection, [row[2] for row in rows], objectives)
    return [Member(genome_id, slot, values[evaluation_id]) for genome_id, slot, evaluation_id in rows]


def first_births(connection: Connection, experiment_id: int, phenotypes: Sequence[str]) -> dict[str, int]:
    """The number of the first birth of each of these phenotypes that was born at all."""
    if not phenotypes:
        return {}
    query = (
        select(genome.c.phenotype, func.min(genome.c.birth).label("first"))
        .where(genome.c.experiment_id == experiment_id, genome.c.phenotype.in_(list(phenotypes)))
        .group_by(genome.c.phenotype)
    )
    return {row.phenotype: row.first for row in connection.execute(query)}


def children_of(connection: Connection, genome_ids: Sequence[int]) -> dict[int, int]:
    """How many children each of these genomes has; those without any are left out."""
    if not genome_ids:
        return {}
    query = (
        select(parentage.c.parent_id, func.count().label("children"))
        .where(parentage.c.parent_id.in_(list(genome_ids)))
        .group_by(parentage.c.parent_id)
    )
    return {row.parent_id: row.children for row in connection.execute(query)}


def code_of(connection: Connection, genome_id: int) -> Json:
    """A genome's code. Raises NotFound."""
    code = connection.execute(select(genome.c.code).where(genome.c.id == genome_id)).scalar()
    if code is None:
        raise NotFound(f"genome {genome_id} is gone; its experiment was deleted meanwhile")
    return code


def genome_of_birth(connection: Connection, experiment_id: int, birth: int) -> int:
    """The id of the genome with this birth number."""
    query = select(genome.c.id).where(genome.c.experiment_id == experiment_id, genome.c.birth == birth)
    return int(connection.execute(query).scalar_one())


# --- writes, between leadership.advance() and the commit ---------------------------------------------


@dataclass(frozen=True, slots=True)
class NewGenome:
    """A genome to insert, with the ids of its parents; ``id`` was reserved."""

    id: int
    birth: int
    code: Json
    phenotype: str
    duplicate_of: int | None
    operator: str
    rng_seed: tuple[int, int]
    tries: int
    slot: int
    born_after_ingest: int
    breeder_version: int
    params: int
    flops: int
    parents: tuple[int, ...]


def number_ended(connection: Connection, numbers: Mapping[int, int]) -> None:
    """Give ended evaluations (id → number) their ingest numbers."""
    if numbers:
        connection.execute(
            update(evaluation)
            .where(evaluation.c.id == bindparam("ended_id"), evaluation.c.ingest_no.is_(None))
            .values(ingest_no=bindparam("number")),
            [{"ended_id": evaluation_id, "number": number} for evaluation_id, number in numbers.items()],
        )


def change_memberships(
    connection: Connection, experiment_id: int, changes: Sequence[MembershipChange]
) -> None:
    """Write entries and exits. Whoever enters and leaves within the same changes gets one complete row."""
    entered: dict[tuple[str, int | None, int], dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    left: list[dict[str, Any]] = []
    for change in changes:
        key = (change.kind, change.slot, change.genome_id)
        if isinstance(change, Entry):
            row = {
                "experiment_id": experiment_id,
                "kind": change.kind,
                "slot": change.slot,
                "genome_id": change.genome_id,
                "entered_at": change.at,
                "left_at": None,
                "reason": None,
            }
            entered[key] = row
            rows.append(row)
        elif key in entered:
            entered.pop(key).update(left_at=change.at, reason=change.reason)
        else:
            slot = -1 if change.slot is None else change.slot
            left.append({"of": change.kind, "in_slot": slot, "leaver": change.genome_id,
                         "at": change.at, "why": change.reason})  # fmt: skip
    if left:
        connection.execute(
            update(membership)
            .where(
                membership.c.experiment_id == experiment_id,
                membership.c.kind == bindparam("of"),
                membership.c.genome_id == bindparam("leaver"),
                membership.c.left_at.is_(None),
                func.coalesce(membership.c.slot, -1) == bindparam("in_slot"),
            )
            .values(left_at=bindparam("at"), reason=bindparam("why")),
            left,
        )
    if rows:
        connection.execute(insert(membership), rows)


def reserve_ids(connection: Connection, table: Table, number: int) -> list[int]:
    """Ids for rows to insert, so that they can refer to each other. Needs a read-write transaction."""
    if connection.dialect.name == "sqlite":  # no other writer is in between
        last = connection.execute(select(func.coalesce(func.max(table.c.id), 0))).scalar_one()
        return list(range(last + 1, last + number + 1))
    sequence = func.nextval(func.pg_get_serial_sequence(table.name, "id"))
    return list(connection.execute(select(sequence).select_from(func.generate_series(1, number))).scalars())


def insert_genomes(connection: Connection, experiment_id: int, new: Sequence[NewGenome]) -> None:
    """Insert genomes and their parentage."""
    if not new:
        return
    columns = [name for name in NewGenome.__slots__ if name not in ("parents", "rng_seed")]
    rows = [
        {
            "experiment_id": experiment_id,
            "rng_seed": list(one.rng_seed),
            **{name: getattr(one, name) for name in columns},
        }
        for one in new
    ]
    connection.execute(insert(genome), rows)
    parents = [
        {"child_id": one.id, "position": position, "parent_id": parent}
        for one in new
        for position, parent in enumerate(one.parents)
    ]
    if parents:
        connection.execute(insert(parentage), parents)


def update_progress(
    connection: Connection,
    experiment_id: int,
    *,
    born: int,
    ingested: int,
    failed: int,
    front_changed_at: int | None,
    selector_state: Mapping[str, Json],
    operator_credit: Mapping[str, Json],
    active_s: float,
) -> None:
    """Add to the counters of an experiment, and store what the selector knows and what is known of operators.

    ``born``, ``ingested``, ``failed`` and ``active_s`` are increments. The budget is checked by the
    database itself (``born <= budget``).
    """
    connection.execute(
        update(experiment)
        .where(experiment.c.id == experiment_id)
        .values(
            born=experiment.c.born + born,
            ingested=experiment.c.ingested + ingested,
            failed=experiment.c.failed + failed,
            active_s=experiment.c.active_s + active_s,
            front_changed_at=case(
                (literal(front_changed_at is not None), literal(front_changed_at or 0)),
                else_=experiment.c.front_changed_at,
            ),
            selector_state=dict(selector_state),
            operator_credit=dict(operator_credit),
        )
    )
