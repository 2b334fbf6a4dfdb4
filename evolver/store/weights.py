"""The weights that final trainings kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

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
        select(
            evaluation.c.id,
            evaluation.c.seed_no,
            checkpoint.c.key,
            checkpoint.c.sha256,
            checkpoint.c.written_at,
            attempt.c.device_name,
            attempt.c.versions,
        )
        .join(checkpoint, checkpoint.c.evaluation_id == evaluation.c.id)
        .join(attempt, attempt.c.token == checkpoint.c.attempt_token)
        .where(
            evaluation.c.genome_id == genome_id,
            evaluation.c.purpose == "retrain",
            evaluation.c.state == "done",
            checkpoint.c.kind == "weights",
        )
        .order_by(checkpoint.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else KeptWeights(*row)
