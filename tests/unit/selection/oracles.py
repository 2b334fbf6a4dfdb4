"""Slow, plain re-implementations that the selection code is checked against: loops over tuples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import combinations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from evolver.selection.base import Change, Population, Selection, Selector
from evolver.selection.slots import BREAKS_MORE, EMPTY

Point = tuple[float, ...]

DIMENSIONS = st.sampled_from([1, 2, 3, 4, 10])


def grid_points(min_size: int, max_size: int) -> st.SearchStrategy[list[Point]]:
    """Points of one to ten objectives on a coarse grid: ties and repeated points are frequent."""
    return DIMENSIONS.flatmap(
        lambda m: st.lists(
            st.tuples(*[st.integers(0, 4).map(float)] * m), min_size=min_size, max_size=max_size
        )
    )


def constrained_points(min_size: int, max_size: int) -> st.SearchStrategy[list[tuple[Point, float]]]:
    """Points as those of ``grid_points``, each with a violation: half are feasible, some equally bad."""
    violations = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0])
    return grid_points(min_size, max_size).flatmap(
        lambda points: st.tuples(*[violations] * len(points)).map(
            lambda drawn: list(zip(points, drawn, strict=True))
        )
    )


def population_of(
    ids: Sequence[int], points: Sequence[Point], violations: Sequence[float] | None = None
) -> Population:
    """A full population, feasible unless it is said otherwise."""
    return Population(tuple(ids), array(points), np.array(violations or [0.0] * len(ids)))


def check_only_changes_happened(
    before: Population, result: Selection, genome_id: int, point: Point, violation: float
) -> None:
    """The slots that changed hands are the newcomer's now, all others are as they were."""
    changed = {change.slot: change for change in result.changes}
    after = result.population
    for slot, holder in enumerate(before.genome_ids):
        if slot in changed:
            assert (changed[slot].entered, changed[slot].left) == (genome_id, holder)
            assert after.genome_ids[slot] == genome_id
            assert tuple(after.objectives[slot].tolist()) == point
            assert after.violations[slot] == violation
        else:
            assert after.genome_ids[slot] == holder
            np.testing.assert_array_equal(after.objectives[slot], before.objectives[slot])
            np.testing.assert_array_equal(after.violations[slot], before.violations[slot])


def array(points: Sequence[Point]) -> NDArray[np.float64]:
    return np.array(points, dtype=float)


def tuples(points: NDArray[np.float64]) -> list[Point]:
    return [tuple(row) for row in points.tolist()]


def dominates(a: Point, b: Point) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b


def front(points: Sequence[Point]) -> set[Point]:
    return {p for p in points if not any(dominates(q, p) for q in points)}


def ranks(points: Sequence[Point]) -> list[int]:
    """Peel off one front after the other."""
    result = [-1] * len(points)
    rank = 0
    while -1 in result:
        left = [i for i, r in enumerate(result) if r == -1]
        peeled = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        for i in peeled:
            result[i] = rank
        rank += 1
    return result


def constrained_dominates(a: Point, a_violation: float, b: Point, b_violation: float) -> bool:
    """Deb et al. 2002, definition 1."""
    if a_violation == 0.0 < b_violation:
        return True
    if a_violation > 0.0 and b_violation > 0.0:
        return a_violation < b_violation
    return a_violation == b_violation == 0.0 and dominates(a, b)


def constrained_ranks(points: Sequence[Point], violations: Sequence[float]) -> list[int]:
    """Peel off one front after the other, by constrained domination."""
    rows = list(zip(points, violations, strict=True))
    result = [-1] * len(rows)
    rank = 0
    while -1 in result:
        left = [i for i, r in enumerate(result) if r == -1]
        peeled = [i for i in left if not any(constrained_dominates(*rows[j], *rows[i]) for j in left)]
        for i in peeled:
            result[i] = rank
        rank += 1
    return result


def crowding(points: Sequence[Point]) -> list[float]:
    """Deb et al. 2002, section III.B, word by word; an objective without range is passed over."""
    result = [0.0] * len(points)
    for j in range(len(points[0])):
        order = sorted(range(len(points)), key=lambda i: points[i][j])
        low, high = points[order[0]][j], points[order[-1]][j]
        if low == high:
            continue
        result[order[0]] = result[order[-1]] = math.inf
        for before, i, after in zip(order, order[1:], order[2:], strict=False):
            result[i] += (points[after][j] - points[before][j]) / (high - low)
    return result


def hypervolume(points: Sequence[Sequence[Fraction]], reference: Sequence[Fraction]) -> Fraction:
    """Exact, by inclusion and exclusion of the boxes between the points and the reference."""
    inside = [p for p in points if all(x < r for x, r in zip(p, reference, strict=True))]
    volume = Fraction(0)
    for size in range(1, len(inside) + 1):
        for subset in combinations(inside, size):
            corner = [max(column) for column in zip(*subset, strict=True)]
            box = math.prod((r - x for x, r in zip(corner, reference, strict=True)), start=Fraction(1))
            volume += box if size % 2 else -box
    return volume


def contributions(points: Sequence[Sequence[Fraction]], reference: Sequence[Fraction]) -> list[Fraction]:
    """What the hypervolume loses with each point; the points are mutually non-dominated."""
    whole = hypervolume(points, reference)
    return [whole - hypervolume([*points[:i], *points[i + 1 :]], reference) for i in range(len(points))]


def exact(points: Sequence[Point]) -> list[list[Fraction]]:
    return [[Fraction(x) for x in point] for point in points]


def tchebycheff(point: Point, ideal: Point, nadir: Point, weights: Point) -> float:
    """Zhang and Li 2007, equation 5, on scaled objectives."""
    worst = 0.0
    for value, best, bad, weight in zip(point, ideal, nadir, weights, strict=True):
        span = bad - best if bad > best else 1.0
        worst = max(worst, max(weight, 1e-6) / span * abs(value - best))
    return worst


def check_survival(
    selector: Selector,
    results: Sequence[tuple[Point, float]],
    worst_rows: Callable[[list[Point], list[float]], list[int]],
    reason: str,
) -> None:
    """Insert points with their violations one by one; ``worst_rows`` tells who may leave of all and each."""
    population = Population.empty(selector.slots, len(results[0][0]))
    for birth, (point, violation) in enumerate(results, start=1):
        before = population
        result = selector.insert(before, {}, birth, array([point])[0], 0, violation)
        population = result.population
        if not before.is_full:
            slot = before.genome_ids.index(None)
            assert result.changes == (Change(slot, birth, None, EMPTY),)
        elif point in tuples(before.objectives):
            assert result.changes == ()
        else:
            violations = [*before.violations.tolist(), violation]
            worst = worst_rows([*tuples(before.objectives), point], violations)
            if result.changes:
                (change,) = result.changes
                assert change.reason == (BREAKS_MORE if violations[change.slot] > violation else reason)
                assert change.slot in worst
            else:
                assert selector.slots in worst
        check_only_changes_happened(before, result, birth, point, violation)
