"""What people and programs see: tables of at most 80 columns, JSON, and numbers with their units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evolver.store.facts import FAILURE_WINDOW, GenomeFact, Status

if TYPE_CHECKING:  # reading a status needs no numpy
    from evolver.seeding import Warmup

STATE_STYLES = {
    "running": "green", "paused": "yellow", "stopped": "yellow", "finished": "cyan", "deleting": "red",
}  # fmt: skip
FAULTS_SHOWN = 3
NONE_FEASIBLE = "no genome so far keeps all constraints"
NONE_YET = "no experiments yet; make one: evolver new NAME, or evolver run NAME"
LONG_WORD = 12
UNITS = {"s": "s", "ms": "ms", "j": "J", "bytes": "B"}
"""Units that names of values may end in, as people write them."""


def console(*, stderr: bool = False) -> Console:
    """The terminal; without colours, and 80 columns wide, where there is none."""
    return Console(stderr=stderr, highlight=False)


def echo_json(data: Any) -> None:
    """Print a value as JSON; frozen dataclasses become objects."""
    click.echo(json.dumps(data, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


# --- numbers -----------------------------------------------------------------------------------------


def label(name: str) -> str:
    """What people call an objective or another value: errors are shown as accuracies, units beside values."""
    stem, unit, argument = _parts(name)
    words = stem.replace("_", " ") + (" time" if unit == "s" else "") + argument
    return f"{words.removesuffix('error')}accuracy" if words.endswith("error") else words


def shown(name: str, value: float | None) -> str:
    """The value of that name for people, with its unit."""
    if value is None:
        return "–"
    if name.endswith("error"):
        return f"{100 * (1 - value):.2f} %"
    if name in ("params", "flops"):
        return compact(value)
    unit = _parts(name)[1]
    if unit == "bytes":
        return size(value)
    return f"{value:.3g} {UNITS[unit]}" if unit else f"{value:.4g}"


def _parts(name: str) -> tuple[str, str, str]:
    """``latency_ms:64`` as ``latency``, its unit (empty when the name has none), and ``:64``."""
    plain, colon, argument = name.partition(":")
    stem, _, unit = plain.rpartition("_")
    return (stem, unit, colon + argument) if stem and unit in UNITS else (plain, "", colon + argument)


def counted(number: int, noun: str) -> str:
    """A number of things: 1 genome, 2 genomes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def warmup_text(warmup: Warmup) -> str:
    """The genomes that a search begins with, in words."""
    known = warmup.known_results
    results = f", {counted(known, 'result')} known" if known else ""
    return f"{counted(len(warmup.seeds), 'given genome')}{results}"


def compact(number: float) -> str:
    """A count with three digits: 950, 12.3 k, 1.23 M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:#.3g} {unit}".replace(". ", " ")
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes for people: 950 B, 12.3 kB, 1.23 MB."""
    return f"{compact(number)}B" if number >= 1000 else f"{number:.0f} B"


def duration(seconds: float | None) -> str:
    """A time for people: 45 s, 12 min, 3 h 05 min, 2 d 3 h."""
    if seconds is None:
        return "–"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes:.0f} min"
    if hours < 48:
        return f"{int(hours)} h {int(minutes) % 60:02d} min"
    return f"{int(days)} d {int(hours) % 24} h"


def hourly(rate: float | None) -> str:
    """How many an hour, for people."""
    return "–" if rate is None else f"{rate:.{0 if rate >= 10 else 1}f}"


def cut(text: str, length: int) -> str:
    """A text of at most so many characters; where some are left out, the last one says so."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


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
