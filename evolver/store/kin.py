"""Who descends from whom.

parents_of  the parents of genomes.
ancestors   genomes and their ancestors: all of them, or as many as a person can look at.
children    the children of a genome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from sqlalchemy import Connection, func, select

from evolver.store.schema import genome, parentage


@dataclass(frozen=True, slots=True)
class Relative:
    """A genome among its relatives; ``distance`` is the least number of births from where one began."""

    genome_id: int
    birth: int
    operator: str
    parent_ids: tuple[int, ...]
    distance: int


def parents_of(connection: Connection, genome_ids: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """The parents of genomes, by id; a genome without any is left out."""
    query = (
        select(parentage.c.child_id, parentage.c.parent_id)
        .where(parentage.c.child_id.in_(list(genome_ids)))
        .order_by(parentage.c.child_id, parentage.c.position)
    )
    found: dict[int, tuple[int, ...]] = {}
    for child, parent in connection.execute(query):
        found[child] = (*found.get(child, ()), parent)
    return found


def ancestors(
    connection: Connection, genome_ids: Sequence[int], *, depth: int | None = None, limit: int | None = None
) -> tuple[list[Relative], bool]:
    """These genomes (distance 0) and their ancestors, nearest first; and whether that is all of them.

    Walks up breadth first, two queries a generation: at most ``depth`` generations, and ``limit`` genomes.
    Without bounds that may be most of a history. ``parent_ids`` has all parents, those that were left out as
    well. Ids of genomes that do not exist are left out.
    """
    found: list[Relative] = []
    seen: set[int] = set()
    generation = sorted(set(genome_ids))
    for distance in count() if depth is None else range(depth + 1):
        left = len(generation) if limit is None else limit - len(seen)
        kept = generation[max(0, len(generation) - left) :]  # the youngest
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
