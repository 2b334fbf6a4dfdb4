"""Objectives that count by their logarithm: selectors work as on logarithms, values stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver import selection, terms
from evolver.errors import UnknownName
from evolver.selection import archive
from evolver.selection.archive import Front
from evolver.selection.base import Population
from evolver.selection.scale import LEAST, LINEAR, Scale, Scaled

SLOTS = 6
SECOND = Scale((1,))
RESULTS = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.integers(100, 10_000_000).map(float), st.sampled_from([0.0, 0.0, 0.5])),
    min_size=SLOTS,
    max_size=30,
)


def test_values_on_a_scale() -> None:
    values = np.array([[0.5, 1000.0], [np.nan, np.nan], [0.0, 0.0]])
    seen = SECOND.seen(values)
    np.testing.assert_array_equal(seen, [[0.5, 3.0], [np.nan, np.nan], [0.0, np.log10(LEAST)]])
    assert values[0, 1] == 1000.0
    np.testing.assert_array_equal(SECOND.seen(values[0]), [0.5, 3.0])
    assert LINEAR.seen(values) is values


@pytest.mark.parametrize("name", selection.SELECTORS)
@given(RESULTS)
@settings(deadline=None, max_examples=25)
def test_a_selector_works_as_on_logarithms(name: str, results: list[tuple[float, float, float]]) -> None:
    selector, plain = selection.load(name, SLOTS, 2, SECOND), selection.load(name, SLOTS, 2)
    assert isinstance(selector, Scaled)
    assert (selector.name, selector.slots) == (name, SLOTS)
    population, expected = Population.empty(SLOTS, 2), Population.empty(SLOTS, 2)
    state, expected_state = selector.initial_state(), plain.initial_state()
    values = {}
    for number, (error, params, violation) in enumerate(results):
        values[number] = (error, params)
        slot = number % SLOTS
        made = selector.insert(population, state, number, np.array(values[number]), slot, violation)
        vector = np.array([error, np.log10(params)])
        wanted = plain.insert(expected, expected_state, number, vector, slot, violation)
        assert (made.changes, made.state) == (wanted.changes, wanted.state)
        population, state = made.population, made.state
        expected, expected_state = wanted.population, wanted.state
    assert population.genome_ids == expected.genome_ids
    np.testing.assert_array_equal(population.violations, expected.violations)
    for key, row in zip(population.genome_ids, population.objectives.tolist(), strict=True):
        assert key is not None
        assert tuple(row) == values[key]
    drawn = [
        one.parents(who, its, 2, np.random.default_rng(5))
        for one, who, its in ((selector, population, state), (plain, expected, expected_state))
    ]
    assert drawn[0] == drawn[1]


def test_small_networks_are_told_apart_beside_large_ones() -> None:
    """Of a front from 1,000 to 1,000,000 parameters, one beside a large network leaves, not a small one."""
    points = [(0.5, 1e3), (0.4, 1e4), (0.3, 1e5), (0.2, 9e5), (0.19, 1e6)]
    population = Population.empty(5, 2)
    for slot, point in enumerate(points):
        population = population.with_slot(slot, slot, np.array(point))
    newcomer = np.array([0.45, 3e3])
    left = {
        scale: [change.left for change in selection.load("smsemoa", 5, 2, scale).insert(
            population, {}, 9, newcomer, 0).changes]
        for scale in (LINEAR, SECOND)
    }  # fmt: skip
    assert left[SECOND] == [3]
    assert left[LINEAR] != left[SECOND]


def test_a_full_front_loses_the_least_on_its_scale() -> None:
    front = Front((1, 2, 3, 4), np.array([(0.5, 1e3), (0.4, 1e4), (0.12, 9e5), (0.02, 1e6)]))
    made = archive.update(front, 5, np.array([0.45, 3e3]), 4, SECOND)
    assert [key for key, _ in made.left] == [3]
    linear = archive.update(front, 5, np.array([0.45, 3e3]), 4)
    assert [key for key, _ in linear.left] != [3]


def test_the_scale_is_that_of_the_objectives() -> None:
    assert terms.scale(("error", "loss")) == LINEAR
    assert terms.scale(("params", "error", "latency_ms:64", "flops")) == Scale((0, 2, 3))
    with pytest.raises(UnknownName, match="eror"):
        terms.scale(("eror",))
