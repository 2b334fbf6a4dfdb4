"""The history of an experiment, as it was recorded: what ``replay`` compares with.

Every read is of one page, so that a history of any length needs no more memory than a page. What has an
ingest or birth number never changes, so pages may be read one after the other while the search goes on.
The reads of a step, which must not grow with the history, are in ``steps.py``.

last_numbers  the numbers of the last birth and of the last result.
births        births in their order.
results       numbered results in their order.
memberships   who entered population and front, in the order of entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from evolver.space import Json
from evolver.store.schema import evaluation, genome, membership, parentage
from evolver.store.steps import ENDED_COLUMNS, Ended, ended, objective_values

_TWIN = genome.alias("twin")


@dataclass(frozen=True, slots=True)
class BornRow:
    """A birth as it was recorded; ``duplicate_of`` is the birth number of its twin."""

    id: int
    birth: int
    code: Json
    phenotype: str
    operator: str
    tries: int
    slot: int
    born_after_ingest: int
    breeder_version: int
    duplicate_of: int | None
    parents: tuple[int, ...]


def last_numbers(connection: Connection, experiment_id: int) -> tuple[int, int]:
    """The number of the last birth and that of the last result; 0 where there is none."""
    born = select(func.max(genome.c.birth)).where(genome.c.experiment_id == experiment_id)
    ended = select(func.max(evaluation.c.ingest_no)).where(evaluation.c.experiment_id == experiment_id)
    return connection.execute(born).scalar() or 0, connection.execute(ended).scalar() or 0


def births(connection: Connection, experiment_id: int, *, after: int, limit: int) -> list[BornRow]:
    """The next births after birth number ``after``, at most ``limit``."""
    names = BornRow.__slots__[:-2]  # all columns of the table
    rows = connection.execute(
        select(*(genome.c[name] for name in names), _TWIN.c.birth.label("duplicate_of"))
        .join(_TWIN, _TWIN.c.id == genome.c.duplicate_of, isouter=True)
        .where(genome.c.experiment_id == experiment_id, genome.c.birth > after)
        .order_by(genome.c.birth)
        .limit(limit)
    ).all()
    parents: dict[int, list[int]] = {}
    query = (
        select(parentage.c.child_id, parentage.c.parent_id)
        .where(parentage.c.child_id.in_([row.id for row in rows]))
        .order_by(parentage.c.child_id, parentage.c.position)
    )
    for child, parent in connection.execute(query):
        parents.setdefault(child, []).append(parent)
    return [BornRow(**row._mapping, parents=tuple(parents.get(row.id, ()))) for row in rows]


def results(
    connection: Connection, experiment_id: int, objectives: Sequence[str], *, after: int, limit: int
) -> list[tuple[int, Ended]]:
    """The next results after ingest number ``after``, at most ``limit``, with their ingest numbers."""
    rows = connection.execute(
        select(*ENDED_COLUMNS, evaluation.c.state, evaluation.c.ingest_no)
        .join(genome, genome.c.id == evaluation.c.genome_id)
        .where(evaluation.c.experiment_id == experiment_id, evaluation.c.ingest_no > after)
        .order_by(evaluation.c.ingest_no)
        .limit(limit)
    ).all()
    succeeded = [row.evaluation_id for row in rows if row.state == "done"]
    values = objective_values(connection, succeeded, objectives)
    return [(row.ingest_no, ended(row, values)) for row in rows]


@dataclass(frozen=True, slots=True)
class MembershipRow:
    """A stay in the population (``slot``) or in the front (None); ``left_at`` is None while it lasts."""

    kind: str
    slot: int | None
    genome_id: int
    entered_at: int
    left_at: int | None
    reason: str | None


def memberships(connection: Connection, experiment_id: int, *, first: int, last: int) -> list[MembershipRow]:
    """All stays that began at the ingest numbers ``first`` to ``last``, in the order of entries."""
    query = (
        select(*(membership.c[name] for name in MembershipRow.__slots__))
        .where(
            membership.c.experiment_id == experiment_id,
            membership.c.kind.in_(["population", "front"]),  # all, but the index needs it
            membership.c.entered_at.between(first, last),
        )
        .order_by(membership.c.entered_at, membership.c.id)
    )
    return [MembershipRow(*row) for row in connection.execute(query)]
