"""The tables, the same on SQLite and PostgreSQL.

Alembic alone creates them (``migrations/``); a test holds migrations and this module equal.
``id`` is each table's key. Names are public: people query them, so a change needs a migration and a
line in the changelog.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from evolver.space import MUTATION_OF_KIND
from evolver.store import states
from evolver.store.types import Id, Json, Timestamp, now

REVISION = "0001"
"""The revision that this version of evolver works with: the head of ``migrations/versions``."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(_listed(column, values), name=column)


def _listed(column: str, values: tuple[str, ...]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


def _belongs_to(table: str, *, on_delete: str = "CASCADE") -> ForeignKey:
    return ForeignKey(f"{table}.id", ondelete=on_delete)


dataset = Table(
    "dataset",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String, nullable=False, index=True),
    Column("sample", Json, nullable=False),
    Column("classes", Integer, nullable=False),
    Column("train", Integer, nullable=False),
    Column("validation", Integer, nullable=False),
    Column("test", Integer, nullable=False),
    Column("split_seed", Id, nullable=False),
    Column("sha256", String(64)),  # NULL until a process that holds the data has read them
)

recipe = Table(
    "recipe",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("settings", Json, nullable=False),
)

experiment = Table(
    "experiment",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("state", String, nullable=False, server_default="created"),
    Column("state_reason", String),
    Column("dataset_id", Id, _belongs_to("dataset", on_delete="RESTRICT"), nullable=False),
    Column("limit_train", Integer),
    Column("space", String, nullable=False),
    Column("space_version", Integer, nullable=False),
    Column("space_settings", Json, nullable=False),
    Column("space_sha256", String(64), nullable=False),
    Column("recipe_id", Id, _belongs_to("recipe", on_delete="RESTRICT"), nullable=False),
    Column("objectives", Json, nullable=False),
    Column("constraints", Json, nullable=False),  # [{"name": …, "sense": "<=" or ">=", "bound": …}]
    Column("selector", String, nullable=False),
    Column("evaluator", String, nullable=False),
    Column("population", Integer, nullable=False),
    Column("budget", Integer, nullable=False),
    Column("seed", Id, nullable=False),
    Column("max_hours", Float),
    Column("patience", Integer),
    Column("max_params", Id),
    Column("max_memory_bytes", Id),
    Column("timeout_s", Float),
    Column("max_attempts", Integer, nullable=False),
    Column("front_limit", Integer, nullable=False),
    Column("breeder_version", Integer, nullable=False),
    Column("parents", String, nullable=False),
    Column("candidates", Integer, nullable=False),
    Column("operators", String, nullable=False),
    Column("seed_genomes", String),  # what the user asked for; the genomes are in seed_genome
    Column("seed_from", String),
    Column("seeds", Integer, nullable=False, server_default="0"),
    Column("created_at", Timestamp, nullable=False, server_default=now()),
    Column("started_at", Timestamp),
    Column("ended_at", Timestamp),
    # Written by the scheduler's step only; counters, so that no reader has to count a history.
    Column("selector_state", Json, nullable=False),
    Column("operator_credit", Json, nullable=False),  # {operator: [alpha, beta]}, where operators are learned
    Column("born", Integer, nullable=False, server_default="0"),
    Column("ingested", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("front_changed_at", Integer, nullable=False, server_default="0"),
    Column("active_s", Float, nullable=False, server_default="0"),
    _one_of("state", states.EXPERIMENT_STATES),
    CheckConstraint("born <= budget", name="budget"),
    CheckConstraint("population >= 4", name="population"),
)

genome = Table(
    "genome",
    metadata,
    Column("id", Id, primary_key=True),
    Column("experiment_id", Id, _belongs_to("experiment"), nullable=False),
    Column("birth", Integer, nullable=False),
    Column("code", Json, nullable=False),
    Column("phenotype", String(64), nullable=False),
    Column("duplicate_of", Id, _belongs_to("genome")),
    Column("operator", String, nullable=False),
    Column("rng_seed", Json, nullable=False),  # [experiment seed, birth]
    Column("tries", Integer, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("born_after_ingest", Integer, nullable=False),
    Column("breeder_version", Integer, nullable=False),
    Column("params", Id, nullable=False),
    Column("flops", Id, nullable=False),
    Column("born_at", Timestamp, nullable=False, server_default=now()),
    CheckConstraint(
        f"{_listed('operator', states.OPERATORS)} OR "
        f"substr(operator, 1, {len(MUTATION_OF_KIND)}) = '{MUTATION_OF_KIND}'",
        name="operator",
    ),
    UniqueConstraint("experiment_id", "birth"),
    Index("ix_genome_phenotype", "experiment_id", "phenotype"),
    Index("ix_genome_duplicate_of", "duplicate_of", sqlite_where=text("duplicate_of IS NOT NULL"),
          postgresql_where=text("duplicate_of IS NOT NULL")),
)  # fmt: skip

seed_genome = Table(
    "seed_genome",
    metadata,
    Column("experiment_id", Id, _belongs_to("experiment"), primary_key=True),
    Column("birth", Integer, primary_key=True),
    Column("code", Json, nullable=False),
    Column("origin", String, nullable=False),
    Column("evaluation_id", Id),  # whose result it takes; no reference, so that it may be deleted
    Column("result", Json),
    CheckConstraint("(evaluation_id IS NULL) = (result IS NULL)", name="result"),
)

parentage = Table(
    "parentage",
    metadata,
    Column("child_id", Id, _belongs_to("genome"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("parent_id", Id, _belongs_to("genome"), nullable=False, index=True),
)

worker = Table(
    "worker",
    metadata,
    Column("id", Id, primary_key=True),
    Column("host", String, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("versions", Json, nullable=False),
    Column("state", String, nullable=False, server_default="active"),
    Column("note", Text),
    Column("started_at", Timestamp, nullable=False, server_default=now()),
    Column("heartbeat_at", Timestamp, nullable=False, server_default=now()),
    Column("expires_at", Timestamp, nullable=False),  # alive until then without another heartbeat
    _one_of("state", states.WORKER_STATES),
    Index("ix_worker_expires_at", "expires_at"),
    sqlite_autoincrement=True,  # an id never comes back: the history names workers that are forgotten
)

_ENDED_UNNUMBERED = "state IN ('done', 'failed') AND purpose = 'search' AND ingest_no IS NULL"
_CLAIMABLE = "state = 'pending' AND waits_for IS NULL"
_OPEN = "state IN ('pending', 'running')"

evaluation = Table(
    "evaluation",
    metadata,
    Column("id", Id, primary_key=True),
    Column("experiment_id", Id, _belongs_to("experiment"), nullable=False),
    Column("genome_id", Id, _belongs_to("genome"), nullable=False),
    Column("purpose", String, nullable=False),
    Column("rung", Integer, nullable=False, server_default="0"),
    Column("dataset_id", Id, _belongs_to("dataset", on_delete="RESTRICT"), nullable=False),
    Column("recipe_id", Id, _belongs_to("recipe", on_delete="RESTRICT"), nullable=False),
    Column("seed_no", Integer, nullable=False, server_default="0"),
    Column("init_from", Id, _belongs_to("evaluation", on_delete="SET NULL")),
    Column("waits_for", Id, _belongs_to("evaluation", on_delete="SET NULL")),  # a duplicate, for its twin
    Column("state", String, nullable=False, server_default="pending"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("strikes", Integer, nullable=False, server_default="0"),  # crashes and losses
    Column("worker_id", Id),  # who holds or held it; no reference, so that forgetting a worker costs nothing
    Column("token", String(32)),
    Column("lease_expires_at", Timestamp),
    Column("failure_kind", String),
    Column("failure_message", Text),
    Column("ingest_no", Integer),
    Column("enqueued_at", Timestamp, nullable=False, server_default=now()),
    Column("ended_at", Timestamp),
    _one_of("purpose", states.PURPOSES),
    _one_of("state", states.EVALUATION_STATES),
    _one_of("failure_kind", states.FAILURE_KINDS),
    CheckConstraint("(state = 'running') = (lease_expires_at IS NOT NULL)", name="lease"),
    CheckConstraint("(state = 'failed') = (failure_kind IS NOT NULL)", name="failure"),
    CheckConstraint("(state IN ('done', 'failed')) = (ended_at IS NOT NULL)", name="ended"),
    CheckConstraint("ingest_no IS NULL OR state IN ('done', 'failed')", name="ingest"),
    CheckConstraint("waits_for IS NULL OR state = 'pending'", name="waits_for"),
    UniqueConstraint(
        "genome_id", "purpose", "rung", "dataset_id", "recipe_id", "seed_no", name="uq_evaluation_key"
    ),
    UniqueConstraint("experiment_id", "ingest_no"),
    Index("ix_evaluation_claimable", "experiment_id", text("priority DESC"), "id",
          sqlite_where=text(_CLAIMABLE), postgresql_where=text(_CLAIMABLE)),
    Index("ix_evaluation_init_from", "init_from",
          sqlite_where=text("init_from IS NOT NULL"), postgresql_where=text("init_from IS NOT NULL")),
    Index("ix_evaluation_waits_for", "waits_for",
          sqlite_where=text("waits_for IS NOT NULL"), postgresql_where=text("waits_for IS NOT NULL")),
    Index("ix_evaluation_open", "experiment_id", "purpose", "state",
          sqlite_where=text(_OPEN), postgresql_where=text(_OPEN)),
    Index("ix_evaluation_leased", "lease_expires_at",
          sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'")),
    Index("ix_evaluation_unnumbered", "experiment_id", "ended_at", "id",
          sqlite_where=text(_ENDED_UNNUMBERED), postgresql_where=text(_ENDED_UNNUMBERED)),
)  # fmt: skip

attempt = Table(
    "attempt",
    metadata,
    Column("id", Id, primary_key=True),
    Column("evaluation_id", Id, _belongs_to("evaluation"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("worker_id", Id),  # no reference, as in evaluation
    Column("host", String, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("token", String(32), nullable=False, unique=True),
    Column("device", String, nullable=False),
    Column("device_name", String, nullable=False),
    Column("dtype", String),
    Column("versions", Json, nullable=False),
    Column("started_at", Timestamp, nullable=False, server_default=now()),
    Column("ended_at", Timestamp),
    Column("outcome", String, nullable=False, server_default="running"),
    Column("failure_kind", String),
    Column("message", Text),
    Column("resumed_from_epoch", Integer),
    Column("log_tail", Text),
    _one_of("outcome", states.ATTEMPT_OUTCOMES),
    UniqueConstraint("evaluation_id", "number"),
)

objective_value = Table(
    "objective_value",
    metadata,
    Column("evaluation_id", Id, _belongs_to("evaluation"), primary_key=True),
    Column("objective", String, primary_key=True),
    Column("value", Float(53), nullable=False),
    # NaN is NULL on SQLite and above every number on PostgreSQL: both are refused.
    CheckConstraint("value > -1.7e308 AND value < 1.7e308", name="finite"),
)

epoch_metric = Table(
    "epoch_metric",
    metadata,
    Column("evaluation_id", Id, _belongs_to("evaluation"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("train_loss", Float(53), nullable=False),
    Column("train_error", Float(53), nullable=False),
    Column("validation_loss", Float(53)),
    Column("validation_error", Float(53)),
    Column("lr", Float(53), nullable=False),
    Column("seconds", Float(53), nullable=False),
    Column("extra", Json),
)

_IN_FRONT = "kind = 'front' AND left_at IS NULL"

membership = Table(
    "membership",
    metadata,
    Column("id", Id, primary_key=True),
    Column("experiment_id", Id, _belongs_to("experiment"), nullable=False),
    Column("kind", String, nullable=False),
    Column("slot", Integer),
    Column("genome_id", Id, _belongs_to("genome"), nullable=False, index=True),
    Column("entered_at", Integer, nullable=False),  # ingest numbers
    Column("left_at", Integer),
    Column("reason", String),
    _one_of("kind", ("population", "front")),
    CheckConstraint("(kind = 'population') = (slot IS NOT NULL)", name="slot"),
    CheckConstraint("left_at IS NULL OR left_at >= entered_at", name="left_at"),
    # A slot has one holder, and a genome is in the front once (slot is NULL there, and NULLs differ).
    Index("ix_membership_now", "experiment_id", "kind", "slot", unique=True,
          sqlite_where=text("left_at IS NULL"), postgresql_where=text("left_at IS NULL")),
    Index("ix_membership_front", "experiment_id", "genome_id", unique=True,
          sqlite_where=text(_IN_FRONT), postgresql_where=text(_IN_FRONT)),
    Index("ix_membership_time", "experiment_id", "kind", "entered_at"),
)  # fmt: skip

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("id", Id, primary_key=True),
    Column("evaluation_id", Id, _belongs_to("evaluation"), nullable=False, index=True),
    Column("attempt_token", String(32), nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("key", String, nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("bytes", Id, nullable=False),
    Column("written_at", Timestamp, nullable=False, server_default=now()),
    _one_of("kind", ("resume", "weights")),
)

leader = Table(
    "leader",
    metadata,
    Column("experiment_id", Id, _belongs_to("experiment"), primary_key=True),
    Column("holder", String, nullable=False),
    Column("token", String(32), nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Column("step_no", Id, nullable=False, server_default="0"),
)
