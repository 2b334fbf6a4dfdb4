"""NSGA-II: survival against brute force, parents."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.selection.base import Change, Population
from evolver.selection.nsga2 import WORST, Nsga2
from evolver.selection.slots import EMPTY
from tests.unit.selection import oracles
from tests.unit.selection.oracles import Point, array, grid_points, tuples

NO_STATE: dict[str, Any] = {}


@given(grid_points(1, 40), st.integers(4, 12))
@settings(deadline=None)
def test_insert_agrees_with_brute_force(points: list[Point], slots: int) -> None:
    objectives = len(points[0])
    selector = Nsga2(slots, objectives)
    population = Population.empty(slots, objectives)
    for birth, point in enumerate(points, start=1):
        before = population
        result = selector.insert(before, NO_STATE, birth, array([point])[0], 0)
        population = result.population
        if not before.is_full:
            slot = before.genome_ids.index(None)
            assert result.changes == (Change(slot, birth, None, EMPTY),)
        elif point in tuples(before.objectives):
            assert result.changes == ()
        elif result.changes:
            (change,) = result.changes
            assert change == Change(change.slot, birth, before.genome_ids[change.slot], WORST)
            assert change.slot in worst_rows([*tuples(before.objectives), point])
        else:
            assert slots in worst_rows([*tuples(before.objectives), point])
        check_only_changes_happened(before, result.population, {c.slot: point for c in result.changes})


def worst_rows(points: list[Point]) -> list[int]:
    """The rows of the last front whose crowding is the least, to rounding."""
    ranks = oracles.ranks(points)
    last = [i for i, rank in enumerate(ranks) if rank == max(ranks)]
    crowding = oracles.crowding([points[i] for i in last])
    return [
        i
        for i, value in zip(last, crowding, strict=True)
        if value == min(crowding) or math.isclose(value, min(crowding))
    ]


def check_only_changes_happened(before: Population, after: Population, changed: dict[int, Point]) -> None:
    for slot in range(len(before.genome_ids)):
        if slot in changed:
            assert tuple(after.objectives[slot].tolist()) == changed[slot]
        else:
            assert after.genome_ids[slot] == before.genome_ids[slot]
            np.testing.assert_array_equal(after.objectives[slot], before.objectives[slot])


def test_a_dominated_newcomer_changes_nothing() -> None:
    population = Population((1, 2, 3, 4), array([(0, 3), (1, 2), (2, 1), (3, 0)]))
    result = Nsga2(4, 2).insert(population, NO_STATE, 9, np.array([4.0, 4.0]), 0)
    assert result.population is population
    assert result.changes == ()


def test_the_dominated_leave_before_the_crowded() -> None:
    population = Population((1, 2, 3, 4), array([(0, 3), (0.1, 2.9), (3, 0), (5, 5)]))
    result = Nsga2(4, 2).insert(population, NO_STATE, 9, np.array([0.2, 2.8]), 0)
    assert [(change.slot, change.left) for change in result.changes] == [(3, 4)]


def test_the_most_crowded_of_one_front_leaves() -> None:
    population = Population((1, 2, 3, 4), array([(0, 10), (1, 9), (2, 8), (10, 0)]))
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
    population = Population((7, 7, *range(8)), array(points))
    rng = np.random.default_rng(0)
    drawn = [selector.parents(population, NO_STATE, 0, rng) for _ in range(500)]
    assert all(population.genome_ids[a] != population.genome_ids[b] for a, b in drawn)
    firsts = np.bincount([first for first, _ in drawn], minlength=10)
    assert firsts[:3].sum() > 2 * firsts[-3:].sum()


def test_tournaments_between_equal_ranks_prefer_room() -> None:
    selector = Nsga2(5, 2)
    population = Population((1, 2, 3, 4, 5), array([(0, 9), (4, 5), (4.1, 4.9), (4.2, 4.8), (9, 0)]))
    rng = np.random.default_rng(0)
    firsts = np.bincount([selector.parents(population, NO_STATE, 0, rng)[0] for _ in range(500)], minlength=5)
    assert firsts[2] < min(firsts[0], firsts[4])


def test_parents_are_one_slot_where_one_genome_holds_all() -> None:
    population = Population((3, 3, 3, 3), array([(1, 1)] * 4))
    first, second = Nsga2(4, 2).parents(population, NO_STATE, 0, np.random.default_rng(0))
    assert first == second


def test_parents_are_determined_by_the_generator() -> None:
    selector = Nsga2(30, 2)
    population = Population(tuple(range(30)), np.random.default_rng(5).random((30, 2)))

    def draws(seed: int) -> list[tuple[int, int]]:
        rng = np.random.default_rng(seed)
        return [selector.parents(population, NO_STATE, 0, rng) for _ in range(30)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
