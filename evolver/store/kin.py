"""Who descends from whom, as far as a person can look at it.

``details.lineage`` has all ancestors of a genome, which may be most of a history; here their number is
bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from evolver.store.details import parents_of
from evolver.store.schema import genome, parentage


@dataclass(frozen=True, slots=True)
class Relative:
    """A genome among its relatives; ``distance`` is the least number of births from where one began."""

    genome_id: int
    birth: int
    operator: str
    parent_ids: tuple[int, ...]
    distance: int


def ancestors(
    connection: Connection, genome_ids: Sequence[int], *, depth: int, limit: int
) -> tuple[list[Relative], bool]:
    """These genomes (distance 0) and their ancestors, nearest first, at most ``limit``; and whether that
    is all of them.

    Walks up breadth first, two queries a generation, at most ``depth`` generations. ``parent_ids`` has all
    parents, those that were left out as well.
    """
    found: list[Relative] = []
    seen: set[int] = set()
    generation = sorted(set(genome_ids))
    for distance in range(depth + 1):
        kept = generation[max(0, len(generation) - (limit - len(seen))) :]  # the youngest
        relatives = _relatives(connection, kept, distance)
        found += relatives
        if len(kept) < len(generation):
            return found, False
        seen.update(kept)
        generation = sorted({parent for one in relatives for parent in one.parent_ids} - seen)
        if not generation:
            return found, True
    return found, False


def _relatives(connection: Connection, genome_ids: Sequence[int], distance: int) -> list[Relative]:
    rows = connection.execute(
        select(genome.c.id, genome.c.birth, genome.c.operator)
        .where(genome.c.id.in_(list(genome_ids)))
        .order_by(genome.c.id)
    ).all()
    above = parents_of(connection, genome_ids)
    return [Relative(row.id, row.birth, row.operator, above.get(row.id, ()), distance) for row in rows]


def children(connection: Connection, genome_id: int, *, limit: int) -> tuple[list[Relative], int]:
    """The children of a genome, oldest first, at most ``limit``; and how many there are."""
    own = parentage.c.parent_id == genome_id
    total = connection.execute(select(func.count(parentage.c.child_id.distinct())).where(own)).scalar_one()
    ids = connection.execute(
        select(parentage.c.child_id).where(own).distinct().order_by(parentage.c.child_id).limit(limit)
    )
    return _relatives(connection, ids.scalars().all(), 1), total
