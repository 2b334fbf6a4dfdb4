"""What a person who browses a search looks at: always a bounded number of rows, however long its history.

``facts.py`` has its status, ``details.py`` one genome in full, ``kin.py`` who descends from whom.

listed         experiments, those that run first.
front          the front at a time.
sampled        results spread evenly over the history.
front_entries  who ever entered the front: what the growth of a hypervolume is computed from.
moments        when results ended.
stays          when a genome was in population and front.
rank           how many results are better than a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select

from evolver.space import Json
from evolver.store import experiments
from evolver.store.curves import SINCE_START_S
from evolver.store.experiments import Experiment
from evolver.store.facts import in_front
from evolver.store.history import MembershipRow
from evolver.store.schema import evaluation, experiment, genome, membership, objective_value

ENTRIES = 4_000
"""Entries into the front that are read at most; of a longer history the last ones, and who is there now."""
COUNTED = 1_000
"""Results that a rank is counted among at most; of more, so many are taken, spread evenly."""
PURPOSE = "search"


def listed(connection: Connection, *, first: int, number: int) -> tuple[list[Experiment], int]:
    """Experiments ``first`` (from 0) and following, running ones first, then the youngest; and how many
    there are in all."""
    return experiments.listed(connection, first=first, number=number), experiments.count(connection)


@dataclass(frozen=True, slots=True)
class Point:
    """A genome that was evaluated with success; ``values`` are all that were measured, params and flops
    as well, by name."""

    genome_id: int
    operator: str
    ingest_no: int | None
    code: Json
    values: Mapping[str, float]


def front(
    connection: Connection, found: Experiment, *, at: int | None, limit: int
) -> tuple[list[Point], int]:
    """The front now, or after ingest number ``at``, by the first objective; and how many it has.

    A larger one than ``limit`` is thinned out evenly.
    """
    there = in_front(found.id, at)
    total = connection.execute(select(func.count()).select_from(membership).where(there)).scalar_one()
    first = objective_value.alias("first")
    query = (
        _points_query()
        .join(membership, membership.c.genome_id == genome.c.id)
        .join(first, and_(first.c.evaluation_id == evaluation.c.id,
                          first.c.objective == found.settings.objectives[0]))
        .where(there)
        .order_by(first.c.value, genome.c.id)
    )  # fmt: skip
    if total > limit:
        place = func.row_number().over(order_by=(first.c.value, genome.c.id)) - 1
        numbered = query.order_by(None).add_columns(place.label("place")).subquery()
        query = select(numbered).where(numbered.c.place % -(-total // limit) == 0).order_by(numbered.c.place)
    return _points(connection, query), total


def sampled(connection: Connection, found: Experiment, number: int) -> list[Point]:
    """At most so many results, spread evenly over the history, in their order; all where there are no more.

    Failures have no values and are left out.
    """
    numbers = spread(found.ingested, number)
    query = _points_query().where(evaluation.c.experiment_id == found.id, evaluation.c.ingest_no.in_(numbers))
    return _points(connection, query.order_by(evaluation.c.ingest_no))


def spread(last: int, number: int) -> list[int]:
    """At most so many of the numbers 1 to ``last``, evenly spread, the last one among them."""
    if last <= number:
        return list(range(1, last + 1))
    return sorted({round(last * (i + 1) / number) for i in range(number)})


def _points_query() -> Select[Any]:
    return select(
        genome.c.id,
        genome.c.operator,
        genome.c.params,
        genome.c.flops,
        genome.c.code,
        evaluation.c.ingest_no,
        evaluation.c.id.label("evaluation_id"),
    ).join(
        evaluation,
        and_(
            evaluation.c.genome_id == genome.c.id,
            evaluation.c.purpose == PURPOSE,
            evaluation.c.state == "done",
        ),
    )


def _points(connection: Connection, query: Select[Any]) -> list[Point]:
    rows = connection.execute(query).all()
    values = _values(connection, [row.evaluation_id for row in rows])
    return [
        Point(row.id, row.operator, row.ingest_no, row.code,
              {"params": float(row.params), "flops": float(row.flops), **values.get(row.evaluation_id, {})})
        for row in rows
    ]  # fmt: skip


def _values(connection: Connection, evaluation_ids: Sequence[int]) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    query = select(objective_value).where(objective_value.c.evaluation_id.in_(list(evaluation_ids)))
    for row in connection.execute(query):
        found.setdefault(row.evaluation_id, {})[row.objective] = row.value
    return found


def named_points(connection: Connection, genome_ids: Sequence[int]) -> dict[int, Point]:
    """Of these genomes those that were evaluated with success, by id."""
    query = _points_query().where(genome.c.id.in_(list(genome_ids)))
    return {one.genome_id: one for one in _points(connection, query)}


# --- the history of the front ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entries:
    """Who entered the front: ingest numbers, never falling, and vectors of objectives beside them.

    ``since`` is the ingest number from which on the history is whole: 0, but for a very long one.
    """

    entered_at: tuple[int, ...]
    vectors: tuple[tuple[float, ...], ...]
    since: int


def front_entries(
    connection: Connection, found: Experiment, objectives: Sequence[str], *, limit: int = ENTRIES
) -> Entries:
    """All that ever entered the front and have values of these objectives, in order."""
    own = and_(membership.c.experiment_id == found.id, membership.c.kind == "front")
    since = connection.execute(
        select(membership.c.entered_at)
        .where(own)
        .order_by(membership.c.entered_at.desc())
        .offset(limit)
        .limit(1)
    ).scalar()
    tables = [objective_value.alias(f"value_{number}") for number in range(len(objectives))]
    query = (
        select(membership.c.entered_at, *(table.c.value for table in tables))
        .join(evaluation, and_(evaluation.c.genome_id == membership.c.genome_id,
                               evaluation.c.purpose == PURPOSE, evaluation.c.state == "done"))
        .where(own, or_(membership.c.left_at.is_(None), membership.c.entered_at > (since or 0)))
        .order_by(membership.c.entered_at, membership.c.id)
    )  # fmt: skip
    for name, table in zip(objectives, tables, strict=True):
        its = and_(table.c.evaluation_id == evaluation.c.id, table.c.objective == name)
        query = query.join(table, its)
    rows = connection.execute(query).all()
    return Entries(tuple(row[0] for row in rows), tuple(tuple(row[1:]) for row in rows), since or 0)


def moments(connection: Connection, found: Experiment, numbers: Sequence[int]) -> dict[int, float]:
    """Seconds from the start of the search to the end of these results, by ingest number."""
    query = (
        select(evaluation.c.ingest_no, SINCE_START_S)
        .join(experiment, experiment.c.id == evaluation.c.experiment_id)
        .where(evaluation.c.experiment_id == found.id, evaluation.c.ingest_no.in_(list(numbers)))
    )
    return {number: max(0.0, seconds) for number, seconds in connection.execute(query)}


def stays(connection: Connection, genome_id: int, limit: int = 50) -> list[MembershipRow]:
    """When a genome was in population and front, by the time of entry."""
    query = (
        select(*(membership.c[name] for name in MembershipRow.__slots__))
        .where(membership.c.genome_id == genome_id)
        .order_by(membership.c.entered_at, membership.c.id)
        .limit(limit)
    )
    return [MembershipRow(*row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Rank:
    """So many of ``among`` results are ``better`` than a value; ``is_sample``: they are not all there are."""

    better: int
    among: int
    is_sample: bool


def rank(connection: Connection, found: Experiment, values: Mapping[str, float]) -> dict[str, Rank]:
    """The rank of each of these values among the results of a search, by name."""
    numbers = spread(found.ingested, COUNTED)
    query = (
        select(objective_value.c.objective, objective_value.c.value)
        .join(evaluation, evaluation.c.id == objective_value.c.evaluation_id)
        .where(
            evaluation.c.experiment_id == found.id,
            evaluation.c.ingest_no.in_(numbers),
            objective_value.c.objective.in_(list(values)),
        )
    )
    better, among = dict.fromkeys(values, 0), dict.fromkeys(values, 0)
    for name, value in connection.execute(query):
        among[name] += 1
        better[name] += value < values[name]
    is_sample = len(numbers) < found.ingested
    return {name: Rank(better[name], among[name], is_sample) for name in values}
