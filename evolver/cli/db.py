"""``evolver db``: migrate or check the database."""

from __future__ import annotations

import click

from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import echo_json
from evolver.store.db import Database, resolve_url
from evolver.store.schema import REVISION


@click.group(
    no_args_is_help=False,
    epilog=examples(
        "evolver db upgrade --db postgresql://user@host/evolver",
        "evolver db check",
    ),
)
def db() -> None:
    """Migrate or check the database.

    A SQLite file is migrated when it is made. A PostgreSQL database is made by its administrator, and
    migrated by 'evolver db upgrade'; any number of these may run at once.
    """


@db.command(epilog=examples("evolver db upgrade", "evolver db upgrade --db sqlite:///search.db"))
@db_option
@json_option
def upgrade(db_url: str | None, as_json: bool) -> None:
    """Bring the database to the schema of this version. Data are kept."""
    from evolver.store import migrate

    database = Database(resolve_url(db_url))
    try:
        before, after = migrate.upgrade(database)
    finally:
        database.dispose()
    if as_json:
        echo_json({"database": str(database), "before": before, "after": after})
    elif before == after:
        click.echo(f"{database} is at revision {after} already")
    else:
        click.echo(f"{database} is at revision {after} now (before: {before or 'empty'})")


@db.command(epilog=examples("evolver db check && echo ready"))
@db_option
@json_option
def check(db_url: str | None, as_json: bool) -> None:
    """Tell whether the database can be used by this version; exit code 3 if not."""
    with opened(db_url) as database:
        if as_json:
            echo_json({"database": str(database), "revision": REVISION, "ok": True})
        else:
            click.echo(f"{database} is at revision {REVISION}: ready")
