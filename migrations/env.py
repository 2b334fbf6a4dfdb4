"""Alembic's entry: run the migrations on the connection that evolver hands over.

Called by ``evolver.store.migrate``, inside its transaction; there is no alembic.ini, and no URL here.
"""

from alembic import context
from sqlalchemy import Connection

connection: Connection | None = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("evolver runs its migrations itself: evolver db upgrade")
context.configure(connection=connection, transaction_per_migration=False)
context.run_migrations()
