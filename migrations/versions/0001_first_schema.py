"""The first schema: tables, views for people, and genomes that cannot be changed.

Revision: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Json = sa.JSON().with_variant(JSONB(), "postgresql")
Timestamp = sa.DateTime(timezone=True).with_variant(sa.String(23), "sqlite")


def _on_sqlite() -> bool:
    return bool(op.get_bind().dialect.name == "sqlite")


def now() -> Any:
    """Default of timestamps: the database's clock."""
    return sa.text("(strftime('%Y-%m-%d %H:%M:%f', 'now'))" if _on_sqlite() else "clock_timestamp()")


def _where(condition: str) -> dict[str, Any]:
    """A partial index, on both databases."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    _dataset()
    _recipe()
    _worker()
    _experiment()
    _seed_genome()
    _genome()
    _leader()
    _evaluation()
    _membership()
    _parentage()
    _attempt()
    _checkpoint()
    _epoch_metric()
    _objective_value()
    _views()
    _immutability()


def _dataset() -> None:
    op.create_table(
        "dataset",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sample", Json, nullable=False),
        sa.Column("classes", sa.Integer(), nullable=False),
        sa.Column("train", sa.Integer(), nullable=False),
        sa.Column("validation", sa.Integer(), nullable=False),
        sa.Column("test", sa.Integer(), nullable=False),
        sa.Column("split_seed", Id, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_dataset"),
    )
    op.create_index("ix_dataset_name", "dataset", ["name"])


def _recipe() -> None:
    op.create_table(
        "recipe",
        sa.Column("id", Id, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("settings", Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_recipe"),
        sa.UniqueConstraint("sha256", name="uq_recipe_sha256"),
    )


def _worker() -> None:
    op.create_table(
        "worker",
        sa.Column("id", Id, nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("versions", Json, nullable=False),
        sa.Column("state", sa.String(), server_default="active", nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("started_at", Timestamp, server_default=now(), nullable=False),
        sa.Column("heartbeat_at", Timestamp, server_default=now(), nullable=False),
        sa.Column("expires_at", Timestamp, nullable=False),
        sa.CheckConstraint("state IN ('active', 'draining', 'stopped', 'faulted')", name="ck_worker_state"),
        sa.PrimaryKeyConstraint("id", name="pk_worker"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_worker_expires_at", "worker", ["expires_at"])


def _experiment() -> None:
    op.create_table(
        "experiment",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default="created", nullable=False),
        sa.Column("state_reason", sa.String(), nullable=True),
        sa.Column("dataset_id", Id, nullable=False),
        sa.Column("limit_train", sa.Integer(), nullable=True),
        sa.Column("space", sa.String(), nullable=False),
        sa.Column("space_version", sa.Integer(), nullable=False),
        sa.Column("space_settings", Json, nullable=False),
        sa.Column("space_sha256", sa.String(length=64), nullable=False),
        sa.Column("recipe_id", Id, nullable=False),
        sa.Column("objectives", Json, nullable=False),
        sa.Column("constraints", Json, nullable=False),
        sa.Column("selector", sa.String(), nullable=False),
        sa.Column("evaluator", sa.String(), nullable=False),
        sa.Column("population", sa.Integer(), nullable=False),
        sa.Column("budget", sa.Integer(), nullable=False),
        sa.Column("seed", Id, nullable=False),
        sa.Column("max_hours", sa.Float(), nullable=True),
        sa.Column("patience", sa.Integer(), nullable=True),
        sa.Column("max_params", Id, nullable=True),
        sa.Column("max_memory_bytes", Id, nullable=True),
        sa.Column("timeout_s", sa.Float(), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("front_limit", sa.Integer(), nullable=False),
        sa.Column("breeder_version", sa.Integer(), nullable=False),
        sa.Column("parents", sa.String(), nullable=False),
        sa.Column("candidates", sa.Integer(), nullable=False),
        sa.Column("operators", sa.String(), nullable=False),
        sa.Column("seed_genomes", sa.String(), nullable=True),
        sa.Column("seed_from", sa.String(), nullable=True),
        sa.Column("seeds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", Timestamp, server_default=now(), nullable=False),
        sa.Column("started_at", Timestamp, nullable=True),
        sa.Column("ended_at", Timestamp, nullable=True),
        sa.Column("selector_state", Json, nullable=False),
        sa.Column("operator_credit", Json, nullable=False),
        sa.Column("born", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ingested", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("front_changed_at", sa.Integer(), server_default="0", nullable=False),
        sa.Column("active_s", sa.Float(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "state IN ('created', 'running', 'paused', 'stopped', 'finished', 'deleting')",
            name="ck_experiment_state",
        ),
        sa.CheckConstraint("born <= budget", name="ck_experiment_budget"),
        sa.CheckConstraint("population >= 4", name="ck_experiment_population"),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name="fk_experiment_dataset_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["recipe_id"], ["recipe.id"], name="fk_experiment_recipe_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_experiment"),
        sa.UniqueConstraint("name", name="uq_experiment_name"),
    )


def _seed_genome() -> None:
    op.create_table(
        "seed_genome",
        sa.Column("experiment_id", Id, nullable=False),
        sa.Column("birth", sa.Integer(), nullable=False),
        sa.Column("code", Json, nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("evaluation_id", Id, nullable=True),
        sa.Column("result", Json, nullable=True),
        sa.CheckConstraint("(evaluation_id IS NULL) = (result IS NULL)", name="ck_seed_genome_result"),
        sa.ForeignKeyConstraint(
            ["experiment_id"],
            ["experiment.id"],
            name="fk_seed_genome_experiment_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("experiment_id", "birth", name="pk_seed_genome"),
    )


def _genome() -> None:
    op.create_table(
        "genome",
        sa.Column("id", Id, nullable=False),
        sa.Column("experiment_id", Id, nullable=False),
        sa.Column("birth", sa.Integer(), nullable=False),
        sa.Column("code", Json, nullable=False),
        sa.Column("phenotype", sa.String(length=64), nullable=False),
        sa.Column("duplicate_of", Id, nullable=True),
        sa.Column("operator", sa.String(), nullable=False),
        sa.Column("rng_seed", Json, nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("born_after_ingest", sa.Integer(), nullable=False),
        sa.Column("breeder_version", sa.Integer(), nullable=False),
        sa.Column("params", Id, nullable=False),
        sa.Column("flops", Id, nullable=False),
        sa.Column("born_at", Timestamp, server_default=now(), nullable=False),
        sa.CheckConstraint(
            "operator IN ('random', 'seed', 'crossover', 'mutation', 'crossover+mutation') "
            "OR substr(operator, 1, 9) = 'mutation:'",
            name="ck_genome_operator",
        ),
        sa.ForeignKeyConstraint(
            ["duplicate_of"], ["genome.id"], name="fk_genome_duplicate_of", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name="fk_genome_experiment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_genome"),
        sa.UniqueConstraint("experiment_id", "birth", name="uq_genome_experiment_id_birth"),
    )
    op.create_index(
        "ix_genome_duplicate_of", "genome", ["duplicate_of"], **_where("duplicate_of IS NOT NULL")
    )
    op.create_index("ix_genome_phenotype", "genome", ["experiment_id", "phenotype"])


def _leader() -> None:
    op.create_table(
        "leader",
        sa.Column("experiment_id", Id, nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("expires_at", Timestamp, nullable=False),
        sa.Column("step_no", Id, server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name="fk_leader_experiment_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("experiment_id", name="pk_leader"),
    )


def _evaluation() -> None:
    op.create_table(
        "evaluation",
        sa.Column("id", Id, nullable=False),
        sa.Column("experiment_id", Id, nullable=False),
        sa.Column("genome_id", Id, nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("rung", sa.Integer(), server_default="0", nullable=False),
        sa.Column("dataset_id", Id, nullable=False),
        sa.Column("recipe_id", Id, nullable=False),
        sa.Column("seed_no", sa.Integer(), server_default="0", nullable=False),
        sa.Column("init_from", Id, nullable=True),
        sa.Column("waits_for", Id, nullable=True),
        sa.Column("state", sa.String(), server_default="pending", nullable=False),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("strikes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("worker_id", Id, nullable=True),
        sa.Column("token", sa.String(length=32), nullable=True),
        sa.Column("lease_expires_at", Timestamp, nullable=True),
        sa.Column("failure_kind", sa.String(), nullable=True),
        sa.Column("failure_message", sa.Text(), nullable=True),
        sa.Column("ingest_no", sa.Integer(), nullable=True),
        sa.Column("enqueued_at", Timestamp, server_default=now(), nullable=False),
        sa.Column("ended_at", Timestamp, nullable=True),
        sa.CheckConstraint("(state = 'failed') = (failure_kind IS NOT NULL)", name="ck_evaluation_failure"),
        sa.CheckConstraint(
            "(state = 'running') = (lease_expires_at IS NOT NULL)", name="ck_evaluation_lease"
        ),
        sa.CheckConstraint(
            "(state IN ('done', 'failed')) = (ended_at IS NOT NULL)", name="ck_evaluation_ended"
        ),
        sa.CheckConstraint(
            "failure_kind IN ('invalid', 'diverged', 'oom', 'timeout', 'crash', 'lost', 'error')",
            name="ck_evaluation_failure_kind",
        ),
        sa.CheckConstraint("ingest_no IS NULL OR state IN ('done', 'failed')", name="ck_evaluation_ingest"),
        sa.CheckConstraint(
            "purpose IN ('search', 'retrain', 'transfer', 'repeat')", name="ck_evaluation_purpose"
        ),
        sa.CheckConstraint("state IN ('pending', 'running', 'done', 'failed')", name="ck_evaluation_state"),
        sa.ForeignKeyConstraint(
            ["waits_for"], ["evaluation.id"], name="fk_evaluation_waits_for", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["dataset.id"], name="fk_evaluation_dataset_id", ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name="fk_evaluation_experiment_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["genome_id"], ["genome.id"], name="fk_evaluation_genome_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["init_from"], ["evaluation.id"], name="fk_evaluation_init_from", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["recipe_id"], ["recipe.id"], name="fk_evaluation_recipe_id", ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_evaluation"),
        sa.UniqueConstraint("experiment_id", "ingest_no", name="uq_evaluation_experiment_id_ingest_no"),
        sa.CheckConstraint("waits_for IS NULL OR state = 'pending'", name="ck_evaluation_waits_for"),
        sa.UniqueConstraint(
            "genome_id", "purpose", "rung", "dataset_id", "recipe_id", "seed_no", name="uq_evaluation_key"
        ),
    )
    op.create_index(
        "ix_evaluation_claimable",
        "evaluation",
        ["experiment_id", sa.text("priority DESC"), "id"],
        **_where("state = 'pending' AND waits_for IS NULL"),
    )
    op.create_index("ix_evaluation_init_from", "evaluation", ["init_from"], **_where("init_from IS NOT NULL"))
    op.create_index("ix_evaluation_waits_for", "evaluation", ["waits_for"], **_where("waits_for IS NOT NULL"))
    op.create_index(
        "ix_evaluation_open",
        "evaluation",
        ["experiment_id", "purpose", "state"],
        **_where("state IN ('pending', 'running')"),
    )
    op.create_index("ix_evaluation_leased", "evaluation", ["lease_expires_at"], **_where("state = 'running'"))
    op.create_index(
        "ix_evaluation_unnumbered",
        "evaluation",
        ["experiment_id", "ended_at", "id"],
        **_where("state IN ('done', 'failed') AND purpose = 'search' AND ingest_no IS NULL"),
    )


def _membership() -> None:
    op.create_table(
        "membership",
        sa.Column("id", Id, nullable=False),
        sa.Column("experiment_id", Id, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("genome_id", Id, nullable=False),
        sa.Column("entered_at", sa.Integer(), nullable=False),
        sa.Column("left_at", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.CheckConstraint("(kind = 'population') = (slot IS NOT NULL)", name="ck_membership_slot"),
        sa.CheckConstraint("kind IN ('population', 'front')", name="ck_membership_kind"),
        sa.CheckConstraint("left_at IS NULL OR left_at >= entered_at", name="ck_membership_left_at"),
        sa.ForeignKeyConstraint(
            ["experiment_id"], ["experiment.id"], name="fk_membership_experiment_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["genome_id"], ["genome.id"], name="fk_membership_genome_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_membership"),
    )
    op.create_index(
        "ix_membership_front",
        "membership",
        ["experiment_id", "genome_id"],
        unique=True,
        **_where("kind = 'front' AND left_at IS NULL"),
    )
    op.create_index("ix_membership_genome_id", "membership", ["genome_id"])
    op.create_index(
        "ix_membership_now",
        "membership",
        ["experiment_id", "kind", "slot"],
        unique=True,
        **_where("left_at IS NULL"),
    )
    op.create_index("ix_membership_time", "membership", ["experiment_id", "kind", "entered_at"])


def _parentage() -> None:
    op.create_table(
        "parentage",
        sa.Column("child_id", Id, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("parent_id", Id, nullable=False),
        sa.ForeignKeyConstraint(
            ["child_id"], ["genome.id"], name="fk_parentage_child_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["genome.id"], name="fk_parentage_parent_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("child_id", "position", name="pk_parentage"),
    )
    op.create_index("ix_parentage_parent_id", "parentage", ["parent_id"])


def _attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", Id, nullable=False),
        sa.Column("evaluation_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("worker_id", Id, nullable=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("device", sa.String(), nullable=False),
        sa.Column("device_name", sa.String(), nullable=False),
        sa.Column("dtype", sa.String(), nullable=True),
        sa.Column("versions", Json, nullable=False),
        sa.Column("started_at", Timestamp, server_default=now(), nullable=False),
        sa.Column("ended_at", Timestamp, nullable=True),
        sa.Column("outcome", sa.String(), server_default="running", nullable=False),
        sa.Column("failure_kind", sa.String(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("resumed_from_epoch", sa.Integer(), nullable=True),
        sa.Column("log_tail", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "outcome IN ('running', 'done', 'failed', 'lost', 'released', 'environment')",
            name="ck_attempt_outcome",
        ),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name="fk_attempt_evaluation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_attempt"),
        sa.UniqueConstraint("evaluation_id", "number", name="uq_attempt_evaluation_id_number"),
        sa.UniqueConstraint("token", name="uq_attempt_token"),
    )


def _checkpoint() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("id", Id, nullable=False),
        sa.Column("evaluation_id", Id, nullable=False),
        sa.Column("attempt_token", sa.String(length=32), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", Id, nullable=False),
        sa.Column("written_at", Timestamp, server_default=now(), nullable=False),
        sa.CheckConstraint("kind IN ('resume', 'weights')", name="ck_checkpoint_kind"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name="fk_checkpoint_evaluation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoint"),
        sa.UniqueConstraint("key", name="uq_checkpoint_key"),
    )
    op.create_index("ix_checkpoint_evaluation_id", "checkpoint", ["evaluation_id"])


def _epoch_metric() -> None:
    op.create_table(
        "epoch_metric",
        sa.Column("evaluation_id", Id, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Float(precision=53), nullable=False),
        sa.Column("train_error", sa.Float(precision=53), nullable=False),
        sa.Column("validation_loss", sa.Float(precision=53), nullable=True),
        sa.Column("validation_error", sa.Float(precision=53), nullable=True),
        sa.Column("lr", sa.Float(precision=53), nullable=False),
        sa.Column("seconds", sa.Float(precision=53), nullable=False),
        sa.Column("extra", Json, nullable=True),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name="fk_epoch_metric_evaluation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "epoch", name="pk_epoch_metric"),
    )


def _objective_value() -> None:
    op.create_table(
        "objective_value",
        sa.Column("evaluation_id", Id, nullable=False),
        sa.Column("objective", sa.String(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.CheckConstraint("value > -1.7e308 AND value < 1.7e308", name="ck_objective_value_finite"),
        sa.ForeignKeyConstraint(
            ["evaluation_id"], ["evaluation.id"], name="fk_objective_value_evaluation_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("evaluation_id", "objective", name="pk_objective_value"),
    )


FRONT = """
CREATE VIEW front AS
SELECT x.name AS experiment, g.id AS genome_id, g.birth, g.operator,
       e.value AS error, l.value AS loss, g.params, g.flops, m.entered_at, x.id AS experiment_id
FROM membership m
JOIN experiment x ON x.id = m.experiment_id
JOIN genome g ON g.id = m.genome_id
JOIN evaluation v ON v.genome_id = g.id AND v.purpose = 'search' AND v.state = 'done'
LEFT JOIN objective_value e ON e.evaluation_id = v.id AND e.objective = 'error'
LEFT JOIN objective_value l ON l.evaluation_id = v.id AND l.objective = 'loss'
WHERE m.kind = 'front' AND m.left_at IS NULL
"""

# Constraints on costs hold since birth, so that those on objectives are all that can be broken.
CONSTRAINTS_SQLITE = """
    SELECT json_extract(c.value, '$.name') AS name, json_extract(c.value, '$.sense') AS sense,
           json_extract(c.value, '$.bound') AS bound
    FROM json_each(x.constraints) c
"""
CONSTRAINTS_POSTGRESQL = """
    SELECT name, sense, bound
    FROM jsonb_to_recordset(x.constraints) AS c (name text, sense text, bound float8)
"""

LEADERBOARD = """
CREATE VIEW leaderboard AS
SELECT experiment,
       rank() OVER (PARTITION BY experiment_id ORDER BY is_feasible DESC, error, loss) AS place,
       genome_id, birth, operator, error, 1 - error AS accuracy, loss,
       params, flops, ended_at, experiment_id, is_feasible
FROM (
    SELECT x.name AS experiment, g.id AS genome_id, g.birth, g.operator, e.value AS error, l.value AS loss,
           g.params, g.flops, v.ended_at, v.experiment_id,
           NOT EXISTS (
               SELECT 1 FROM ({constraints}) c
               JOIN objective_value o ON o.evaluation_id = v.id AND o.objective = c.name
               WHERE CASE c.sense WHEN '<=' THEN o.value > c.bound ELSE o.value < c.bound END
           ) AS is_feasible
    FROM evaluation v
    JOIN experiment x ON x.id = v.experiment_id
    JOIN genome g ON g.id = v.genome_id
    LEFT JOIN objective_value e ON e.evaluation_id = v.id AND e.objective = 'error'
    LEFT JOIN objective_value l ON l.evaluation_id = v.id AND l.objective = 'loss'
    WHERE v.purpose = 'search' AND v.state = 'done'
) AS result
"""

# PostgreSQL walks up from each genome that the query asks for. SQLite has no LATERAL: there the view
# is the whole closure, and a query for one genome in a large database should walk itself (docs).
ANCESTRY_POSTGRESQL = """
CREATE VIEW ancestry AS
SELECT g.id AS genome_id, up.ancestor_id, up.distance
FROM genome g
CROSS JOIN LATERAL (
    WITH RECURSIVE walk (ancestor_id, distance) AS (
        SELECT p.parent_id, 1 FROM parentage p WHERE p.child_id = g.id
        UNION
        SELECT p.parent_id, w.distance + 1 FROM walk w JOIN parentage p ON p.child_id = w.ancestor_id
    )
    SELECT ancestor_id, min(distance) AS distance FROM walk GROUP BY ancestor_id
) up
"""

ANCESTRY_SQLITE = """
CREATE VIEW ancestry AS
WITH RECURSIVE walk (genome_id, ancestor_id, distance) AS (
    SELECT child_id, parent_id, 1 FROM parentage
    UNION
    SELECT w.genome_id, p.parent_id, w.distance + 1 FROM walk w JOIN parentage p ON p.child_id = w.ancestor_id
)
SELECT genome_id, ancestor_id, min(distance) AS distance FROM walk GROUP BY genome_id, ancestor_id
"""

LEARNING_CURVE = """
CREATE VIEW learning_curve AS
SELECT x.name AS experiment, v.genome_id, v.id AS evaluation_id, v.purpose, v.seed_no, m.epoch,
       m.train_loss, m.train_error, m.validation_loss, m.validation_error, m.lr, m.seconds
FROM epoch_metric m
JOIN evaluation v ON v.id = m.evaluation_id
JOIN experiment x ON x.id = v.experiment_id
"""

FAILURE = """
CREATE VIEW failure AS
SELECT x.name AS experiment, v.genome_id, v.id AS evaluation_id, v.purpose, v.state,
       a.number AS attempt, a.outcome, a.failure_kind AS kind, a.message, a.host, a.device, a.ended_at
FROM attempt a
JOIN evaluation v ON v.id = a.evaluation_id
JOIN experiment x ON x.id = v.experiment_id
WHERE a.outcome IN ('failed', 'lost', 'environment')
"""

# How often a genome became a parent, beside how long it took to train and how many births it could have been
# a parent of. The last attempt is the one that ended the evaluation; what took a result over has none.
OFFSPRING = """
CREATE VIEW offspring AS
SELECT x.name AS experiment, g.id AS genome_id, g.params, {seconds} AS train_s, v.ingest_no,
       CAST(v.exposure AS {bigint}) AS exposure,
       (SELECT count(*) FROM parentage p WHERE p.parent_id = g.id) AS children,
       EXISTS (
           SELECT 1 FROM membership m
           WHERE m.experiment_id = g.experiment_id AND m.genome_id = g.id
             AND m.kind = 'front' AND m.left_at IS NULL
       ) AS in_front,
       x.id AS experiment_id
FROM (
    SELECT e.id, e.experiment_id, e.genome_id, e.state, e.ingest_no,
           sum(coalesce(b.births, 0))
               OVER (PARTITION BY e.experiment_id ORDER BY e.ingest_no DESC) AS exposure
    FROM evaluation e
    LEFT JOIN (
        SELECT experiment_id, born_after_ingest, count(*) AS births
        FROM genome GROUP BY experiment_id, born_after_ingest
    ) b ON b.experiment_id = e.experiment_id AND b.born_after_ingest = e.ingest_no
    WHERE e.purpose = 'search' AND e.ingest_no IS NOT NULL
) v
JOIN experiment x ON x.id = v.experiment_id
JOIN genome g ON g.id = v.genome_id
LEFT JOIN attempt a ON a.evaluation_id = v.id AND a.outcome = 'done'
WHERE v.state = 'done'
"""
SECONDS_SQLITE = "(julianday(a.ended_at) - julianday(a.started_at)) * 86400.0"
SECONDS_POSTGRESQL = "EXTRACT(EPOCH FROM a.ended_at - a.started_at)::double precision"


def _views() -> None:
    seconds, bigint = (SECONDS_SQLITE, "INTEGER") if _on_sqlite() else (SECONDS_POSTGRESQL, "bigint")
    offspring = OFFSPRING.format(seconds=seconds, bigint=bigint)
    ancestry = ANCESTRY_SQLITE if _on_sqlite() else ANCESTRY_POSTGRESQL
    constraints = CONSTRAINTS_SQLITE if _on_sqlite() else CONSTRAINTS_POSTGRESQL
    leaderboard = LEADERBOARD.format(constraints=constraints)
    for view in (FRONT, leaderboard, ancestry, LEARNING_CURVE, FAILURE, offspring):
        op.execute(view)


def _immutability() -> None:
    """A genome, and who its parents are, never change after the insert."""
    for table in ("genome", "parentage"):
        if _on_sqlite():
            op.execute(
                f"CREATE TRIGGER {table}_is_immutable BEFORE UPDATE ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'a row of {table} never changes'); END"
            )
        else:
            op.execute(
                f"CREATE FUNCTION {table}_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$ "
                f"BEGIN RAISE EXCEPTION 'a row of {table} never changes'; END $$"
            )
            op.execute(
                f"CREATE TRIGGER {table}_is_immutable BEFORE UPDATE ON {table} "
                f"FOR EACH ROW EXECUTE FUNCTION {table}_is_immutable()"
            )


def downgrade() -> None:
    for view in ("offspring", "failure", "learning_curve", "ancestry", "leaderboard", "front"):
        op.execute(f"DROP VIEW {view}")
    for table in (
        "objective_value",
        "epoch_metric",
        "checkpoint",
        "attempt",
        "parentage",
        "membership",
        "evaluation",
        "leader",
        "genome",
        "seed_genome",
        "experiment",
        "worker",
        "recipe",
        "dataset",
    ):
        op.drop_table(table)
    if not _on_sqlite():
        for table in ("genome", "parentage"):
            op.execute(f"DROP FUNCTION {table}_is_immutable()")
