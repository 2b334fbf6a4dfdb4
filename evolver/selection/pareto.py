"""Pareto dominance and the hypervolume, on arrays.

All objectives are minimised. ``points`` has shape (n, m): a row for each point, a column for each
objective, finite values, n may be 0. ``reference`` has shape (m,); only what is better than it in every
objective counts.

dominates                a better than b
non_dominated            which points no other point dominates
ranks                    the number of the front of each point
constrained_ranks        the same with constraints
last_front               which points have the highest rank
crowding_distance        how much room each point has between its neighbours
hypervolume              how much the points dominate
contributions            how much only one point dominates, each
estimated_contributions  the same in bounded time, for many objectives
least_contributor        which point of a front contributes least
"""

from __future__ import annotations

import math
from functools import cache

import moocore
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

_EXACT_OBJECTIVES = 4
"""Up to so many objectives the least contributor is found exactly; with 8 it takes half a minute for 100
points."""

_DIRECTIONS = 128
"""Rays of the estimate: two or three seconds for 1,000 points of 10 objectives."""


def dominates(a: Points, b: Points) -> bool:
    """Whether ``a`` is nowhere worse than ``b`` and somewhere better; both have shape (m,)."""
    return bool((a <= b).all() and (a < b).any())


def non_dominated(points: Points) -> NDArray[np.bool_]:
    """Which points no other point dominates, shape (n,). Equal points do not dominate each other."""
    mask: NDArray[np.bool_] = moocore.is_nondominated(points, keep_weakly=True)
    return mask


def ranks(points: Points) -> NDArray[np.int_]:
    """The rank of each point, shape (n,): 0 for the non-dominated, 1 for those that are so without them, …

    Non-dominated sorting of NSGA-II (Deb et al. 2002, section III.A).
    """
    return np.asarray(moocore.pareto_rank(points), dtype=np.int_)


def constrained_ranks(points: Points, violations: NDArray[np.float64]) -> NDArray[np.int_]:
    """The rank of each point by constrained domination, shape (n,) (Deb et al. 2002, section VI).

    ``violations`` has shape (n,), 0.0 for feasible points. Those have their ``ranks``; behind them come
    the infeasible ones, a rank for each violation, in ascending order.
    """
    infeasible = violations > 0.0
    if not infeasible.any():
        return ranks(points)
    result = np.empty(len(points), dtype=np.int_)
    feasible_ranks = ranks(points[~infeasible])
    result[~infeasible] = feasible_ranks
    behind = np.unique(violations[infeasible], return_inverse=True)[1]
    result[infeasible] = behind + feasible_ranks.max(initial=-1) + 1
    return result


def last_front(points: Points, violations: NDArray[np.float64]) -> NDArray[np.int_]:
    """The rows of the points with the highest of the ``constrained_ranks``, ascending."""
    found = constrained_ranks(points, violations)
    return np.flatnonzero(found == found.max())


def crowding_distance(points: Points) -> NDArray[np.float64]:
    """The crowding distance of each point of one front, shape (n,) (Deb et al. 2002, section III.B).

    The sum over objectives of the gap between a point's two neighbours, as a share of the range;
    infinite for the extremes. An objective in which all points agree adds nothing. Of equal points
    the earlier one is sorted first.
    """
    if not len(points):
        return np.empty(0)
    columns = np.arange(points.shape[1])
    order = points.argsort(axis=0, kind="stable")
    in_order = points[order, columns]
    span = in_order[-1] - in_order[0]
    if not span.all():
        return crowding_distance(points[:, span > 0])
    gaps = np.full_like(in_order, np.inf)
    gaps[1:-1] = (in_order[2:] - in_order[:-2]) / span
    distances = np.empty_like(gaps)
    distances[order, columns] = gaps
    total: NDArray[np.float64] = distances.sum(axis=1)
    return total


def hypervolume(points: Points, reference: Points) -> float:
    """The volume that the points dominate, up to ``reference``."""
    return float(moocore.hypervolume(points, ref=reference))


def contributions(points: Points, reference: Points) -> NDArray[np.float64]:
    """The volume that only this point dominates, shape (n,); 0 for dominated and repeated points.

    Dominated points are left out of account. For 1,000 points: under a millisecond up to three
    objectives, about a second for four, and exponentially more beyond.
    """
    if points.shape[1] == 1:
        # moocore wants two objectives; a second one, equal for all, changes no volume.
        points = np.column_stack([points, np.zeros(len(points))])
        reference = np.append(reference, 1.0)
    volumes: NDArray[np.float64] = moocore.hv_contributions(points, ref=reference)
    return volumes


def estimated_contributions(points: Points, reference: Points) -> NDArray[np.float64]:
    """An estimate of ``contributions`` for any number of objectives, shape (n,); no randomness.

    The region that only p dominates is star-shaped seen from p: in polar coordinates its volume is
    the mean over all directions of length ** m, times a constant. The mean is taken over one fixed
    set of directions, so that all points err alike (Shang, Ishibuchi and Ni 2020, "R2-based
    hypervolume contribution approximation", with the exponent m of Deng and Zhang 2019). Takes
    O(n²·m).
    """
    n, m = points.shape
    directions = _directions(m)
    means = np.empty(n, dtype=np.float64)
    for i, point in enumerate(points):
        # A ray from p ends at the reference point, or where another point starts to dominate it.
        lengths = ((reference - point) / directions).min(axis=1)
        if n > 1:
            lengths = np.minimum(lengths, _ray_lengths(np.delete(points, i, axis=0) - point, directions))
        means[i] = (np.maximum(lengths, 0.0) ** m).mean()
    # The volume of the part of the unit ball in which all coordinates are positive.
    orthant = math.pi ** (m / 2) / math.gamma(m / 2 + 1) / 2**m
    volumes: NDArray[np.float64] = means * orthant
    return volumes


def least_contributor(points: Points, offset: float) -> int:
    """The row of a front with the least hypervolume contribution, the last of equals.

    Each objective is scaled to the range of the points, so that its unit does not matter. The
    reference point lies ``offset`` ranges behind the worst values: on them, extreme points would
    contribute nothing and leave first. Beyond 4 objectives, contributions are estimated.
    """
    low = points.min(axis=0)
    span = points.max(axis=0) - low
    scaled = (points - low) / np.where(span > 0, span, 1.0)
    reference = np.full(points.shape[1], 1.0 + offset)
    exact = points.shape[1] <= _EXACT_OBJECTIVES
    volumes = (contributions if exact else estimated_contributions)(scaled, reference)
    return int(np.flatnonzero(volumes == volumes.min())[-1])


def _ray_lengths(offsets: Points, directions: Points) -> NDArray[np.float64]:
    """How far each ray from the origin goes before one of the points at ``offsets`` dominates it."""
    entries = offsets[:, :1] / directions[:, 0]
    for j in range(1, offsets.shape[1]):
        np.maximum(entries, offsets[:, j : j + 1] / directions[:, j], out=entries)
    lengths: NDArray[np.float64] = entries.min(axis=0)
    return lengths


@cache
def _directions(m: int) -> Points:
    """Unit vectors with positive entries, uniform on the sphere, shape (directions, m)."""
    normal = np.abs(np.random.default_rng(0).normal(size=(_DIRECTIONS, m)))
    directions: Points = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    directions.flags.writeable = False
    return directions
