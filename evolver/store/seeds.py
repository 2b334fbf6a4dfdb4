"""The genomes that a search begins with: its first births, stored together with the experiment.

Seed        one of them.
insert_all  store those of a new experiment.
of_births   read those of some births.
Evaluated   a genome of a search, to seed another one with.
evaluated   the genomes of a search that are worth it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, and_, insert, select

from evolver.space import Json
from evolver.store.schema import evaluation, genome, membership, objective_value, seed_genome


@dataclass(frozen=True, slots=True)
class Seed:
    """A genome to begin with, and where it comes from, for people.

    With a ``result`` (all values of evaluation ``evaluation_id``, of another search), it is not trained.
    """

    code: Json
    origin: str
    evaluation_id: int | None = None
    result: Mapping[str, float] | None = None


def insert_all(connection: Connection, experiment_id: int, seeds: Sequence[Seed]) -> None:
    """Store the seeds of a new experiment: they are its births from number 1 on."""
    if seeds:
        rows = [
            {
                "experiment_id": experiment_id,
                "birth": birth,
                "code": one.code,
                "origin": one.origin,
                "evaluation_id": one.evaluation_id,
                "result": None if one.result is None else dict(one.result),
            }
            for birth, one in enumerate(seeds, start=1)
        ]
        connection.execute(insert(seed_genome), rows)


def of_births(connection: Connection, experiment_id: int, first: int, last: int) -> dict[int, Seed]:
    """The seeds of the births ``first`` to ``last``, by birth number; births beyond the seeds have none."""
    query = select(seed_genome.c.birth, *(seed_genome.c[name] for name in Seed.__slots__)).where(
        seed_genome.c.experiment_id == experiment_id, seed_genome.c.birth.between(first, last)
    )
    return {birth: Seed(*values) for birth, *values in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A genome whose search evaluation succeeded, with all values of that evaluation."""

    genome_id: int
    code: Json
    phenotype: str
    evaluation_id: int
    values: Mapping[str, float]


def evaluated(
    connection: Connection, experiment_id: int, which: str, *, objective: str, limit: int | None = None
) -> list[Evaluated]:
    """Genomes of a search that succeeded: its ``front`` or ``population`` now, or the ``best`` of all.

    The least value of ``objective`` comes first; ``limit`` bounds how many there are. A genome that holds
    several slots comes once, and the best have no duplicates.
    """
    first = objective_value.alias("first")
    query: Select[tuple[int, Json, str, int]] = (
        select(genome.c.id, genome.c.code, genome.c.phenotype, evaluation.c.id.label("evaluation_id"))
        .join(evaluation, evaluation.c.genome_id == genome.c.id)
        .join(first, and_(first.c.evaluation_id == evaluation.c.id, first.c.objective == objective))
        .where(
            genome.c.experiment_id == experiment_id,
            evaluation.c.purpose == "search",
            evaluation.c.state == "done",
        )
        .order_by(first.c.value, genome.c.id)
        .limit(limit)
    )
    if which == "best":
        query = query.where(genome.c.duplicate_of.is_(None))
    else:
        members = select(membership.c.genome_id).where(
            membership.c.experiment_id == experiment_id,
            membership.c.kind == which,
            membership.c.left_at.is_(None),
        )
        query = query.where(genome.c.id.in_(members))
    rows = connection.execute(query).all()
    values: dict[int, dict[str, float]] = {}
    found = select(objective_value).where(
        objective_value.c.evaluation_id.in_([row.evaluation_id for row in rows])
    )
    for one in connection.execute(found):
        values.setdefault(one.evaluation_id, {})[one.objective] = one.value
    return [
        Evaluated(row.id, row.code, row.phenotype, row.evaluation_id, values[row.evaluation_id])
        for row in rows
    ]
