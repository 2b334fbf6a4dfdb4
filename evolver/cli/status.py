"""``evolver status``: how the searches stand. Loads neither numpy nor pydantic nor alembic."""

from __future__ import annotations

import click
from rich.console import Group, RenderableType
from rich.text import Text

from evolver.cli import live
from evolver.cli.completing import experiment_names
from evolver.cli.options import ANSWER_S, db_option, examples, json_option, opened
from evolver.cli.output import NONE_YET, console, echo_json, say, status_table, status_view
from evolver.errors import InvalidInput
from evolver.store import experiments, facts
from evolver.store.db import Database
from evolver.store.facts import Status


@click.command(
    epilog=examples(
        "evolver status",
        "evolver status demo --watch",
        "evolver status --watch --interval 10 | tee status.log",
        "evolver status demo --json | jq .best",
    )
)
@click.argument("name", required=False, shell_complete=experiment_names)
@click.option("--watch", is_flag=True, help="Keep it up to date, until q or Ctrl-C.")
@live.interval_option
@db_option
@json_option
def status(
    name: str | None, watch: bool, interval_s: float | None, db_url: str | None, as_json: bool
) -> None:
    """How the search NAME stands, or all of them.

    Workers are counted by their leases, for all searches together: one that crashed is counted until its
    lease ends, a minute by default. The rate is that of the last 50 results, once there are enough to tell.
    Failures are listed by kind, with a genome to look at: evolver logs ID.

    --watch fills the terminal; where there is none, a block of text or of JSON is printed each time. It
    waits for a database that is away. What each worker does is in 'evolver top'.
    """
    if interval_s is not None and not watch:
        raise InvalidInput("--interval is for --watch; give both")
    with opened(db_url, answer_within_s=ANSWER_S if watch else None) as database:
        if not watch:
            _print(_read(database, name), name, as_json)
        elif as_json:
            live.watch_json(lambda: _print(_read(database, name), name, as_json), interval_s)
        else:
            title = f"evolver status {name}" if name else "evolver status"
            live.watch(lambda lines: _watched(database, name, lines), title, interval_s)


def _read(database: Database, name: str | None) -> list[Status]:
    with database.read() as connection:
        found = [experiments.get(connection, name)] if name else experiments.every(connection)
        return facts.statuses(connection, found)


def _print(found: list[Status], name: str | None, as_json: bool) -> None:
    if as_json:
        echo_json(found[0] if name else found)
    elif found:
        console().print(_view(found, name))
    else:
        say(NONE_YET)


def _view(found: list[Status], name: str | None) -> RenderableType:
    return status_view(found[0]) if name else status_table(found)


def _watched(database: Database, name: str | None, lines: int | None) -> RenderableType:
    """The search, or as many as there is room for: first those that run, the youngest first."""
    if name:
        return _view(_read(database, name), name)
    with database.read() as connection:
        found = experiments.listed(connection, first=0, number=lines)
        shown = facts.statuses(connection, found)
        left_out = experiments.count(connection) - len(shown)
    if not shown:
        return Text(NONE_YET)
    more = [Text(f"and {left_out} more", "dim")] if left_out else []
    return Group(status_table(shown), *more)
