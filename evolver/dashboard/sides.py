"""A side of a comparison: one search, or all repetitions of one (``evolver replicate``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from evolver import replication
from evolver.dashboard.views import LARGEST_ID, experiment_of
from evolver.errors import InvalidInput
from evolver.replication import MARK
from evolver.store.experiments import Experiment

RUNS_SHOWN = 20
"""Repetitions that are read at most."""


@dataclass(frozen=True)
class Side:
    """``key`` is what an address calls it: an id, or the name of a group; ``total`` counts all its runs."""

    key: str
    name: str
    runs: tuple[Experiment, ...]
    total: int


@dataclass(frozen=True)
class Choice:
    """A side that can be chosen, by its key, with its text."""

    key: str
    text: str


def side(connection: Connection, key: str) -> Side:
    """The search of an id, or the group of a name with an @ at its end.

    Raises NotFound, UnknownName, or InvalidInput for something else.
    """
    if key.endswith(MARK):
        runs = replication.group(connection, key)
        return Side(key, key, tuple(runs[:RUNS_SHOWN]), len(runs))
    if not (key.isascii() and key.isdecimal() and 0 < int(key[:20]) <= LARGEST_ID):
        raise InvalidInput("a side is the number of an experiment, or NAME@ for all repetitions of NAME")
    found = experiment_of(connection, int(key))
    return Side(key, found.settings.name, (found,), 1)


def choices(listed: Sequence[Experiment]) -> list[Choice]:
    """What these experiments can be chosen as: groups first, then each of them."""
    repeated: dict[str, int] = {}
    for one in listed:
        if match := re.fullmatch(rf"(.+{MARK})[1-9][0-9]*", one.settings.name):
            repeated[match[1]] = repeated.get(match[1], 0) + 1
    groups = [Choice(name, f"{name} (all repetitions)") for name, runs in repeated.items() if runs > 1]
    return [*groups, *(Choice(str(one.id), one.settings.name) for one in listed)]
