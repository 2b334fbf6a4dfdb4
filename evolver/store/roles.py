"""Three roles of PostgreSQL, each with the rights that its processes need.

``PREFIX_owner``   owns the tables: migrations, schedulers, and commands that change experiments.
``PREFIX_worker``  claims, reports and gives back; cannot change what was bred or selected.
``PREFIX_reader``  SELECT.

They cannot log in: they are granted to users who can. The token of a lease guards against accidents,
not against a hostile worker: whoever may write results may write wrong ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection, exc, text

from evolver.errors import DatabaseError, InvalidInput
from evolver.store.schema import metadata

VIEWS = ("ancestry", "failure", "front", "leaderboard", "learning_curve", "offspring")
FUNCTIONS = ("genome_is_immutable", "parentage_is_immutable")
"""What migrations make besides the tables of ``schema.py``; a test compares."""

WORKER_INSERTS = ("attempt", "checkpoint", "epoch_metric", "objective_value", "worker")
WORKER_DELETES = ("checkpoint",)  # rows of files that a newer checkpoint has made useless; see ROW_POLICIES
WORKER_UPDATES: Mapping[str, tuple[str, ...]] = {
    "attempt": (
        "dtype", "ended_at", "failure_kind", "log_tail", "message", "outcome", "resumed_from_epoch",
    ),
    "dataset": ("sha256",),
    "epoch_metric": (
        "extra", "lr", "seconds", "train_error", "train_loss", "validation_error", "validation_loss",
    ),
    "evaluation": (
        "attempts", "ended_at", "failure_kind", "failure_message", "lease_expires_at", "state", "strikes",
        "token", "worker_id",
    ),
    "worker": ("expires_at", "heartbeat_at", "note", "state"),
}  # fmt: skip
"""What the lease protocol writes, column by column."""
ROW_POLICIES: Mapping[str, Mapping[str, str]] = {
    "checkpoint": {
        "SELECT": "USING (true)",
        "INSERT": "WITH CHECK (true)",
        "DELETE": "USING (kind = 'resume')",
    },
    "dataset": {
        "SELECT": "USING (true)",
        "INSERT": "WITH CHECK (true)",
        "UPDATE": "USING (sha256 IS NULL) WITH CHECK (true)",
    },
}
"""Of checkpoints, only those to resume from can be deleted; the hash of a data set is written once."""


def statements(prefix: str) -> list[str]:
    """The SQL that makes the roles and gives them their rights in the current schema.

    Running it again changes nothing; after a migration it gives the new tables to the owner. Raises
    InvalidInput for a prefix that is no plain name.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", prefix):
        raise InvalidInput(
            f"'{prefix}' is no prefix for roles; use small letters, digits and _, for instance evolver"
        )
    owner, worker, reader = (f"{prefix}_{kind}" for kind in ("owner", "worker", "reader"))
    return [
        *(_create(role) for role in (owner, worker, reader)),
        *_own(owner),
        *_read(worker, reader),
        *_work(worker),
        *_keep_rows(),
    ]


def apply(connection: Connection, prefix: str) -> None:
    """Run the statements. Raises DatabaseError when this user may not make or grant roles."""
    try:
        for statement in statements(prefix):
            connection.execute(text(statement))
    except exc.ProgrammingError as error:
        raise DatabaseError(
            "this user may not make the roles: connect as a superuser, or as the tables' owner with "
            f"CREATEROLE; PostgreSQL says: {str(error.orig).splitlines()[0]}"
        ) from error


def _create(role: str) -> str:
    return (
        f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
        "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
    )


def _own(owner: str) -> Iterator[str]:
    """Tables, views and functions belong to the role, so that any of its members can migrate them."""
    yield (
        f"DO $$ BEGIN IF NOT pg_has_role('{owner}', 'USAGE') THEN "
        f"GRANT {owner} TO CURRENT_USER; END IF; END $$"
    )
    yield _in_schema(f"GRANT USAGE, CREATE ON SCHEMA %I TO {owner}")
    for table in _tables():
        yield f"ALTER TABLE {table} OWNER TO {owner}"
    for view in VIEWS:
        yield f"ALTER VIEW {view} OWNER TO {owner}"
    for function in FUNCTIONS:
        yield f"ALTER FUNCTION {function}() OWNER TO {owner}"


def _read(*roles: str) -> Iterator[str]:
    """SELECT and nothing else: what an earlier version granted is taken back first."""
    everything, granted = ", ".join((*_tables(), *VIEWS)), ", ".join(roles)
    yield _in_schema(f"GRANT USAGE ON SCHEMA %I TO {granted}")
    yield f"REVOKE ALL ON {everything} FROM {granted}"
    yield f"GRANT SELECT ON {everything} TO {granted}"


def _work(worker: str) -> Iterator[str]:
    for table in WORKER_INSERTS:
        yield f"GRANT INSERT ON {table} TO {worker}"
        if "id" in metadata.tables[table].columns:
            yield f"GRANT USAGE ON SEQUENCE {table}_id_seq TO {worker}"
    for table, columns in WORKER_UPDATES.items():
        yield f"GRANT UPDATE ({', '.join(columns)}) ON {table} TO {worker}"
    for table in WORKER_DELETES:
        yield f"GRANT DELETE ON {table} TO {worker}"


def _keep_rows() -> Iterator[str]:
    """What a grant cannot tell, as it knows columns but no rows; owners of the tables are not bound by this.

    The policies are for all roles, also those that others have made.
    """
    for table, policies in ROW_POLICIES.items():
        yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
        for command, rule in policies.items():
            policy = f"{table}_{command.lower()}"
            yield f"DROP POLICY IF EXISTS {policy} ON {table}"
            yield f"CREATE POLICY {policy} ON {table} FOR {command} {rule}"


def _tables() -> tuple[str, ...]:
    return (*sorted(metadata.tables), "alembic_version")


def _in_schema(statement: str) -> str:
    """A statement about the schema that the tables are in; its name is known to the server alone."""
    return f"DO $$ BEGIN EXECUTE format('{statement}', current_schema()); END $$"
