"""Random search."""

from __future__ import annotations

import numpy as np

from evolver.selection.base import Change, Population
from evolver.selection.baseline import LATER, RandomSearch
from evolver.selection.slots import EMPTY


def test_results_take_their_slots_however_good_they_are() -> None:
    selector = RandomSearch(4, 1)
    population = Population.empty(4, 1)
    for birth in range(4):
        result = selector.insert(population, {}, birth, np.array([0.0]), 3)
        assert result.changes == (Change(birth, birth, None, EMPTY),)
        population = result.population
    result = selector.insert(population, {}, 9, np.array([5.0]), 2, violation=1.0)
    assert result.changes == (Change(2, 9, 2, LATER),)
    assert result.population.violations.tolist() == [0.0, 0.0, 1.0, 0.0]
    result = selector.insert(result.population, {}, 10, np.array([5.0]), 2)
    assert result.changes == (Change(2, 10, 9, LATER),)


def test_children_have_no_parents() -> None:
    population = Population.empty(4, 1)
    for slot in range(4):
        population = population.with_slot(slot, slot, np.array([1.0]))
    assert RandomSearch(4, 1).parents(population, {}, 0, np.random.default_rng(0)) is None
