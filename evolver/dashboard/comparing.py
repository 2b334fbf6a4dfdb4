"""Two experiments side by side, each with all its repetitions where one asks for them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from evolver.dashboard import progress, settings, sides
from evolver.dashboard.overview import growth_of
from evolver.dashboard.sides import Choice, Side
from evolver.dashboard.views import Asked, Figure, Page
from evolver.errors import InvalidInput
from evolver.statistics import a12, mann_whitney
from evolver.store import browse, facts
from evolver.store.facts import Status

LISTED = 200
"""Experiments that can be chosen from."""


def experiments(connection: Connection, asked: Asked) -> Page:
    """Two sides: how they stand, how their fronts grew, and what differs in their settings."""
    listed, total = browse.listed(connection, first=0, number=LISTED)
    chosen = [asked.text(key) for key in "ab"]
    values: dict[str, Any] = {
        "choices": sides.choices(listed),
        "listed": len(listed),
        "total": total,
        "chosen": dict(zip("ab", chosen, strict=True)),
        "pair": None,
    }
    if all(chosen):
        pair = _pair(connection, asked)
        common = _common(pair)
        known = {one.key for one in values["choices"]}
        values["choices"] += [Choice(one.key, one.name) for one in pair if one.key not in known]
        values |= {
            "pair": pair,
            "statuses": _statuses(connection, pair),
            "settings": settings.of(*(one.runs for one in pair)),
            "common": common,
            "end": _end(pair),
            "measures": _measures(connection, pair, common),
            "is_repeated": min(len(one.runs) for one in pair) > 1,
        }
    return Page("compare_experiments.html", values)


def growth(connection: Connection, asked: Asked) -> Figure:
    """The growth of both on one scale, ``over`` evaluations or hours; or the ``best`` of an objective."""
    pair = _pair(connection, asked)
    return growth_of(connection, asked, {one.name: one.runs for one in pair}, _common(pair))


def _pair(connection: Connection, asked: Asked) -> tuple[Side, Side]:
    keys = [asked.text(key) for key in "ab"]
    if not all(keys):
        raise InvalidInput("name two sides, a and b")
    one, other = (sides.side(connection, key) for key in keys)
    return one, other


def _common(pair: Sequence[Side]) -> list[str]:
    """The objectives that all runs have."""
    first, *others = [set(run.settings.objectives) for side in pair for run in side.runs]
    names = pair[0].runs[0].settings.objectives
    return [name for name in names if name in first.intersection(*others)]


def _statuses(connection: Connection, pair: Sequence[Side]) -> list[list[Status]]:
    """Of the runs of each side."""
    told = iter(facts.statuses(connection, [run for side in pair for run in side.runs]))
    return [list(islice(told, len(side.runs))) for side in pair]


def _end(pair: Sequence[Side]) -> int:
    """After how many results the shortest run ends; those that have none yet do not count."""
    return min((run.ingested for side in pair for run in side.runs if run.ingested), default=0)


@dataclass(frozen=True)
class Measure:
    """A measure of both sides, a value for each run that has one.

    ``better`` is the share of the pairs of runs in which the first side is better (A12), ``p`` the
    probability of such a difference by chance (Mann-Whitney U); None with a single run, and for the
    hypervolume: its ranks depend on the box, of which 'evolver compare' takes another one.
    """

    name: str
    values: tuple[tuple[float, ...], tuple[float, ...]]
    better: float | None
    p: float | None


def _measures(connection: Connection, pair: Sequence[Side], common: Sequence[str]) -> list[Measure]:
    """How the sides stand where the shortest run ends; nothing where no front has anything."""
    end = _end(pair)
    grown = progress.growth(connection, [run for side in pair for run in side.runs], common, also=end)

    def measure(name: str) -> Measure:
        one, other = (_lasts([grown.get(run.settings.name) for run in side.runs], name, end) for side in pair)
        if name == "hypervolume" or min(len(one), len(other)) < 2:
            return Measure(name, (one, other), None, None)
        return Measure(name, (one, other), 1.0 - a12(one, other), mann_whitney(one, other))

    return [measure(name) for name in ("hypervolume", *common)] if grown else []


def _lasts(runs: Sequence[progress.Growth | None], name: str, end: int) -> tuple[float, ...]:
    """The hypervolume, or the best value of an objective, after ``end`` results, of each run that has one."""
    found: list[float] = []
    for one in runs:
        place = bisect_right(one.results, end) if one else 0
        if one and place:
            found.append((one.hypervolume if name == "hypervolume" else one.best[name])[place - 1])
    return tuple(found)
