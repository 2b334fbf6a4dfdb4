"""The weighted sum: survival against brute force, weights, parents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.errors import InvalidInput
from evolver.selection import load
from evolver.selection.base import Change, Population
from evolver.selection.slots import BREAKS_MORE, EMPTY
from evolver.selection.weighted import GREATEST_SUM, Weighted
from tests.unit.selection.oracles import (
    Point,
    array,
    check_only_changes_happened,
    constrained_points,
    population_of,
    tuples,
)


@given(constrained_points(1, 40), st.integers(4, 12), st.integers(0, 3))
@settings(deadline=None)
def test_insert_agrees_with_brute_force(
    results: list[tuple[Point, float]], slots: int, last_weight: int
) -> None:
    objectives = len(results[0][0])
    weights = [1.0] * (objectives - 1) + [float(last_weight) if objectives > 1 else 1.0]
    selector = Weighted(slots, objectives, weights)
    population, state = Population.empty(slots, objectives), selector.initial_state()
    feasible: list[Point] = []
    for birth, (point, violation) in enumerate(results, start=1):
        before = population
        result = selector.insert(before, state, birth, array([point])[0], 0, violation)
        population, state = result.population, result.state
        feasible += [point] if violation == 0.0 else []
        ideal = [min(column) for column in zip(*feasible, strict=True)] or None
        assert state == {"ideal": ideal}
        if not before.is_full:
            assert result.changes == (Change(before.genome_ids.index(None), birth, None, EMPTY),)
        elif point in tuples(before.objectives):
            assert result.changes == ()
        else:
            points = [*tuples(before.objectives), point]
            violations = [*before.violations.tolist(), violation]
            worst = worst_rows(points, violations, ideal, weights)
            if result.changes:
                (change,) = result.changes
                expected = BREAKS_MORE if violations[change.slot] > violation else GREATEST_SUM
                assert change.reason == expected
                assert change.slot in worst
            else:
                assert slots in worst
        check_only_changes_happened(before, result, birth, point, violation)


def worst_rows(
    points: list[Point], violations: list[float], ideal: list[float] | None, weights: list[float]
) -> list[int]:
    """The rows of the greatest violation with the greatest weighted sum, to rounding."""
    most = [i for i, violation in enumerate(violations) if violation == max(violations)]
    if ideal is None:
        return most
    known = [point for point, violation in zip(points, violations, strict=True) if violation == 0.0]
    nadir = [max(column) for column in zip(*known, strict=True)]
    spans = [(bad - best) or 1.0 for bad, best in zip(nadir, ideal, strict=True)]
    sums = [
        sum(w * (x - best) / span for w, x, best, span in zip(weights, points[i], ideal, spans, strict=True))
        for i in most
    ]
    return [i for i, value in zip(most, sums, strict=True) if math.isclose(value, max(sums), abs_tol=1e-12)]


def test_weights_decide_who_leaves() -> None:
    points = [(0.0, 1.0), (0.1, 0.9), (0.2, 0.8), (1.0, 0.0)]
    for weights, leaver in (([1.0, 0.0], 3), ([0.0, 1.0], 0)):
        selector = Weighted(4, 2, weights)
        result = selector.insert(
            population_of(range(4), points), {"ideal": [0.0, 0.0]}, 9, np.array([0.5, 0.5]), 0
        )
        assert [change.slot for change in result.changes] == [leaver]


def test_units_do_not_matter() -> None:
    points = np.random.default_rng(0).random((80, 2))
    held = []
    for units in ([1.0, 1.0], [1.0, 2.0**30]):
        selector = Weighted(10, 2)
        population, state = Population.empty(10, 2), selector.initial_state()
        for i, point in enumerate(points):
            result = selector.insert(population, state, i, point * units, 0)
            population, state = result.population, result.state
        held.append(population.genome_ids)
    assert held[0] == held[1]


def test_one_objective_keeps_the_best_values() -> None:
    selector = Weighted(4, 1)
    population, state = Population.empty(4, 1), selector.initial_state()
    for genome_id, value in enumerate([5.0, 9.0, 3.0, 8.0, 1.0, 7.0, 1.0, 2.0]):
        result = selector.insert(population, state, genome_id, np.array([value]), 0)
        population, state = result.population, result.state
    assert sorted(population.objectives[:, 0].tolist()) == [1.0, 2.0, 3.0, 5.0]


def test_parents_are_different_genomes_and_the_better_ones_more_often() -> None:
    selector = Weighted(10, 2, [1.0, 0.0])
    points = [(float(i), float(10 - i)) for i in range(10)]
    population, rng = population_of([7, 7, *range(8)], points), np.random.default_rng(0)
    drawn = [selector.parents(population, {"ideal": [0.0, 0.0]}, 0, rng) for _ in range(500)]
    assert all(population.genome_ids[a] != population.genome_ids[b] for a, b in drawn)
    firsts = np.bincount([first for first, _ in drawn], minlength=10)
    assert firsts[:3].sum() > 2 * firsts[-3:].sum()


def test_weights_come_with_the_name() -> None:
    selector = load("weighted:0.8,0.2", 8, 2)
    assert isinstance(selector, Weighted)
    assert selector.weights.tolist() == [0.8, 0.2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weighted:", "'' are no weights; write one for each objective, for instance weighted:0.8,0.2"),
        ("weighted:1,x", "'1,x' are no weights"),
        ("weighted:1,2,3", "needs a weight for each of 2 objectives, got 3"),
        ("weighted:1,-1", "weights of the selector weighted are finite and at least 0, and one is greater"),
        ("weighted:0,0", "and one is greater"),
        ("weighted:1,nan", "are finite"),
        ("weighted:1,inf", "are finite"),
        ("nsga2:3", "the selector nsga2 takes no argument, got '3'"),
    ],
)
def test_a_wrong_argument_gets_one_clear_line(name: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load(name, 8, 2)
