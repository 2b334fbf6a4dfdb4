"""``evolver status``: how the searches stand. Loads neither numpy nor pydantic nor alembic."""

from __future__ import annotations

import time

import click
from rich.console import RenderableType

from evolver.cli.display import Display
from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import console, echo_json, status_line, status_table, status_view
from evolver.store import experiments, facts
from evolver.store.db import Database
from evolver.store.facts import Status

WATCH_S = 2.0


@click.command(
    epilog=examples("evolver status", "evolver status demo --watch", "evolver status demo --json | jq .best")
)
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_S:.0f} seconds, until Ctrl-C.")
@db_option
@json_option
def status(name: str | None, watch: bool, db_url: str | None, as_json: bool) -> None:
    """How the search NAME stands, or all of them.

    Workers are counted by their leases, for all searches together: one that crashed is counted until its
    lease ends, a minute by default. The rate is that of the last 50 results, once there are enough to tell.
    Failures are listed by kind, with a genome to look at: evolver logs ID.
    """
    with opened(db_url) as database:
        if not watch:
            _print(_read(database, name), name, as_json)
            return
        with Display(console()) as display:
            while True:
                found = _read(database, name)
                if as_json:
                    _print(found, name, as_json)
                else:
                    display.show(_view(found, name), "\n".join(map(status_line, found)))
                time.sleep(WATCH_S)


def _read(database: Database, name: str | None) -> list[Status]:
    with database.read() as connection:
        found = [experiments.get(connection, name)] if name else experiments.every(connection)
        return [facts.status(connection, one) for one in found]


def _print(found: list[Status], name: str | None, as_json: bool) -> None:
    if as_json:
        echo_json(found[0] if name else found)
    elif found:
        console().print(_view(found, name))
    else:
        click.echo("no experiments yet; make one: evolver new NAME, or evolver run NAME")


def _view(found: list[Status], name: str | None) -> RenderableType:
    return status_view(found[0]) if name else status_table(found)
