"""The front of an experiment over two or three axes, now or at any time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from evolver.dashboard import figures
from evolver.dashboard.networks import in_short
from evolver.dashboard.overview import columns
from evolver.dashboard.views import Asked, Figure, Page
from evolver.dashboard.words import LOGARITHMIC
from evolver.store import browse
from evolver.store.browse import Point
from evolver.store.experiments import Experiment
from evolver.words import counted

FRONT_SHOWN = 300
BEHIND_SHOWN = 600
"""Points that are drawn at most, of the front and of what it dominates."""
ROWS_SHOWN = 50


def front(connection: Connection, asked: Asked) -> Page:
    """The page: the chart with its form, and the front as a table."""
    found = asked.experiment(connection)
    at = asked.number("at", high=found.ingested)
    shown, total = browse.front(connection, found, at=at, limit=ROWS_SHOWN)
    known = _known(found, shown)
    chosen, logarithmic = _axes(asked, found, known)
    return Page(
        "front.html",
        {
            "found": found,
            "front": shown,
            "in_front": total,
            "columns": columns(found),
            "known": known,
            "chosen": dict(zip("xyz", [*chosen, ""], strict=False)),
            "logarithmic": logarithmic,
            "at": found.ingested if at is None else at,
        },
    )


def figure(connection: Connection, asked: Asked) -> Figure:
    """The chart: the front, and behind it a sample of the other results so far."""
    found = asked.experiment(connection)
    at = asked.number("at", high=found.ingested)
    members, total = browse.front(connection, found, at=at, limit=FRONT_SHOWN)
    axes, logarithmic = _axes(asked, found, _known(found, members))
    in_front = {one.genome_id for one in members}
    last = found.ingested if at is None else at
    behind = [
        one
        for one in browse.sampled(connection, found, BEHIND_SHOWN)
        if one.genome_id not in in_front and (one.ingest_no or 0) <= last
    ]
    is_sample = found.ingested > BEHIND_SHOWN
    size = 5 if len(axes) == 2 else 3
    dominated = f"other results ({'a sample of ' if is_sample else ''}{len(behind)})"
    best = f"front ({len(members)} of {total})" if total > len(members) else f"front ({total})"
    told, its = _told(found, behind), _told(found, members)
    theirs = {"color": "#8a94a6", "opacity": 0.45, "size": size, "symbol": "circle"}
    ours = {"color": "#D55E00", "size": size + 4, "symbol": "diamond"}
    note = {"note": _note(found, last, len(members), total)}
    return Figure(
        [figures.trace(dominated, axes, told, theirs), figures.trace(best, axes, its, ours)],
        {**figures.plane(axes, logarithmic, [*told, *its]), "meta": note},
    )


def _note(found: Experiment, last: int, drawn: int, total: int) -> str:
    thinned = f", {drawn} of them drawn" if drawn < total else ""
    of = f"{last} of {counted(found.ingested, 'result')}"
    return f"After {of}: {counted(total, 'genome')} in the front{thinned}."


def _told(found: Experiment, points: Sequence[Point]) -> list[dict[str, Any]]:
    names = columns(found)
    return [
        {
            "id": one.genome_id,
            "values": one.values,
            "text": figures.tooltip(
                one.genome_id, {n: one.values[n] for n in names if n in one.values}, in_short(one.code)
            ),
        }
        for one in points
    ]


def _known(found: Experiment, points: Sequence[Point]) -> list[str]:
    """The values that can be an axis: the objectives, what networks cost, and what else was measured."""
    measured = sorted({name for one in points for name in one.values})
    return list(dict.fromkeys([*columns(found), *measured]))


def _axes(asked: Asked, found: Experiment, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Two or three different axes, and those of them that are logarithmic.

    As asked for; else the first two objectives, and params and flops logarithmic.
    """
    x = asked.choice("x", known, known[0])
    y = asked.choice("y", known, next(name for name in known if name != x))
    z = asked.choice("z", ("", *known), "")
    axes = list(dict.fromkeys(name for name in (x, y, z) if name))
    if len(axes) == 1:
        axes.append(next(name for name in known if name != x))
    if asked.has("asked"):
        return axes, [name for key, name in zip("xyz", axes, strict=False) if asked.has(f"log_{key}")]
    return axes, [name for name in axes if name in LOGARITHMIC]
