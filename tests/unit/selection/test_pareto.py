"""Pareto code against brute force."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from evolver.selection import pareto
from tests.unit.selection import oracles
from tests.unit.selection.oracles import Point, array, constrained_points, grid_points


@given(grid_points(2, 2))
@settings(deadline=None)
def test_dominates_agrees_with_brute_force(points: list[Point]) -> None:
    a, b = points
    assert pareto.dominates(array([a])[0], array([b])[0]) == oracles.dominates(a, b)


@given(grid_points(1, 14))
@settings(deadline=None)
def test_non_dominated_and_ranks_agree_with_brute_force(points: list[Point]) -> None:
    expected = oracles.ranks(points)
    assert pareto.ranks(array(points)).tolist() == expected
    assert pareto.non_dominated(array(points)).tolist() == [rank == 0 for rank in expected]


@given(constrained_points(1, 14))
@settings(deadline=None)
def test_constrained_ranks_agree_with_brute_force(results: list[tuple[Point, float]]) -> None:
    points, violations = [point for point, _ in results], [violation for _, violation in results]
    expected = oracles.constrained_ranks(points, violations)
    assert pareto.constrained_ranks(array(points), np.array(violations)).tolist() == expected
    last = pareto.last_front(array(points), np.array(violations))
    assert last.tolist() == [i for i, rank in enumerate(expected) if rank == max(expected)]


@given(grid_points(1, 14))
@settings(deadline=None)
def test_crowding_agrees_with_brute_force(points: list[Point]) -> None:
    np.testing.assert_allclose(pareto.crowding_distance(array(points)), oracles.crowding(points))


@given(grid_points(1, 6))
@settings(deadline=None)
def test_hypervolume_agrees_with_inclusion_and_exclusion(points: list[Point]) -> None:
    reference = [Fraction(5)] * len(points[0])
    volume = pareto.hypervolume(array(points), np.full(len(points[0]), 5.0))
    assert volume == pytest.approx(float(oracles.hypervolume(oracles.exact(points), reference)))


@given(grid_points(1, 6))
@settings(deadline=None)
def test_contributions_agree_with_inclusion_and_exclusion(points: list[Point]) -> None:
    members = sorted(oracles.front(points))
    m = len(points[0])
    expected = [float(v) for v in oracles.contributions(oracles.exact(members), [Fraction(5)] * m)]
    np.testing.assert_allclose(
        pareto.contributions(array(members), np.full(m, 5.0)), expected, atol=1e-9 * 5.0**m
    )


def test_dominated_and_repeated_points_contribute_nothing() -> None:
    points = array([(1, 3), (3, 1), (3, 1), (4, 4)])
    reference = np.full(2, 5.0)
    assert pareto.contributions(points, reference).tolist() == [4.0, 0.0, 0.0, 0.0]
    assert pareto.estimated_contributions(points, reference)[1:].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("objectives", [1, 2, 3, 5, 6])
def test_estimated_contributions_are_near_the_exact_ones(objectives: int) -> None:
    rng = np.random.default_rng(3)
    sphere = np.abs(rng.normal(size=(20 if objectives > 1 else 1, objectives)))
    points = 1.0 - sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    reference = np.full(objectives, 1.1)
    exact = pareto.contributions(points, reference)
    estimate = pareto.estimated_contributions(points, reference)
    assert np.corrcoef(exact, estimate)[0, 1] > 0.9 if objectives > 1 else True
    assert estimate.sum() == pytest.approx(exact.sum(), rel=0.25)


def test_estimated_contribution_of_a_lone_point_is_its_box() -> None:
    box = pareto.estimated_contributions(np.zeros((1, 2)), np.ones(2))
    assert box == pytest.approx([1.0], rel=0.05)


@pytest.mark.parametrize("objectives", [1, 2, 10])
def test_no_points(objectives: int) -> None:
    nothing = np.empty((0, objectives))
    reference = np.ones(objectives)
    assert pareto.non_dominated(nothing).shape == (0,)
    assert pareto.ranks(nothing).shape == (0,)
    assert pareto.crowding_distance(nothing).shape == (0,)
    assert pareto.hypervolume(nothing, reference) == 0.0
    assert pareto.contributions(nothing, reference).shape == (0,)
    assert pareto.estimated_contributions(nothing, reference).shape == (0,)
