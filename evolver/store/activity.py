"""What the workers do now: each evaluation that runs, and how fast each worker brings results.

Read again and again by ``evolver top``: only what is open, and the last results of the searches that run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from evolver.store import facts
from evolver.store.schema import attempt, epoch_metric, evaluation, experiment, genome, recipe, worker
from evolver.store.types import now, seconds_between

RATE_SPAN_S = 3600.0
"""A worker's rate is that of its results of the last hour."""
RATE_WINDOW = 500
"""So many of a search's last results are looked at for it, at the most."""
RATE_LEAST_S = 10.0
"""No rate is told of a shorter time."""
RATE_SEARCHES = 20
"""The youngest searches that run; a worker's results of others do not count."""


@dataclass(frozen=True, slots=True)
class Running:
    """An evaluation that runs: ``epoch`` of ``epochs`` have ended, each in ``epoch_s`` on average.

    ``seconds`` is how long this attempt has run. ``lease_left_s`` is below zero when the lease has ended and
    nobody has taken the evaluation back yet.
    """

    worker_id: int
    slot: int
    device: str
    experiment: str
    purpose: str
    genome_id: int
    birth: int
    epoch: int
    epochs: int | None
    epoch_s: float | None
    seconds: float
    lease_left_s: float


def running(connection: Connection, limit: int) -> list[Running]:
    """The evaluations that run, by worker and slot; at most ``limit`` of them."""
    ended = epoch_metric.c.evaluation_id == evaluation.c.id
    query: Select[Any] = (
        select(
            attempt.c.worker_id,
            attempt.c.slot,
            attempt.c.device,
            experiment.c.name,
            evaluation.c.purpose,
            evaluation.c.genome_id,
            genome.c.birth,
            select(func.coalesce(func.max(epoch_metric.c.epoch), 0)).where(ended).scalar_subquery(),
            recipe.c.settings["epochs"].as_integer(),
            select(func.avg(epoch_metric.c.seconds)).where(ended).scalar_subquery(),
            seconds_between(attempt.c.started_at, now()),
            seconds_between(now(), evaluation.c.lease_expires_at),
        )
        .join(attempt, attempt.c.token == evaluation.c.token)
        .join(genome, genome.c.id == evaluation.c.genome_id)
        .join(experiment, experiment.c.id == evaluation.c.experiment_id)
        .join(recipe, recipe.c.id == evaluation.c.recipe_id)
        .where(evaluation.c.state == "running")
        .order_by(attempt.c.worker_id, attempt.c.device, attempt.c.slot, evaluation.c.id)
        .limit(limit)
    )
    return [Running(*row) for row in connection.execute(query)]


def results_per_hour(connection: Connection) -> dict[int, float]:
    """How many results of searches each worker brings in an hour, by its id.

    Counted over the last hour, or since the worker is there, or as far back as the last 500 results of a
    search reach. A worker without a result, or that has just begun, is left out.
    """
    youngest = (
        select(experiment.c.id)
        .where(experiment.c.state == "running")
        .order_by(experiment.c.id.desc())
        .limit(RATE_SEARCHES)
    )
    rates: dict[int, float] = {}
    for experiment_id in connection.execute(youngest).scalars().all():
        for worker_id, rate in _rates(connection, experiment_id).items():
            rates[worker_id] = rates.get(worker_id, 0.0) + rate
    return rates


def _rates(connection: Connection, experiment_id: int) -> dict[int, float]:
    columns = (evaluation.c.worker_id, evaluation.c.ended_at)
    recent = facts.last_results(experiment_id, RATE_WINDOW, *columns).subquery()
    rows = connection.execute(
        select(
            recent.c.worker_id,
            func.count(),
            seconds_between(func.min(recent.c.ended_at), now()),
            seconds_between(func.min(worker.c.started_at), now()),
        )
        .join(worker, worker.c.id == recent.c.worker_id)
        .where(seconds_between(recent.c.ended_at, now()) < RATE_SPAN_S)
        .group_by(recent.c.worker_id)
    ).all()
    is_full = sum(number for _, number, _, _ in rows) >= RATE_WINDOW
    reach_s = max((oldest_s for _, _, oldest_s, _ in rows), default=0.0) if is_full else RATE_SPAN_S
    return {
        worker_id: number / span_s * 3600
        for worker_id, number, _, age_s in rows
        if (span_s := min(reach_s, age_s)) >= RATE_LEAST_S
    }
