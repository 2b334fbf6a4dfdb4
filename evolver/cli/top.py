"""``evolver top``: the workers, and what each of them trains now. Loads neither numpy nor pydantic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evolver.cli import live
from evolver.cli.options import ANSWER_S, db_option, examples, json_option, opened
from evolver.cli.output import console, echo_json, table
from evolver.store import activity, fleet
from evolver.store.activity import Running
from evolver.store.db import Database
from evolver.store.fleet import WorkerFact
from evolver.words import cut, duration, hourly

ROWS = 50
"""Rows where there is no terminal whose height would limit them, unless the user says otherwise."""
MOST_ROWS = 1_000
WIDTHS = {"worker": 19, "device": 6, "experiment": 12}
"""Longer values are cut: each row is one line."""
NOBODY = "no worker is alive; start one: evolver worker"


@dataclass(frozen=True, slots=True)
class Row:
    """A worker with one of the trainings that it runs, or with None when it runs nothing."""

    worker: WorkerFact
    training: Running | None
    results_per_hour: float | None


SORTS: dict[str, Callable[[Row], Any]] = {
    "worker": lambda row: (row.worker.host, row.worker.pid),
    "experiment": lambda row: (row.training is None, row.training and row.training.experiment),
    "time": lambda row: -row.training.seconds if row.training else 0.0,
    "lease": lambda row: row.training.lease_left_s if row.training else float("inf"),
    "rate": lambda row: -(row.results_per_hour or 0.0),
}


@click.command(
    epilog=examples(
        "evolver top",
        "evolver top --sort time --interval 10",
        "evolver top --once",
        "evolver top --json | jq '.rows[] | select(.lease_left_s < 15)'",
    )
)
@click.option(
    "--sort",
    type=click.Choice(list(SORTS)),
    default="worker",
    show_default=True,
    help="Longest time, least lease, highest rate first.",
)
@click.option(
    "--rows",
    "limit",
    type=click.IntRange(1, MOST_ROWS),
    metavar="N",
    help=f"Rows at most. [default: what fits the terminal, else {ROWS}]",
)
@click.option("--once", is_flag=True, help="Print it once.")
@live.interval_option
@db_option
@json_option
def top(
    sort: str, limit: int | None, once: bool, interval_s: float | None, db_url: str | None, as_json: bool
) -> None:  # fmt: skip
    """The workers that are alive, and what each trains now, kept up to date until q or Ctrl-C.

    A row is a training: its genome, how many epochs have ended, how long it runs, and what is left of its
    lease, which its worker renews. A worker that trains nothing has a row as well. The last column is how
    many results of searches the worker brought, for an hour, counted over the last hour at most.

    Where there is no terminal, a block of text is printed each time. --json prints once.
    """
    with opened(db_url, answer_within_s=None if once or as_json else ANSWER_S) as database:
        if as_json:
            echo_json(_json(_read(database, sort), limit or MOST_ROWS))
        elif once:
            console().print(_view(_read(database, sort), limit or ROWS))
        else:
            live.watch(
                lambda lines: _view(_read(database, sort), min(limit or MOST_ROWS, lines or ROWS)),
                "evolver top",
                interval_s,
            )


def _read(database: Database, sort: str) -> list[Row]:
    with database.read() as connection:
        workers = fleet.live(connection)
        running = activity.running(connection, MOST_ROWS)
        rates = activity.results_per_hour(connection)
    held: dict[int, list[Running]] = {}
    for one in running:
        held.setdefault(one.worker_id, []).append(one)
    rows: list[Row] = []
    for worker in workers:
        trainings: Sequence[Running | None] = held.get(worker.id) or [None]
        rows += [Row(worker, one, rates.get(worker.id)) for one in trainings]
    rows.sort(key=SORTS["worker"])
    rows.sort(key=SORTS[sort])
    return rows


def _view(rows: Sequence[Row], limit: int) -> RenderableType:
    if not rows:
        return Text(NOBODY)
    workers = {row.worker.id: row.worker for row in rows}.values()
    busy, slots = sum(one.running for one in workers), sum(one.slots for one in workers)
    more = [Text(f"and {len(rows) - limit} more", "dim")] if len(rows) > limit else []
    head = f"workers {len(workers)}, trainings {busy}, slots {slots}"
    return Group(Text(head), _table(rows[:limit]), *more)


def _table(rows: Sequence[Row]) -> Table:
    made = table(
        "worker", "device", "busy", "experiment", "genome", "epoch", "time", "lease", "an hour",
        left=("worker", "device", "experiment"),
    )  # fmt: skip
    made.padding = (0, 1, 0, 0)
    for column in made.columns:
        column.no_wrap, column.overflow = True, "ellipsis"
        column.max_width = WIDTHS.get(str(column.header))
    for row in rows:
        worker, one = row.worker, row.training
        made.add_row(
            _short(worker),
            one.device if one else worker.device,
            f"{worker.running}/{worker.slots}",
            (one.experiment if one.purpose == "search" else f"{one.purpose} {one.experiment}")
            if one
            else Text(worker.note or "–" if worker.state == "active" else worker.state, "dim"),
            str(one.genome_id) if one else "–",
            f"{one.epoch}/{one.epochs or '?'}" if one else "–",
            duration(one.seconds) if one else "–",
            _lease(one.lease_left_s) if one else "–",
            hourly(row.results_per_hour),
        )
    return made


def _short(worker: WorkerFact) -> str:
    """host:pid, where the host is cut: the pid tells the workers of a host apart."""
    room = WIDTHS["worker"] - len(f":{worker.pid}")
    return f"{cut(worker.host, room)}:{worker.pid}"


def _lease(seconds: float) -> Text:
    return Text("ended", "red") if seconds <= 0 else Text(duration(seconds))


def _json(rows: Sequence[Row], limit: int) -> dict[str, Any]:
    return {"rows": [_row_json(row) for row in rows[:limit]], "left_out": max(0, len(rows) - limit)}


def _row_json(row: Row) -> dict[str, Any]:
    worker, one = row.worker, row.training
    return {
        "worker_id": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "state": worker.state,
        "note": worker.note,
        "device": one.device if one else worker.device,
        "slot": one.slot if one else None,
        "slots": worker.slots,
        "running": worker.running,
        "experiment": one.experiment if one else None,
        "purpose": one.purpose if one else None,
        "genome_id": one.genome_id if one else None,
        "birth": one.birth if one else None,
        "epoch": one.epoch if one else None,
        "epochs": one.epochs if one else None,
        "epoch_s": one.epoch_s if one else None,
        "seconds": round(one.seconds, 3) if one else None,
        "lease_left_s": round(one.lease_left_s, 3) if one else None,
        "results_per_hour": row.results_per_hour,
    }
