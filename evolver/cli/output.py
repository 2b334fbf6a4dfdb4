"""What people and programs see: tables of at most 80 columns, JSON, and searches in words."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from evolver.cli.harmless import harmless
from evolver.store.facts import FAILURE_WINDOW, GenomeFact, Status
from evolver.words import compact, counted, duration, hourly, label, shown

if TYPE_CHECKING:  # reading a status needs no numpy
    from evolver.seeding import Warmup

STATE_STYLES = {
    "running": "green", "paused": "yellow", "stopped": "yellow", "finished": "cyan", "deleting": "red",
}  # fmt: skip
FAULTS_SHOWN = 3
NONE_FEASIBLE = "no genome so far keeps all constraints"
NONE_YET = "no experiments yet; make one: evolver new NAME, or evolver run NAME"
LONG_WORD = 12


class Terminal(Console):
    """A console that takes text for text: neither markup, emoji codes nor control sequences are obeyed."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(harmless(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is shown, piece by piece. The console's own control codes are another kind of piece."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(harmless(segment.text), segment.style)


def console(*, stderr: bool = False) -> Terminal:
    """The terminal; without colours, and 80 columns wide, where there is none."""
    return Terminal(stderr=stderr)


def say(text: str, *, err: bool = False) -> None:
    """Print lines of text as they are, however wide the terminal is."""
    click.echo(harmless(text), err=err)


def echo_json(data: Any) -> None:
    """Print a value as JSON; frozen dataclasses become objects."""
    click.echo(json_text(data, indent=2))


def json_text(data: Any, indent: int | None = None) -> str:
    """A value as JSON, all control characters written as numbers, those of one byte in old terminals too.

    So is everything that the output cannot encode, or programs would read something else.
    """
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(data, indent=indent, default=_plain, ensure_ascii=not is_unicode)
    return re.sub("[\x7f-\x9f]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


# --- tables ------------------------------------------------------------------------------------------


def table(*columns: str, left: Sequence[str] = (), title: str | None = None) -> Table:
    """An empty table: columns are aligned to the right, except those in ``left``.

    Where 80 columns are too few, the widest values are folded; no word of a head is, unless it is long.
    """
    made = Table(
        title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold"
    )
    for column in columns:
        longest = min(LONG_WORD, max(map(len, column.split())))
        justify: JustifyMethod = "left" if column in left else "right"
        made.add_column(column, justify=justify, overflow="fold", min_width=longest)
    return made


def front_rows(members: Sequence[GenomeFact], objectives: Sequence[str]) -> list[dict[str, Any]]:
    """The front as ``evolver front --json`` prints it."""
    return [
        {
            "genome_id": one.genome_id,
            "birth": one.birth,
            "objectives": {name: one.objectives[name] for name in objectives},
            "params": one.params,
            "flops": one.flops,
        }
        for one in members
    ]


def front_table(members: Sequence[GenomeFact], objectives: Sequence[str], title: str | None = None) -> Table:
    """The front for people."""
    costs = [
        name
        for name in ("params", "flops")
        if name not in objectives
        and any(getattr(one, name) for one in members)  # not all genomes are networks
    ]
    made = table("genome", "birth", *map(label, objectives), *costs, title=title)
    for one in members:
        values = [shown(name, one.objectives.get(name)) for name in objectives]
        made.add_row(
            str(one.genome_id), str(one.birth), *values, *(compact(getattr(one, name)) for name in costs)
        )
    return made


def state_text(state: str) -> Text:
    """An experiment's state, coloured."""
    return Text(state, STATE_STYLES.get(state, ""))


def best_text(best: Mapping[str, float]) -> str:
    """The least value of each objective, in one line. Say "of each": it is not one genome that has them."""
    return ", ".join(f"{label(name)} {shown(name, value)}" for name, value in best.items()) or "–"


def failures_text(status: Status) -> str:
    """The failures by kind, with a genome for each, in one line."""
    kinds = ", ".join(f"{one.number} {one.kind} (genome {one.genome_id})" for one in status.failures)
    told = sum(one.number for one in status.failures)
    return kinds if told == status.failed else f"{kinds or 'none'} in the last {FAILURE_WINDOW} results"


def warmup_text(warmup: Warmup) -> str:
    """The genomes that a search begins with, in words."""
    known = warmup.known_results
    results = f", {counted(known, 'result')} known" if known else ""
    return f"{counted(len(warmup.seeds), 'given genome')}{results}"


def status_view(status: Status, notes: Sequence[str] = ()) -> RenderableType:
    """One search for people. ``notes`` are lines to show below it."""
    head = Text.assemble((status.experiment, "bold"), "  ", state_text(status.state))
    if status.state_reason:
        head.append(f" ({status.state_reason})")
    progress = Table.grid(padding=(0, 2))
    done = f"{status.evaluated} of {status.budget} genomes"
    progress.add_row(ProgressBar(status.budget, status.evaluated, width=36), done)
    rate = status.evaluations_per_hour
    grid = Table.grid(padding=(0, 2))
    grid.add_row("best of each", best_text(status.best))
    grid.add_row("front", str(status.front_size))
    if status.constraints:
        grid.add_row("constraints", ", ".join(status.constraints))
    grid.add_row("queue", f"{status.running} running, {status.pending} pending, {status.failed} failed")
    if status.failed:
        grid.add_row("failures", failures_text(status))
    grid.add_row("rate", f"{hourly(rate)} an hour" if rate else "–")
    grid.add_row("time left", duration(status.eta_s))
    grid.add_row("workers", f"{status.workers} with a valid lease, in all searches")
    grid.add_row("scheduler", status.leader or "none")
    faults = [f"worker {fault}" for fault in status.faulted_workers[:FAULTS_SHOWN]]
    devices = [device_warning(status.mixed_devices)] if status.mixed_devices else []
    notes = [*devices, *faults, *([NONE_FEASIBLE] if status.none_feasible else []), *notes]
    return Group(head, progress, grid, *(Text(f"! {note}", "yellow") for note in notes))


def device_warning(devices: Sequence[str]) -> str:
    """That values were measured on several types of device."""
    return f"measured on devices of several types, whose values must not be compared: {', '.join(devices)}"


def status_line(status: Status) -> str:
    """One search in one line, for logs."""
    infeasible = f" ({NONE_FEASIBLE})" if status.none_feasible else ""
    return (
        f"{status.experiment}: {status.state}, {status.evaluated}/{status.budget} evaluated, "
        f"{status.failed} failed, front {status.front_size}{infeasible}, "
        f"best of each objective: {best_text(status.best)}; "
        f"time left {duration(status.eta_s)}, workers {status.workers}"
    )


def status_table(statuses: Sequence[Status]) -> Table:
    """All searches for people, a line each."""
    made = table(
        "experiment", "state", "evaluated", "failed", "front", "best", "time left",
        left=("experiment", "state", "best"),
    )  # fmt: skip
    for one in statuses:
        first = next(iter(one.best.items()), None)
        made.add_row(
            one.experiment,
            state_text(one.state),
            f"{one.evaluated}/{one.budget}",
            str(one.failed),
            str(one.front_size),
            best_text(dict([first])) if first else "–",
            duration(one.eta_s),
        )
    return made
