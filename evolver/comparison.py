"""Searches against each other: curves, attainment and tests, from the results of repeated runs. Pure.

All objectives are minimised. Values are scaled alike for all groups: 0 is the least value of any result,
1 the reference (by default the greatest), so that a hypervolume is a share of the box between them. What
ranges over orders of magnitude counts by its logarithm, as in selection.

Run         the results of one search.
Scale       what is 0 and what is 1 of each objective.
compare     everything about some groups of runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import moocore
import numpy as np
from numpy.typing import NDArray

from evolver.errors import InvalidInput
from evolver.selection.pareto import Points, hypervolume, non_dominated
from evolver.selection.scale import Scale as ObjectiveScale
from evolver.statistics import a12, holm, mann_whitney

Axis = Literal["evaluations", "hours", "wall"]
AXES: tuple[Axis, ...] = ("evaluations", "hours", "wall")
"""Results; hours of training, of all devices together; hours since the search began."""
SAMPLES = 200
"""Points of a curve."""
ATTAINED_BY = (25.0, 50.0, 75.0)
"""Shares of the runs, in percent, whose attainment surfaces are told."""


@dataclass(frozen=True, slots=True)
class Run:
    """One search: ``points`` has shape (n, m), in the order of results.

    A row is NaN for a failure, which ``failed``, shape (n,), tells, and for what is in no front anyhow.
    ``positions`` has for each axis where a result lies, shape (n,), never falling.
    """

    name: str
    points: Points
    failed: NDArray[np.bool_]
    positions: Mapping[Axis, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Scale:
    """The ideal and the reference point, each of shape (m,); some columns count by their logarithm."""

    ideal: Points
    reference: Points
    logarithmic: tuple[int, ...] = ()

    def scaled(self, points: Points) -> Points:
        """Points, shape (n, m), with the ideal point at 0 and the reference at 1."""
        seen = ObjectiveScale(self.logarithmic).seen
        low, high = seen(self.ideal), seen(self.reference)
        scaled: Points = (seen(points) - low) / np.where(high > low, high - low, 1.0)
        return scaled


@dataclass(frozen=True, slots=True)
class Curve:
    """A measure over an axis, for the runs of a group: median and quartiles, each of shape (samples,)."""

    at: NDArray[np.float64]
    median: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one search method. ``finals`` has the values of each run at the common end, by measure.

    ``curves`` are by axis and measure; a measure is ``hypervolume`` or the name of an objective, whose
    least value so far it is. ``attainment`` has for each of ATTAINED_BY the points of that surface.
    """

    name: str
    runs: tuple[str, ...]
    evaluations: int
    failures: int
    front_sizes: tuple[int, ...]
    finals: Mapping[str, tuple[float, ...]]
    curves: Mapping[Axis, Mapping[str, Curve]]
    attainment: Mapping[float, Points]


@dataclass(frozen=True, slots=True)
class Test:
    """Two groups by one measure: ``a12`` is the share of pairs of runs in which the first is better."""

    measure: str
    first: str
    second: str
    p: float
    p_holm: float
    a12: float
    cliffs_delta: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """``end``: where on the axis ``by`` all runs are cut before finals, fronts and tests."""

    objectives: tuple[str, ...]
    scale: Scale
    by: Axis
    end: float
    groups: tuple[Group, ...]
    tests: tuple[Test, ...]


def compare(
    groups: Mapping[str, Sequence[Run]],
    objectives: Sequence[str],
    *,
    by: Axis = "evaluations",
    reference: Sequence[float] | None = None,
    logarithmic: tuple[int, ...] = (),
) -> Comparison:
    """Compare groups of runs; ``logarithmic`` has the columns that count by their logarithm.

    Raises InvalidInput for a run without any success, or a wrong reference.
    """
    runs = [run for members in groups.values() for run in members]
    for run in runs:
        if not np.isfinite(run.points).all(axis=1).any():
            raise InvalidInput(f"experiment '{run.name}' has no result to compare yet; let it run first")
    scale = _scale(runs, reference, logarithmic)
    end = min(float(run.positions[by][-1]) for run in runs)
    told = tuple(_group(name, members, objectives, scale, by, end) for name, members in groups.items())
    return Comparison(tuple(objectives), scale, by, end, told, _tests(told, ("hypervolume", *objectives)))


def _scale(runs: Sequence[Run], reference: Sequence[float] | None, logarithmic: tuple[int, ...]) -> Scale:
    points = np.concatenate([run.points[np.isfinite(run.points).all(axis=1)] for run in runs])
    ideal = points.min(axis=0)
    if reference is None:
        return Scale(ideal, points.max(axis=0), logarithmic)
    if len(reference) != points.shape[1]:
        raise InvalidInput(f"--reference needs {points.shape[1]} numbers, one for each objective")
    if (np.asarray(reference) <= ideal).any():
        raise InvalidInput(
            f"--reference must be above the best values, {', '.join(map(repr, ideal.tolist()))}"
        )
    return Scale(ideal, np.asarray(reference, dtype=np.float64), logarithmic)


def _group(
    name: str, runs: Sequence[Run], objectives: Sequence[str], scale: Scale, by: Axis, end: float
) -> Group:
    cut = [run.points[: _count(run, by, end)] for run in runs]
    fronts = [front_of(points) for points in cut]
    finals = {"hypervolume": tuple(volume(scale.scaled(front)) for front in fronts)}
    for j, objective in enumerate(objectives):
        finals[objective] = tuple(float(f[:, j].min()) if len(f) else float("nan") for f in fronts)
    return Group(
        name=name,
        runs=tuple(run.name for run in runs),
        evaluations=sum(map(len, cut)),
        failures=sum(int(run.failed[: len(points)].sum()) for run, points in zip(runs, cut, strict=True)),
        front_sizes=tuple(len(np.unique(front, axis=0)) for front in fronts),
        finals=finals,
        curves={axis: _curves(runs, axis, objectives, scale) for axis in AXES},
        attainment=attainment(fronts),
    )


def _count(run: Run, axis: Axis, position: float) -> int:
    """How many results a run has up to a position."""
    return int(np.searchsorted(run.positions[axis], position, side="right"))


def _curves(runs: Sequence[Run], axis: Axis, objectives: Sequence[str], scale: Scale) -> dict[str, Curve]:
    """Up to where the shortest run of the group ends."""
    end = min(float(run.positions[axis][-1]) for run in runs)
    number = min(SAMPLES, int(end)) if axis == "evaluations" else SAMPLES
    at = np.linspace(end / number, end, number)
    if axis == "evaluations":
        at = np.unique(np.round(at))
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("hypervolume", *objectives)}
    for run in runs:
        counts = np.searchsorted(run.positions[axis], at, side="right")
        rows["hypervolume"].append(hypervolumes(scale.scaled(run.points), counts))
        least = np.fmin.accumulate(np.vstack([np.full(run.points.shape[1], np.nan), run.points]))
        for j, objective in enumerate(objectives):
            rows[objective].append(least[counts, j])
    return {name: _band(at, np.array(values)) for name, values in rows.items()}


def _band(at: NDArray[np.float64], values: NDArray[np.float64]) -> Curve:
    """NaN wherever a run has no value yet."""
    lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
    return Curve(at, median, lower, upper)


def hypervolumes(scaled: Points, counts: NDArray[np.int_]) -> NDArray[np.float64]:
    """The hypervolume of the first ``counts`` points, for each count; counts must not fall.

    The front is carried on, so that each point is looked at once.
    """
    volumes = np.zeros(len(counts))
    front, seen = scaled[:0], 0
    for i, count in enumerate(counts):
        if count > seen:
            front = front_of(np.concatenate([front, scaled[seen:count]]))
            seen = int(count)
            volumes[i] = volume(front)
        elif i:
            volumes[i] = volumes[i - 1]
    return volumes


def front_of(points: Points) -> Points:
    """The non-dominated of the points that have values."""
    valued = points[np.isfinite(points).all(axis=1)]
    if len(valued) and valued.shape[1] == 1:
        return valued[[valued[:, 0].argmin()]]
    return valued[non_dominated(valued)] if len(valued) else valued


def volume(scaled: Points) -> float:
    """The share of the unit box that scaled points dominate."""
    if not len(scaled):
        return 0.0
    if scaled.shape[1] == 1:
        return max(0.0, 1.0 - float(scaled.min()))
    return hypervolume(scaled, np.ones(scaled.shape[1]))


def attainment(fronts: Sequence[Points]) -> dict[float, Points]:
    """The surfaces that a share of the runs attains (Fonseca et al. 2011), for two or three objectives.

    For each of ATTAINED_BY the points of the surface, shape (k, m), sorted; else nothing.
    """
    if not fronts or fronts[0].shape[1] not in (2, 3):
        return {}
    sets = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    if not len(sets):
        return {}
    surfaces = moocore.eaf(np.concatenate(fronts), sets, percentiles=ATTAINED_BY)
    return {p: surfaces[surfaces[:, -1] == p, :-1] for p in ATTAINED_BY}


def _tests(groups: Sequence[Group], measures: Sequence[str]) -> tuple[Test, ...]:
    """Every pair by every measure, corrected over the pairs of a measure; none with a single run."""
    tests: list[Test] = []
    for measure in measures:
        pairs = [
            (one, other)
            for one, other in combinations(groups, 2)
            if min(len(one.runs), len(other.runs)) > 1
            and np.isfinite([*one.finals[measure], *other.finals[measure]]).all()
        ]
        ps = [mann_whitney(one.finals[measure], other.finals[measure]) for one, other in pairs]
        for (one, other), p, corrected in zip(pairs, ps, holm(ps), strict=True):
            effect = a12(one.finals[measure], other.finals[measure])
            better = effect if measure == "hypervolume" else 1.0 - effect
            tests.append(Test(measure, one.name, other.name, p, corrected, better, 2 * better - 1))
    return tuple(tests)


def to_json(value: Any) -> Any:
    """A comparison, or a chart, as plain values; what is no finite number is None."""
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(one) for one in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: to_json(getattr(value, name)) for name in value.__dataclass_fields__}
    return None if isinstance(value, float) and not math.isfinite(value) else value
