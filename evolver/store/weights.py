"""The weights that final trainings kept.

KeptWeights     some of them, with all that is known of their training.
last_retrained  those of a genome.
to_begin_with   from which weights genomes can begin elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from evolver.evaluation import Weights
from evolver.space import Json
from evolver.store.schema import attempt, checkpoint, evaluation


@dataclass(frozen=True, slots=True)
class KeptWeights:
    """Weights of a final training; ``versions`` are those of the process that trained, on ``device``."""

    evaluation_id: int
    seed_no: int
    key: str
    sha256: str
    written_at: datetime
    device: str
    versions: Mapping[str, Json]


def last_retrained(connection: Connection, genome_id: int) -> KeptWeights | None:
    """The weights of a genome's last final training that ended well; None when there was none."""
    query = (
        _kept(
            evaluation.c.id,
            evaluation.c.seed_no,
            checkpoint.c.key,
            checkpoint.c.sha256,
            checkpoint.c.written_at,
            attempt.c.device_name,
            attempt.c.versions,
        )
        .join(attempt, attempt.c.token == checkpoint.c.attempt_token)
        .where(evaluation.c.genome_id == genome_id)
        .order_by(checkpoint.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else KeptWeights(*row)


def to_begin_with(connection: Connection, genome_ids: Sequence[int]) -> dict[int, Weights]:
    """The weights of the last final training of each genome that ended well; by genome."""
    query = (
        _kept(evaluation.c.genome_id, evaluation.c.id, checkpoint.c.key, checkpoint.c.sha256)
        .where(evaluation.c.genome_id.in_(list(genome_ids)))
        .order_by(evaluation.c.ended_at, evaluation.c.id, checkpoint.c.id)
    )
    return {genome_id: Weights(*values) for genome_id, *values in connection.execute(query)}


def _kept(*columns: ColumnElement[Any]) -> Select[Any]:
    """Of the weights that final trainings kept which ended well."""
    return (
        select(*columns)
        .select_from(evaluation)
        .join(checkpoint, checkpoint.c.evaluation_id == evaluation.c.id)
        .where(
            evaluation.c.purpose == "retrain",
            evaluation.c.state == "done",
            checkpoint.c.kind == "weights",
        )
    )
