"""SMS-EMOA: survival against brute force, parents."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.selection.base import Population
from evolver.selection.smsemoa import LEAST, SmsEmoa
from tests.unit.selection import oracles
from tests.unit.selection.oracles import (
    Point,
    check_survival,
    constrained_points,
    population_of,
)

NO_STATE: dict[str, Any] = {}


@given(constrained_points(1, 14), st.integers(4, 6))
@settings(deadline=None, max_examples=40)
def test_insert_agrees_with_brute_force(results: list[tuple[Point, float]], slots: int) -> None:
    check_survival(SmsEmoa(slots, len(results[0][0])), results, worst_rows, LEAST)


def worst_rows(points: list[Point], violations: list[float]) -> list[int]:
    """The rows of the last front that may leave: all, where contributions are only estimated."""
    ranks = oracles.constrained_ranks(points, violations)
    last = [i for i, rank in enumerate(ranks) if rank == max(ranks)]
    if len(points[0]) > 4:
        return last
    volumes = contributions([points[i] for i in last])
    return [i for i, volume in zip(last, volumes, strict=True) if float(volume) <= float(min(volumes)) + 1e-9]


def contributions(points: list[Point]) -> list[Fraction]:
    """What the hypervolume loses with each, scaled to their range, up to one range behind it."""
    rows = oracles.exact(points)
    columns = list(zip(*rows, strict=True))
    lows = [min(column) for column in columns]
    spans = [(max(column) - min(column)) or Fraction(1) for column in columns]
    scaled = [[(x - low) / span for x, low, span in zip(row, lows, spans, strict=True)] for row in rows]
    return oracles.contributions(scaled, [Fraction(2)] * len(columns))


def test_the_dominated_leave_first() -> None:
    population = population_of([1, 2, 3, 4], [(0, 3), (0.1, 2.9), (3, 0), (5, 5)])
    result = SmsEmoa(4, 2).insert(population, NO_STATE, 9, np.array([0.2, 2.8]), 0)
    assert [(change.slot, change.left) for change in result.changes] == [(3, 4)]


def test_the_least_contributor_leaves_and_extremes_stay() -> None:
    population = population_of([1, 2, 3, 4], [(0, 10), (4, 6), (5, 5), (10, 0)])
    result = SmsEmoa(4, 2).insert(population, NO_STATE, 9, np.array([2.0, 7.0]), 0)
    assert [(change.slot, change.left) for change in result.changes] == [(1, 2)]


def test_of_equally_bad_ones_the_newcomer_leaves() -> None:
    population = population_of([1, 2, 3, 4], [(0, 10), (2, 6), (6, 2), (10, 0)])
    result = SmsEmoa(4, 2).insert(population, NO_STATE, 9, np.array([12.0, 12.0]), 0)
    assert result.changes == ()
    assert result.population is population


def test_units_do_not_matter() -> None:
    points = np.random.default_rng(0).random((80, 2))
    held = []
    for units in ([1.0, 1.0], [1.0, 2.0**30]):
        selector = SmsEmoa(10, 2)
        population = Population.empty(10, 2)
        for i, point in enumerate(points):
            population = selector.insert(population, NO_STATE, i, point * units, 0).population
        held.append(population.genome_ids)
    assert held[0] == held[1]


@pytest.mark.parametrize("objectives", [1, 2, 3, 5, 10])
def test_any_number_of_objectives_converges(objectives: int) -> None:
    selector = SmsEmoa(8, objectives)
    population = Population.empty(8, objectives)
    rng = np.random.default_rng(0)
    for i in range(60):
        shift = 1.0 if i < 30 else 0.0
        population = selector.insert(population, NO_STATE, i, rng.random(objectives) + shift, 0).population
    assert population.objectives.max() < 1.0


def test_parents_are_different_genomes_and_one_slot_where_one_genome_holds_all() -> None:
    rng = np.random.default_rng(0)
    population = population_of([7, 7, *range(6)], [(float(i), float(8 - i)) for i in range(8)])
    selector = SmsEmoa(8, 2)
    drawn = [selector.parents(population, NO_STATE, 0, rng) for _ in range(300)]
    assert all(population.genome_ids[a] != population.genome_ids[b] for a, b in drawn)
    assert {first for first, _ in drawn} == set(range(8))
    first, second = SmsEmoa(4, 2).parents(population_of([3] * 4, [(1, 1)] * 4), NO_STATE, 0, rng)
    assert first == second
