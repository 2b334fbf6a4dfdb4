"""The names of experiments, for a shell that completes them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from evolver.store.schema import experiment


def beginning_with(connection: Connection, start: str, limit: int) -> list[str]:
    """Names that begin so, the youngest experiments first; at most ``limit``."""
    query = (
        select(experiment.c.name)
        .where(experiment.c.name.startswith(start, autoescape=True), experiment.c.state != "deleting")
        .order_by(experiment.c.id.desc())
        .limit(limit)
    )
    # SQLite's LIKE takes A for a, the shell does not.
    return [name for name in connection.execute(query).scalars() if name.startswith(start)]
