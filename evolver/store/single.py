"""The two most frequent actions of the lease protocol on PostgreSQL, each as one statement.

A claim, and a success with its epochs, are what every evaluation does; in one statement each, they cost
one round trip and one commit. They mean exactly what the several statements in ``claims.py`` and
``leases.py`` mean, which serve SQLite (it cannot write within a WITH); the same tests run over both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection

from evolver.evaluation import Epoch
from evolver.store.wakeups import RESULT

TASK_COLUMNS = """
    v.id AS evaluation_id, v.genome_id, v.purpose, v.rung, v.seed_no, v.attempts,
    x.id AS experiment_id, x.name AS experiment, x.evaluator, x.space, x.space_settings, x.limit_train,
    x.objectives, x.seed, x.timeout_s, g.birth, g.code, r.settings AS recipe,
    d.id, d.name, d.sample, d.train, d.validation, d.test, d.split_seed, d.sha256"""

CLAIM = f"""
WITH chosen AS (
    SELECT next.id, w.host
    FROM worker w
    CROSS JOIN unnest(%(experiments)s::bigint[], %(datasets)s::bigint[]) AS offer(experiment_id, dataset_id)
    CROSS JOIN LATERAL (
        SELECT v.id FROM evaluation v JOIN experiment x ON x.id = v.experiment_id
        WHERE v.experiment_id = offer.experiment_id AND v.dataset_id = offer.dataset_id
          AND v.state = 'pending' AND v.waits_for IS NULL
          AND (x.state = 'running' OR v.purpose <> 'search')
          AND NOT EXISTS (
              SELECT 1 FROM attempt a
              WHERE a.evaluation_id = v.id AND a.worker_id = %(worker_id)s AND a.outcome = 'environment'
                AND a.ended_at > clock_timestamp() - make_interval(secs => %(fault_pause_s)s))
        ORDER BY v.priority DESC, v.id
        LIMIT 1 FOR UPDATE OF v SKIP LOCKED
    ) next
    WHERE w.id = %(worker_id)s
    LIMIT 1
), claimed AS (
    UPDATE evaluation v
    SET state = 'running', worker_id = %(worker_id)s, token = %(token)s, attempts = v.attempts + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
    FROM chosen WHERE v.id = chosen.id
    RETURNING v.*, chosen.host
), tried AS (
    INSERT INTO attempt (evaluation_id, number, worker_id, host, slot, token, device, device_name, versions)
    SELECT claimed.id, claimed.attempts, %(worker_id)s, claimed.host, %(slot)s, %(token)s,
           %(device)s, %(device_name)s, %(versions)s::jsonb
    FROM claimed
)
SELECT row_to_json(task) FROM (
    SELECT {TASK_COLUMNS}, c.key AS resume_key, c.sha256 AS resume_sha256, c.epoch AS resume_epoch
    FROM claimed v
    JOIN experiment x ON x.id = v.experiment_id
    JOIN genome g ON g.id = v.genome_id
    JOIN recipe r ON r.id = v.recipe_id
    JOIN dataset d ON d.id = v.dataset_id
    LEFT JOIN LATERAL (
        SELECT key, sha256, epoch FROM checkpoint
        WHERE evaluation_id = v.id AND kind = 'resume' ORDER BY id DESC LIMIT 1
    ) c ON true
) task
"""
# One value instead of thirty columns: the driver works on each column of each row for 3% of a cycle in all.

EPOCH_COLUMNS = (
    "epoch", "train_loss", "train_error", "validation_loss", "validation_error", "lr", "seconds", "extra"
)  # fmt: skip

# The scheduler is woken by the first result only: it takes in all that have come until it looks.
COMPLETE = f"""
WITH done AS (
    UPDATE evaluation SET state = 'done', lease_expires_at = NULL, ended_at = clock_timestamp()
    WHERE id = %(evaluation_id)s AND state = 'running' AND token = %(token)s
    RETURNING id, experiment_id
), epochs AS (
    INSERT INTO epoch_metric (evaluation_id, {", ".join(EPOCH_COLUMNS)})
    SELECT done.id, {", ".join(f"e.{name}" for name in EPOCH_COLUMNS)}
    FROM done, jsonb_to_recordset(%(epochs)s::jsonb) AS e(
        epoch integer, train_loss float8, train_error float8, validation_loss float8,
        validation_error float8, lr float8, seconds float8, extra jsonb)
    ON CONFLICT (evaluation_id, epoch) DO UPDATE
    SET ({", ".join(EPOCH_COLUMNS[1:])}) = ({", ".join(f"excluded.{name}" for name in EPOCH_COLUMNS[1:])})
), measured AS (
    INSERT INTO objective_value (evaluation_id, objective, value)
    SELECT done.id, o.key, o.value::float8 FROM done, jsonb_each_text(%(values)s::jsonb) o
), ended AS (
    UPDATE attempt SET outcome = 'done', ended_at = clock_timestamp(), log_tail = %(log_tail)s
    FROM done WHERE attempt.token = %(token)s
)
SELECT id, (SELECT pg_notify('{RESULT}', '') WHERE NOT EXISTS (
    SELECT 1 FROM evaluation v
    WHERE v.experiment_id = done.experiment_id AND v.state IN ('done', 'failed') AND v.purpose = 'search'
      AND v.ingest_no IS NULL))
FROM done
"""


def claim(
    connection: Connection,
    *,
    token: str,
    experiments: Sequence[int],
    datasets: Sequence[int],
    versions: Mapping[str, str],
    **values: Any,
) -> Any | None:
    """Lease the best pending evaluation: the row of its task, or None.

    ``experiments`` and ``datasets`` are pairs, looked through in their order until there is one.
    ``values``: worker_id, slot, device, device_name, lease_s, fault_pause_s.
    """
    parameters = {
        **values,
        "token": token,
        "experiments": list(experiments),
        "datasets": list(datasets),
        "versions": json.dumps(dict(versions)),
    }
    task = connection.exec_driver_sql(CLAIM, parameters).scalar()
    return None if task is None else SimpleNamespace(**task)


def complete(
    connection: Connection,
    *,
    evaluation_id: int,
    token: str,
    values: Mapping[str, float],
    epochs: Sequence[Epoch],
    log_tail: str,
) -> bool:
    """running → done with everything that belongs to it; False when the lease is lost."""
    rows = [
        {"epoch": epoch.number, **{name: getattr(epoch, name) for name in EPOCH_COLUMNS[1:-1]},
         "extra": dict(epoch.extra) or None}
        for epoch in epochs
    ]  # fmt: skip
    parameters = {
        "evaluation_id": evaluation_id,
        "token": token,
        "epochs": json.dumps(rows),
        "values": json.dumps({name: repr(float(value)) for name, value in values.items()}),
        "log_tail": log_tail,
    }
    return connection.exec_driver_sql(COMPLETE, parameters).first() is not None
