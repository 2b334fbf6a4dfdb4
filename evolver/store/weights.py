"""The weights that final trainings kept, on the data of their search (``retrain``) or others (``transfer``).

"The last" of several trainings is, everywhere, the one that ended last.

KeptWeights    some of them, with all that is known of their training.
of_genome      those of a genome, of the last training last.
to_begin_with  from which weights genomes can begin elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from evolver.evaluation import DatasetRef, Weights
from evolver.space import Json
from evolver.store.claims import dataset_ref
from evolver.store.schema import attempt, checkpoint, dataset, evaluation
from evolver.store.states import Purpose


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """Weights of a final training on ``dataset``, which ended well.

    ``init_from`` is the evaluation whose weights it began with, None for one from scratch; ``versions`` are
    those of the process that trained, on ``device``.
    """

    evaluation_id: int
    purpose: Purpose
    seed_no: int
    init_from: int | None
    key: str
    sha256: str
    written_at: datetime
    device: str
    versions: Mapping[str, Json]
    dataset: DatasetRef


def of_genome(connection: Connection, genome_id: int) -> list[KeptWeights]:
    """The weights of all final trainings of a genome that ended well, one of each; the last one last."""
    query = (
        _kept(
            evaluation.c.id.label("evaluation_id"),
            evaluation.c.purpose,
            evaluation.c.seed_no,
            evaluation.c.init_from,
            checkpoint.c.key,
            checkpoint.c.sha256.label("weights_sha256"),
            checkpoint.c.written_at,
            attempt.c.device_name,
            attempt.c.versions,
            dataset,
        )
        .join(attempt, attempt.c.token == checkpoint.c.attempt_token)
        .join(dataset, dataset.c.id == evaluation.c.dataset_id)
        .where(evaluation.c.genome_id == genome_id)
    )
    found = {
        row.evaluation_id: KeptWeights(
            row.evaluation_id, row.purpose, row.seed_no, row.init_from, row.key, row.weights_sha256,
            row.written_at, row.device_name, row.versions, dataset_ref(row),
        )
        for row in connection.execute(query)
    }  # fmt: skip
    return list(found.values())


def to_begin_with(connection: Connection, genome_ids: Sequence[int]) -> dict[int, Weights]:
    """The weights of the last final training of each genome on the data of its search; by genome."""
    query = _kept(evaluation.c.genome_id, evaluation.c.id, checkpoint.c.key, checkpoint.c.sha256).where(
        evaluation.c.genome_id.in_(list(genome_ids)), evaluation.c.purpose == "retrain"
    )
    return {genome_id: Weights(*values) for genome_id, *values in connection.execute(query)}


def _kept(*columns: ColumnElement[Any] | Any) -> Select[Any]:
    """Of the weights that trainings kept which ended well; the last one last."""
    return (
        select(*columns)
        .select_from(evaluation)
        .join(checkpoint, checkpoint.c.evaluation_id == evaluation.c.id)
        .where(evaluation.c.state == "done", checkpoint.c.kind == "weights")
        .order_by(evaluation.c.ended_at, evaluation.c.id, checkpoint.c.id)
    )
