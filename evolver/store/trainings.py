"""Trainings in full: final ones (purpose ``retrain``), and those on other data (``transfer``).

TrainingFact  one of them.
of_genomes    those of some genomes under one recipe, on one data set.
by_id         those of some ids, as they stand now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from evolver.store.schema import checkpoint, evaluation, objective_value
from evolver.store.states import Purpose


@dataclass(frozen=True, slots=True)
class TrainingFact:
    """A training in full; ``values`` by name, ``weights`` is the key of its kept weights.

    ``init_from`` is the evaluation whose weights it began with; None for one from scratch.
    """

    evaluation_id: int
    genome_id: int
    seed_no: int
    init_from: int | None
    state: str
    failure_kind: str | None
    failure_message: str | None
    values: dict[str, float]
    weights: str | None


def of_genomes(
    connection: Connection, purpose: Purpose, genome_ids: Sequence[int], dataset_id: int, recipe_id: int
) -> list[TrainingFact]:
    """All trainings of these genomes for a purpose, on a data set, under a recipe; by ``seed_no``."""
    query = (
        select(evaluation.c.id)
        .where(
            evaluation.c.genome_id.in_(list(genome_ids)),
            evaluation.c.purpose == purpose,
            evaluation.c.dataset_id == dataset_id,
            evaluation.c.recipe_id == recipe_id,
        )
        .order_by(evaluation.c.seed_no, evaluation.c.id)
    )
    return by_id(connection, connection.execute(query).scalars().all())


def by_id(connection: Connection, evaluation_ids: Sequence[int]) -> list[TrainingFact]:
    """The trainings of these ids, in this order. Those that were deleted are left out."""
    chosen = list(evaluation_ids)
    rows = {row.id: row for row in connection.execute(select(evaluation).where(evaluation.c.id.in_(chosen)))}
    values: dict[int, dict[str, float]] = {}
    measured = select(objective_value).where(objective_value.c.evaluation_id.in_(chosen))
    for one in connection.execute(measured.order_by(objective_value.c.objective)):
        values.setdefault(one.evaluation_id, {})[one.objective] = one.value
    kept = (
        select(checkpoint.c.evaluation_id, checkpoint.c.key)
        .where(checkpoint.c.evaluation_id.in_(chosen), checkpoint.c.kind == "weights")
        .order_by(checkpoint.c.id)
    )
    keys = {one.evaluation_id: one.key for one in connection.execute(kept)}
    return [
        TrainingFact(row.id, row.genome_id, row.seed_no, row.init_from, row.state, row.failure_kind,
                     row.failure_message, values.get(row.id, {}), keys.get(row.id))
        for row in (rows[key] for key in chosen if key in rows)
    ]  # fmt: skip
