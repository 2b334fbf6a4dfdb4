"""``evolver db``: migrate, check or copy the database, and give rights to its users."""

from __future__ import annotations

from pathlib import Path

import click

from evolver.cli.display import progress_bars
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import echo_json, say
from evolver.errors import InvalidInput
from evolver.store.db import Database, resolve_url
from evolver.store.schema import REVISION
from evolver.words import counted


@click.group(
    no_args_is_help=False,
    epilog=examples(
        "evolver db upgrade --db postgresql://user@host/evolver",
        "evolver db check",
        "evolver db copy sqlite:///search.db postgresql://user@host/evolver",
        "evolver db roles --apply",
    ),
)
def db() -> None:
    """Migrate, check or copy the database, and give rights to its users.

    A SQLite file is migrated when it is made. A PostgreSQL database is made by its administrator, and
    migrated by 'evolver db upgrade'; any number of these may run at once.
    """


@db.command(
    short_help="Bring it to the schema of this version.",
    epilog=examples("evolver db upgrade", "evolver db upgrade --db sqlite:///search.db"),
)
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
        say(f"{database} is at revision {after} already")
    else:
        say(f"{database} is at revision {after} now (before: {before or 'empty'})")


@db.command(
    short_help="Tell whether this version can use it.", epilog=examples("evolver db check && echo ready")
)
@db_option
@json_option
def check(db_url: str | None, as_json: bool) -> None:
    """Tell whether the database can be used by this version; exit code 3 if not."""
    with opened(db_url) as database:
        if as_json:
            echo_json({"database": str(database), "revision": REVISION, "ok": True})
        else:
            say(f"{database} is at revision {REVISION}: ready")


@db.command(
    short_help="Rights of owner, workers, readers (PostgreSQL).",
    epilog=examples(
        "evolver db roles",
        "evolver db roles --apply",
        "evolver db roles --prefix vision | psql",
    ),
)
@click.option("--apply", "is_applied", is_flag=True, help="Run the SQL instead of printing it.")
@click.option("--prefix", default="evolver", metavar="NAME", show_default=True, help="Of the roles' names.")
@db_option
@json_option
def roles(is_applied: bool, prefix: str, db_url: str | None, as_json: bool) -> None:
    """Print the SQL of three roles with the rights that owner, workers and readers need (PostgreSQL).

    Grant PREFIX_owner to users who migrate and run schedulers, PREFIX_worker to those who run workers,
    PREFIX_reader to those who look. Run it again after each 'evolver db upgrade'. A lease's token guards
    against accidents; a hostile worker can still report false results.
    """
    from evolver.store import roles as sql

    if resolve_url(db_url).get_backend_name() == "sqlite":
        raise InvalidInput("SQLite has no roles: whoever can write the file may do everything in it")
    statements = sql.statements(prefix)
    if is_applied:
        with opened(db_url) as database, database.write() as connection:
            sql.apply(connection, prefix)
    names = [f"{prefix}_{kind}" for kind in ("owner", "worker", "reader")]
    if as_json:
        echo_json({"roles": names, "applied": is_applied, "statements": statements})
    elif is_applied:
        say(f"the roles {', '.join(names)} have their rights")
        say(f"next, for each user:  GRANT {names[1]} TO somebody;")
    else:
        say("\n".join(f"{one};" for one in ["BEGIN", *statements, "COMMIT"]))


@db.command(
    short_help="Copy everything into another, empty one.",
    epilog=examples(
        "evolver db copy sqlite:///laptop.db postgresql://user@host/evolver",
        "evolver db copy postgresql://user@host/evolver sqlite:///archive.db",
    ),
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--force", is_flag=True, help="Copy the state of this moment though FROM is in use.")
@json_option
def copy(source: str, target: str, force: bool, as_json: bool) -> None:
    """Copy everything from one database into another, empty one: a search goes on there.

    Ids are kept. What was running is pending in the copy, at no cost of a try. A SQLite file TO is made;
    a PostgreSQL database needs 'evolver db upgrade' first. Files of checkpoints and weights stay where
    they are. A password is best left to ~/.pgpass: arguments can be seen by other users.
    """
    from evolver.store import copy as copying

    if resolve_url(source) == resolve_url(target):
        raise InvalidInput("FROM and TO are the same database")
    with opened(source) as old:
        if not force:
            with old.read() as connection:
                copying.require_idle(connection)
        with opened(target, create=True) as new, progress_bars(hidden=as_json) as progress:
            copied = copying.copy(old, new, progress, force=force)
        names = str(old), str(new)
        checkpoints = _checkpoints_of(old)
    if as_json:
        echo_json({"from": names[0], "to": names[1], "rows": copied.rows, "handed_back": copied.handed_back})
        return
    say(f"copied {counted(sum(copied.rows.values()), 'row')} from {names[0]} to {names[1]}")
    if copied.handed_back:
        running = counted(copied.handed_back, "running evaluation")
        say(f"{running} handed back: pending in the copy")
    say(f"next: use the copy alone; set EVOLVER_DATABASE_URL to {names[1]}")
    say("      evolver scheduler   and anywhere   evolver worker" + checkpoints)


def _checkpoints_of(database: Database) -> str:
    """The option by which workers of a copy find the checkpoints of a SQLite file, if there are any."""
    if not database.is_sqlite:
        return ""
    place = Path(database.url.database or "").resolve().with_suffix(".checkpoints")
    return f" --checkpoint-url {place}" if place.is_dir() else ""
