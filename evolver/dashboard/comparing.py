"""Two experiments side by side, and two genomes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from sqlalchemy import Connection

from evolver.dashboard import figures, networks, progress
from evolver.dashboard.genomes import curves_of
from evolver.dashboard.overview import growth_of
from evolver.dashboard.views import Asked, Figure, Page, experiment_of
from evolver.errors import InvalidInput
from evolver.store import browse, details, facts
from evolver.store.details import EpochFact, GenomeDetail
from evolver.store.experiments import Experiment

LISTED = 200
"""Experiments that can be chosen from."""
SETTINGS = (
    "space", "evaluator", "selector", "population", "budget", "seed", "limit_train", "max_params",
    "max_hours", "patience", "timeout_s", "front_limit", "breeder_version",
)  # fmt: skip


def experiments(connection: Connection, asked: Asked) -> Page:
    """Two experiments: what differs in their settings, how they stand, and how their fronts grew."""
    listed, total = browse.listed(connection, first=0, number=LISTED)
    a, b = asked.number("a", low=1), asked.number("b", low=1)
    values: dict[str, Any] = {"listed": listed, "total": total, "a": a, "b": b, "pair": None}
    if a is not None and b is not None:
        pair = [experiment_of(connection, key) for key in (a, b)]
        values |= {
            "pair": pair,
            "statuses": facts.statuses(connection, pair),
            "settings": _settings(*pair),
            "common": _common(*pair),
            "finals": _finals(connection, *pair),
        }
    return Page("compare_experiments.html", values)


def growth(connection: Connection, asked: Asked) -> Figure:
    """The growth of both on one scale, ``over`` evaluations or hours; or the ``best`` of an objective."""
    pair = [experiment_of(connection, _required(asked, key)) for key in "ab"]
    return growth_of(connection, asked, pair, _common(*pair))


@dataclass(frozen=True)
class Final:
    """How two searches stand where the shorter one ends; None where one had nothing yet."""

    results: int
    hypervolume: tuple[float | None, float | None]
    best: Mapping[str, tuple[float | None, float | None]]


def _finals(connection: Connection, one: Experiment, other: Experiment) -> Final | None:
    common = _common(one, other)
    grown = progress.growth(connection, (one, other), common)
    if not grown:
        return None
    end = min(one.ingested, other.ingested)
    pair = [grown.get(found.settings.name) for found in (one, other)]

    def both(name: str) -> tuple[float | None, float | None]:
        first, second = (None if grown is None else _last(grown, name, end) for grown in pair)
        return first, second

    return Final(end, both("hypervolume"), {name: both(name) for name in common})


def _last(grown: progress.Growth, name: str, end: int) -> float | None:
    """The hypervolume, or the best value of an objective, after ``end`` results; None before the first."""
    place = bisect_right(grown.results, end)
    values = grown.hypervolume if name == "hypervolume" else grown.best[name]
    return values[place - 1] if place else None


def _common(one: Experiment, other: Experiment) -> list[str]:
    return [name for name in one.settings.objectives if name in other.settings.objectives]


@dataclass(frozen=True)
class Pair:
    """A fact of both sides."""

    name: str
    one: str
    other: str

    @property
    def differs(self) -> bool:
        """Whether they are not the same."""
        return self.one != self.other


def _settings(one: Experiment, other: Experiment) -> list[Pair]:
    def told(found: Experiment) -> dict[str, str]:
        plain = {name: getattr(found.settings, name) for name in SETTINGS}
        recipe = {f"recipe: {name}": value for name, value in sorted(found.settings.recipe.items())}
        space = {f"space: {name}": value for name, value in sorted(found.settings.space_settings.items())}
        values = {
            "dataset": found.dataset.name,
            "objectives": ", ".join(found.settings.objectives),
            "constraints": ", ".join(map(str, found.settings.constraints)),
            **plain, **recipe, **space,
        }  # fmt: skip
        return {name: "–" if value in (None, "") else str(value) for name, value in values.items()}

    first, second = told(one), told(other)
    names = dict.fromkeys([*first, *second])
    return [Pair(name.replace("_", " "), first.get(name, "–"), second.get(name, "–")) for name in names]


# --- genomes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of two codes side by side; ``mark`` says how they differ: '', '≠', '−' (gone) or '+' (new)."""

    mark: str
    one: str
    other: str


def genomes(connection: Connection, asked: Asked) -> Page:
    """Two genomes: what differs in their codes, and their values."""
    a, b = asked.number("a", low=1), asked.number("b", low=1)
    values: dict[str, Any] = {"a": a, "b": b, "pair": None}
    if a is not None and b is not None:
        pair = [details.genome_detail(connection, key) for key in (a, b)]
        first, second = (_values(one) for one in pair)
        values |= {
            "pair": pair,
            "values": [(name, first.get(name), second.get(name)) for name in {**first, **second}],
            "lines": differences(*(networks.lines(one.code) for one in pair)),
            "networks": [
                networks.decoded(one.code, experiment_of(connection, one.experiment_id)) for one in pair
            ],
        }
    return Page("compare_genomes.html", values)


def curves(connection: Connection, asked: Asked) -> Figure:
    """The learning curves of both, their ``loss`` or ``error`` in the search."""
    named: dict[str, tuple[EpochFact, ...]] = {}
    for key in "ab":
        detail = details.genome_detail(connection, _required(asked, key))
        searched = tuple(one for one in detail.evaluations if one.purpose == "search" and one.curve)
        for curve in curves_of(searched[-1:]).values():
            named[f"genome {detail.genome_id}"] = curve
    return figures.learning(named, asked.choice("what", ("loss", "error"), "loss"))


def differences(one: list[str], other: list[str]) -> list[Line]:
    """Both codes, line by line, with equal lines beside each other."""
    made: list[Line] = []
    for what, i, i_end, j, j_end in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        left, right = one[i:i_end], other[j:j_end]
        if what == "equal":
            made += [Line("", text, text) for text in left]
            continue
        both = min(len(left), len(right))
        made += [Line("≠", *pair) for pair in zip(left, right, strict=False)]
        made += [Line("−", text, "") for text in left[both:]]
        made += [Line("+", "", text) for text in right[both:]]
    return made


def _values(detail: GenomeDetail) -> dict[str, float]:
    values: dict[str, float] = {"params": float(detail.params), "flops": float(detail.flops)}
    for one in detail.evaluations:
        if one.purpose == "search" and one.objectives:
            values = {**one.objectives, **values, **one.other_values}
    return values


def _required(asked: Asked, key: str) -> int:
    given = asked.number(key, low=1)
    if given is None:
        raise InvalidInput(f"{key} is missing")
    return given
