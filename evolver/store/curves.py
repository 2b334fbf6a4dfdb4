"""The results of a search as numbers alone, in their order: what ``compare`` draws its curves from.

Two statements for an experiment, whatever its length. No numpy here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select

from evolver.store.experiments import Experiment
from evolver.store.schema import attempt, evaluation, experiment, objective_value
from evolver.store.types import seconds_between


@dataclass(frozen=True, slots=True)
class Result:
    """One numbered result. ``values`` are those of the objectives asked for, None for a failure.

    ``training_s``: the time of all its attempts, on whatever devices. ``since_start_s``: from the start of
    the search to its end.
    """

    values: tuple[float, ...] | None
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
    tables = [objective_value.alias(f"value_{number}") for number in range(len(objectives))]
    started_at = func.coalesce(experiment.c.started_at, experiment.c.created_at)
    query = select(
        evaluation.c.id,
        seconds_between(started_at, evaluation.c.ended_at),
        *(table.c.value for table in tables),
    ).join(experiment, experiment.c.id == evaluation.c.experiment_id)
    for table, name in zip(tables, objectives, strict=True):
        its = and_(table.c.evaluation_id == evaluation.c.id, table.c.objective == name)
        query = query.join(table, its, isouter=True)
    return [
        Result(None if None in values else tuple(values), trained.get(key, 0.0), max(0.0, since_start_s))
        for key, since_start_s, *values in connection.execute(
            query.where(*own).order_by(evaluation.c.ingest_no)
        )
    ]
