"""The results of a search as numbers alone, in their order: what ``compare`` draws its curves from.

Two statements for an experiment, whatever its length. No numpy here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from evolver import constraints
from evolver.store.experiments import Experiment
from evolver.store.schema import attempt, evaluation, experiment, objective_value
from evolver.store.types import seconds_between

SINCE_START_S = seconds_between(
    func.coalesce(experiment.c.started_at, experiment.c.created_at), evaluation.c.ended_at
)
"""Seconds from the start of a search to the end of one of its evaluations; clocks may make it negative."""


@dataclass(frozen=True, slots=True)
class Result:
    """One numbered result, of a success unless it ``failed``.

    ``values`` are those of the objectives asked for; None for a failure, and for what breaks constraints of
    its search, as that is in no front. ``training_s``: the time of all its attempts, on whatever devices.
    ``since_start_s``: from the start of the search to its end.
    """

    values: tuple[float, ...] | None
    failed: bool
    training_s: float
    since_start_s: float


def results(connection: Connection, found: Experiment, objectives: Sequence[str]) -> list[Result]:
    """All numbered results of a search, in the order in which they were taken in."""
    own = (evaluation.c.experiment_id == found.id, evaluation.c.ingest_no.is_not(None))
    spent = func.sum(seconds_between(attempt.c.started_at, attempt.c.ended_at))
    trained: dict[int, float] = {
        key: float(seconds)
        for key, seconds in connection.execute(
            select(attempt.c.evaluation_id, spent)
            .join(evaluation, evaluation.c.id == attempt.c.evaluation_id)
            .where(*own, attempt.c.ended_at.is_not(None))
            .group_by(attempt.c.evaluation_id)
        )
    }
    bounds = constraints.of_results(found.settings.constraints)
    names = [*objectives, *(one.name for one in bounds if one.name not in objectives)]
    tables = {name: objective_value.alias(f"value_{number}") for number, name in enumerate(names)}
    query = select(
        evaluation.c.id,
        evaluation.c.state,
        SINCE_START_S,
        *(table.c.value for table in tables.values()),
    ).join(experiment, experiment.c.id == evaluation.c.experiment_id)
    for name, table in tables.items():
        its = and_(table.c.evaluation_id == evaluation.c.id, table.c.objective == name)
        query = query.join(table, its, isouter=True)
    taken = []
    for key, state, since_start_s, *row in connection.execute(
        query.where(*own).order_by(evaluation.c.ingest_no)
    ):
        values = dict(zip(tables, row, strict=True))
        counts = None not in row and constraints.violation(bounds, values) == 0.0
        vector = tuple(values[name] for name in objectives) if counts else None
        taken.append(Result(vector, state == "failed", trained.get(key, 0.0), max(0.0, since_start_s)))
    return taken
