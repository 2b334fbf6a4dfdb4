"""``evolver workers`` and ``evolver drain``: who works, and asking workers to leave."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table
from sqlalchemy import Connection

from evolver.cli.options import db_option, examples, json_option, opened
from evolver.cli.output import console, echo_json, say, table
from evolver.errors import InvalidInput, NotFound
from evolver.store import fleet
from evolver.store.fleet import WorkerFact
from evolver.words import duration

SHOWN_VERSIONS = ("evolver", "torch")


@click.command(
    epilog=examples(
        "evolver workers", "evolver workers --all", "evolver workers --json | jq '.[] | select(.note)'"
    )
)
@click.option("--all", "every", is_flag=True, help="Also those that have left or died.")
@db_option
@json_option
def workers(every: bool, db_url: str | None, as_json: bool) -> None:
    """The workers that are alive, and those that gave up in the last hour.

    A worker that stays silent for the time of its lease counts as gone. --json has the versions of all
    packages that matter.
    """
    with opened(db_url) as database, database.read() as connection:
        if every:
            found = fleet.every(connection)
        else:
            found = [*fleet.live(connection), *fleet.faulted(connection)]
    if as_json:
        echo_json([_fact(one) for one in found])
    elif found:
        console().print(_table(found))
    else:
        say(
            "no worker has ever registered here"
            if every
            else "no worker is alive; start one: evolver worker   (evolver workers --all shows the others)"
        )


def _fact(one: WorkerFact) -> dict[str, Any]:
    return {
        "id": one.id,
        "host": one.host,
        "pid": one.pid,
        "device": one.device,
        "slots": one.slots,
        "running": one.running,
        "state": one.condition,
        "seconds_since_heartbeat": round(one.seconds_since_heartbeat, 3),
        "started_at": one.started_at,
        "note": one.note,
        "versions": one.versions,
    }


def _table(found: list[WorkerFact]) -> Table:
    made = table(
        "id", "worker", "device", "running", "state", "heartbeat", "versions", "note",
        left=("worker", "device", "state", "versions", "note"),
    )  # fmt: skip
    for one in found:
        versions = [f"{name} {one.versions[name]}" for name in SHOWN_VERSIONS if name in one.versions]
        made.add_row(
            str(one.id),
            one.name,
            one.device,
            f"{one.running}/{one.slots}",
            one.condition,
            f"{duration(one.seconds_since_heartbeat)} ago",
            "\n".join(versions),
            one.note or "",
        )
    return made


@click.command(
    epilog=examples("evolver drain 17", "evolver drain node3:4711 node4:812", "evolver drain --all")
)
@click.argument("names", metavar="[WORKER]...", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="Every worker that is alive.")
@db_option
@json_option
def drain(names: tuple[str, ...], everyone: bool, db_url: str | None, as_json: bool) -> None:
    """Have workers claim no more, finish what they hold, and leave.

    WORKER is an id or host:pid, as 'evolver workers' shows them. Each hears of it with its next
    heartbeat. SIGTERM on its own machine ends a worker sooner: it hands its work back.
    """
    if bool(names) == everyone:
        raise InvalidInput("name the workers to drain, or give --all; 'evolver workers' lists them")
    with opened(db_url) as database, database.write() as connection:
        found = fleet.live(connection) if everyone else [_alive(connection, name) for name in names]
        for one in found:
            if not fleet.drain(connection, one.id):
                raise InvalidInput(f"worker {one.id} ({one.name}) has just left; nothing was changed")
    if as_json:
        echo_json([{"id": one.id, "host": one.host, "pid": one.pid, "running": one.running} for one in found])
        return
    if not found:
        say("no worker is alive")
    for one in found:
        say(_what_follows(one))


def _alive(connection: Connection, name: str) -> WorkerFact:
    """The live worker of this name. Raises NotFound or InvalidInput."""
    found = fleet.named(connection, name)
    if not found:
        raise NotFound(f"there is no worker '{name}'; 'evolver workers' lists their ids and host:pid")
    alive = [one for one in found if one.is_live]
    if not alive:
        last = found[-1]
        ago = duration(last.seconds_since_heartbeat)
        raise InvalidInput(
            f"worker {last.id} ({last.name}) is {last.condition} since {ago}; there is nothing to drain"
        )
    return alive[-1]


def _what_follows(one: WorkerFact) -> str:
    hears = f"within {duration(max(1.0, one.lease_s / 4))}"
    work = f"finishes {one.running} trainings and leaves" if one.running else "leaves"
    return f"worker {one.id} ({one.name}) hears of it {hears}, claims no more, {work}"
