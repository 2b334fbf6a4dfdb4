"""NSGA-II: survival against brute force, parents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.selection.base import Population
from evolver.selection.nsga2 import WORST, Nsga2
from tests.unit.selection import oracles
from tests.unit.selection.oracles import (
    Point,
    check_survival,
    constrained_points,
    population_of,
)

NO_STATE: dict[str, Any] = {}


@given(constrained_points(1, 40), st.integers(4, 12))
@settings(deadline=None)
def test_insert_agrees_with_brute_force(results: list[tuple[Point, float]], slots: int) -> None:
    check_survival(Nsga2(slots, len(results[0][0])), results, worst_rows, WORST)


def worst_rows(points: list[Point], violations: list[float]) -> list[int]:
    """The rows of the last front whose crowding is the least, to rounding."""
    ranks = oracles.constrained_ranks(points, violations)
    last = [i for i, rank in enumerate(ranks) if rank == max(ranks)]
    crowding = oracles.crowding([points[i] for i in last])
    return [
        i
        for i, value in zip(last, crowding, strict=True)
        if value == min(crowding) or math.isclose(value, min(crowding))
    ]


def test_a_dominated_newcomer_changes_nothing() -> None:
    population = population_of([1, 2, 3, 4], [(0, 3), (1, 2), (2, 1), (3, 0)])
    result = Nsga2(4, 2).insert(population, NO_STATE, 9, np.array([4.0, 4.0]), 0)
    assert result.population is population
    assert result.changes == ()


def test_the_dominated_leave_before_the_crowded() -> None:
    population = population_of([1, 2, 3, 4], [(0, 3), (0.1, 2.9), (3, 0), (5, 5)])
    result = Nsga2(4, 2).insert(population, NO_STATE, 9, np.array([0.2, 2.8]), 0)
    assert [(change.slot, change.left) for change in result.changes] == [(3, 4)]


def test_the_most_crowded_of_one_front_leaves() -> None:
    population = population_of([1, 2, 3, 4], [(0, 10), (1, 9), (2, 8), (10, 0)])
    result = Nsga2(4, 2).insert(population, NO_STATE, 9, np.array([5.0, 5.0]), 0)
    assert [(change.slot, change.left) for change in result.changes] == [(1, 2)]


def test_one_objective_keeps_the_best_values() -> None:
    selector = Nsga2(4, 1)
    population = Population.empty(4, 1)
    for genome_id, value in enumerate([5.0, 9.0, 3.0, 8.0, 1.0, 7.0, 1.0, 2.0]):
        population = selector.insert(population, NO_STATE, genome_id, np.array([value]), 0).population
    assert sorted(population.objectives[:, 0].tolist()) == [1.0, 2.0, 3.0, 5.0]


def test_parents_are_different_genomes_and_the_better_ones_more_often() -> None:
    selector = Nsga2(10, 2)
    points = [(float(i), float(i)) for i in range(10)]
    population = population_of([7, 7, *range(8)], points)
    rng = np.random.default_rng(0)
    drawn = [selector.parents(population, NO_STATE, 0, rng) for _ in range(500)]
    assert all(population.genome_ids[a] != population.genome_ids[b] for a, b in drawn)
    firsts = np.bincount([first for first, _ in drawn], minlength=10)
    assert firsts[:3].sum() > 2 * firsts[-3:].sum()


def test_tournaments_between_equal_ranks_prefer_room() -> None:
    selector = Nsga2(5, 2)
    population = population_of([1, 2, 3, 4, 5], [(0, 9), (4, 5), (4.1, 4.9), (4.2, 4.8), (9, 0)])
    rng = np.random.default_rng(0)
    firsts = np.bincount([selector.parents(population, NO_STATE, 0, rng)[0] for _ in range(500)], minlength=5)
    assert firsts[2] < min(firsts[0], firsts[4])
