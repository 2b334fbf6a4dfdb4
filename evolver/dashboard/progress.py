"""How the front of a search grew: hypervolume and best values, at a bounded number of results.

What never was in the front adds nothing to its hypervolume, so that its entries are enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from evolver.comparison import Scale, hypervolumes
from evolver.objectives import logarithmic
from evolver.store import browse
from evolver.store.browse import Entries
from evolver.store.experiments import Experiment

SAMPLES = 120
"""Points of a curve."""


Curve = tuple[Sequence[float], Sequence[float]]
"""Positions, never falling, and the values from there on."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Values after ``results`` of the results, and ``hours`` after the start of the search.

    ``best`` has the least value so far of each objective; ``since``: of a very long history, only what came
    after this ingest number is looked at.
    """

    results: tuple[int, ...]
    hours: tuple[float, ...]
    hypervolume: tuple[float, ...]
    best: dict[str, tuple[float, ...]]
    since: int


def growth(
    connection: Connection, searches: Sequence[Experiment], objectives: Sequence[str], *, also: int = 0
) -> dict[str, Growth]:
    """The growth of searches by their names, on one scale; without those of which nothing entered a front.

    Values are taken at a bounded number of results, and after ``also`` results if there are so many. A
    hypervolume is the share of the box from the best to the worst value that ever was in one of the fronts.
    """
    if not objectives:
        return {}
    entries = [browse.front_entries(connection, found, objectives) for found in searches]
    vectors = [vector for one in entries for vector in one.vectors]
    if not vectors:
        return {}
    points = np.array(vectors, dtype=np.float64)
    scale = Scale(points.min(axis=0), points.max(axis=0), logarithmic(objectives))
    return {
        found.settings.name: _growth(connection, found, objectives, scale, its, also)
        for found, its in zip(searches, entries, strict=True)
        if its.vectors
    }


def median(curves: Sequence[Curve]) -> Curve:
    """The median of step curves, each its positions and values, where all of them have a value.

    Between two positions a curve has the value of the first. Nothing where they do not overlap.
    """
    first = max(positions[0] for positions, _ in curves)
    last = min(positions[-1] for positions, _ in curves)
    grid = np.unique([x for positions, _ in curves for x in positions if first <= x <= last])
    at = grid[np.unique(np.linspace(0, len(grid) - 1, min(SAMPLES, len(grid))).round().astype(int))]
    rows = [
        np.asarray(values)[np.searchsorted(np.asarray(positions), at, side="right") - 1]
        for positions, values in curves
    ]
    return at.tolist(), np.median(rows, axis=0).tolist()


def _growth(
    connection: Connection,
    found: Experiment,
    objectives: Sequence[str],
    scale: Scale,
    entries: Entries,
    also: int,
) -> Growth:
    """The growth of one search, something of which entered its front."""
    first = min(max(1, entries.entered_at[0], entries.since), found.ingested)
    wanted = [*browse.spread(found.ingested, SAMPLES), min(also, found.ingested)]
    numbers = sorted({first, *(n for n in wanted if n >= first)})
    points = np.array(entries.vectors, dtype=np.float64)
    counts = np.searchsorted(np.array(entries.entered_at), np.array(numbers), side="right")
    least = np.minimum.accumulate(points)[np.maximum(counts, 1) - 1]
    ended = browse.moments(connection, found, numbers)
    seconds = np.maximum.accumulate([ended.get(n, 0.0) for n in numbers])
    return Growth(
        results=tuple(numbers),
        hours=tuple((seconds / 3600).tolist()),
        hypervolume=tuple(hypervolumes(scale.scaled(points), counts).tolist()),
        best={name: tuple(least[:, j].tolist()) for j, name in enumerate(objectives)},
        since=entries.since,
    )
