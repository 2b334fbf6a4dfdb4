"""MOEA/D: replacement against brute force, weights, neighbourhoods, parents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.selection.base import Change, Population
from evolver.selection.moead import BEATEN, MoeaD, neighbourhoods, weight_vectors
from evolver.selection.slots import BREAKS_MORE, EMPTY
from tests.unit.selection import oracles
from tests.unit.selection.oracles import (
    Point,
    array,
    check_only_changes_happened,
    constrained_points,
    population_of,
    tuples,
)


class SlowMoead:
    """MOEA/D with lists and loops."""

    def __init__(self, slots: int, objectives: int) -> None:
        self.weights = tuples(weight_vectors(slots, objectives))
        self.ids: list[int | None] = [None] * slots
        self.points: list[Point] = [(math.nan,) * objectives] * slots
        self.violations = [math.nan] * slots
        self.ideal: Point | None = None

    def neighbourhood(self, slot: int) -> list[int]:
        slots = len(self.weights)
        by_distance = sorted(
            range(slots),
            key=lambda other: (
                round(math.dist(self.weights[slot], self.weights[other]), 9),
                abs(other - slot),
            ),
        )
        return by_distance[: min(slots, max(2, slots // 5))]

    def insert(self, genome_id: int, point: Point, violation: float, slot: int) -> set[int]:
        """Returns the slots that changed hands."""
        if violation == 0.0:
            self.ideal = tuple(map(min, self.ideal or point, point))
        if None in self.ids:
            taken = {self.ids.index(None)}
        else:
            near = self.neighbourhood(slot)
            taken = {other for other in near if self.beats(point, violation, other)}
        for other in taken:
            self.ids[other], self.points[other], self.violations[other] = genome_id, point, violation
        return taken

    def beats(self, point: Point, violation: float, other: int) -> bool:
        """Jain and Deb 2014: by violation, and by the Tchebycheff value if both are feasible."""
        if violation > 0.0 or self.violations[other] > 0.0:
            return violation < self.violations[other]
        assert self.ideal is not None
        feasible = [p for p, broken in zip(self.points, self.violations, strict=True) if broken == 0.0]
        nadir = tuple(max(column) for column in zip(*feasible, strict=True))
        offered, held = (
            oracles.tchebycheff(one, self.ideal, nadir, self.weights[other])
            for one in (point, self.points[other])
        )
        return offered < held


@given(constrained_points(1, 40), st.integers(4, 16))
@settings(deadline=None, max_examples=60)
def test_insert_agrees_with_brute_force(results: list[tuple[Point, float]], slots: int) -> None:
    objectives = len(results[0][0])
    selector, slow = MoeaD(slots, objectives), SlowMoead(slots, objectives)
    population, state = Population.empty(slots, objectives), selector.initial_state()
    for birth, (point, violation) in enumerate(results, start=1):
        slot = (birth - 1) % slots
        before = population
        result = selector.insert(before, state, birth, array([point])[0], slot, violation)
        taken = slow.insert(birth, point, violation, slot)
        population, state = result.population, result.state
        assert [change.slot for change in result.changes] == sorted(taken)
        check_only_changes_happened(before, result, birth, point, violation)
        assert state["ideal"] == (None if slow.ideal is None else list(slow.ideal))
        if before.is_full:
            for change in result.changes:
                is_worse = before.violations[change.slot] > violation
                assert change.reason == (BREAKS_MORE if is_worse else BEATEN)


def test_fills_the_lowest_empty_slot_and_nothing_else() -> None:
    selector = MoeaD(4, 2)
    population = Population.empty(4, 2).with_slot(0, 1, np.ones(2)).with_slot(2, 3, np.full(2, 9.0))
    result = selector.insert(population, {"ideal": [1.0, 1.0]}, 7, np.zeros(2), 3)
    assert result.population.genome_ids == (1, 7, 3, None)
    assert result.changes == (Change(1, 7, None, EMPTY),)
    assert result.state == {"ideal": [0.0, 0.0]}


def test_an_equal_child_replaces_nobody_and_a_better_one_its_whole_neighbourhood() -> None:
    selector = MoeaD(10, 2)
    population = population_of(list(range(10)), [(1.0, 1.0)] * 10)
    state = {"ideal": [0.0, 0.0]}
    assert selector.insert(population, state, 99, np.array([1.0, 1.0]), 4).changes == ()
    better = selector.insert(population, state, 99, np.array([0.5, 0.5]), 4)
    assert [change.slot for change in better.changes] == selector.neighbourhoods[4].tolist()
    assert {change.reason for change in better.changes} == {BEATEN}
    assert population.genome_ids == tuple(range(10))


def test_a_zero_weight_still_prefers_the_better_value() -> None:
    selector = MoeaD(4, 2)
    corner = int(selector.weights[:, 0].argmin())
    population = population_of([1, 2, 3, 4], [(4, 0)] * 4)
    result = selector.insert(population, {"ideal": [0.0, 0.0]}, 9, np.array([3.0, 0.0]), corner)
    assert corner in [change.slot for change in result.changes]


def test_units_of_the_objectives_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((60, 2))
    held = []
    for units in ([1.0, 1.0], [1.0, 2.0**30]):
        selector = MoeaD(10, 2)
        population, state = Population.empty(10, 2), selector.initial_state()
        for i, point in enumerate(points):
            result = selector.insert(population, state, i, point * units, i % 10)
            population, state = result.population, result.state
        held.append(population.genome_ids)
    assert held[0] == held[1]


@pytest.mark.parametrize("slots", [4, 5, 20, 101])
def test_two_objectives_have_evenly_spaced_weights(slots: int) -> None:
    even = np.arange(slots) / (slots - 1)
    np.testing.assert_allclose(weight_vectors(slots, 2), np.column_stack([even, 1 - even]), atol=1e-15)


def test_one_objective_has_equal_weights_and_adjacent_neighbours() -> None:
    weights = weight_vectors(15, 1)
    assert weights.tolist() == [[1.0]] * 15
    near = neighbourhoods(weights)
    assert near[0].tolist() == [0, 1, 2]
    assert near[7].tolist() == [6, 7, 8]
    assert near[14].tolist() == [12, 13, 14]


@pytest.mark.parametrize("objectives", range(1, 11))
@pytest.mark.parametrize("slots", [4, 7, 30, 100])
def test_weights_of_any_shape(slots: int, objectives: int) -> None:
    weights = weight_vectors(slots, objectives)
    assert weights.shape == (slots, objectives)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    assert (weights >= 0).all()
    np.testing.assert_array_equal(weights, weight_vectors(slots, objectives))
    if objectives > 1:
        assert len(np.unique(weights, axis=0)) == slots
    if slots >= objectives:
        assert {int(row.argmax()) for row in weights if row.max() == 1.0} == set(range(objectives))
    if slots > objectives > 2:
        assert (weights > 0).all(axis=1).any()


@pytest.mark.parametrize(("slots", "size"), [(4, 2), (9, 2), (10, 2), (15, 3), (100, 20)])
def test_neighbourhood_size(slots: int, size: int) -> None:
    near = neighbourhoods(weight_vectors(slots, 3))
    assert near.shape == (slots, size)
    assert all(slot in row for slot, row in enumerate(near))


def test_parents_are_different_genomes_of_the_neighbourhood() -> None:
    selector = MoeaD(20, 2)
    population = population_of([1, 1, 1, 2, *range(3, 19)], [(1.0, 1.0)] * 20)
    rng = np.random.default_rng(0)
    near = set(selector.neighbourhoods[2].tolist())
    drawn = [selector.parents(population, {}, 2, rng) for _ in range(200)]
    assert all({first, second} <= near for first, second in drawn)
    assert all(population.genome_ids[a] != population.genome_ids[b] for a, b in drawn)
    assert {first for first, _ in drawn} == near


def test_parents_are_one_slot_where_one_genome_holds_the_neighbourhood() -> None:
    selector = MoeaD(20, 2)
    population = population_of([1] * 20, [(1.0, 1.0)] * 20)
    first, second = selector.parents(population, {}, 5, np.random.default_rng(0))
    assert first == second


def test_parents_are_determined_by_the_generator() -> None:
    selector = MoeaD(50, 2)
    population = population_of(list(range(50)), [(1.0, 1.0)] * 50)

    def draws(seed: int) -> list[tuple[int, int]]:
        rng = np.random.default_rng(seed)
        return [selector.parents(population, {}, slot, rng) for slot in range(50)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_the_first_feasible_child_takes_its_whole_neighbourhood() -> None:
    selector = MoeaD(10, 2)
    population = population_of(range(10), [(0.0, 0.0)] * 10, [0.5] * 10)
    result = selector.insert(population, {"ideal": None}, 99, np.array([7.0, 7.0]), 4)
    assert [change.slot for change in result.changes] == selector.neighbourhoods[4].tolist()
    assert {change.reason for change in result.changes} == {BREAKS_MORE}
    assert result.state == {"ideal": [7.0, 7.0]}
