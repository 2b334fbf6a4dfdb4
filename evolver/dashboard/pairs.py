"""Two genomes side by side."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from sqlalchemy import Connection

from evolver.dashboard import figures, networks
from evolver.dashboard.views import Asked, Figure, Page, experiment_of
from evolver.errors import InvalidInput
from evolver.store import details
from evolver.store.details import EpochFact, GenomeDetail


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
    named: dict[str, list[tuple[EpochFact, ...]]] = {}
    for key in "ab":
        detail = details.genome_detail(connection, _required(asked, key))
        searched = tuple(one for one in detail.evaluations if one.purpose == "search" and one.curve)
        if searched:
            named[f"genome {detail.genome_id}"] = [searched[-1].curve]
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
