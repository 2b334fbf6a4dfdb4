"""The front against brute force."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolver.selection.archive import DOMINATED, LEAST_CONTRIBUTION, Front, FrontUpdate, update
from tests.unit.selection import oracles
from tests.unit.selection.oracles import Point, array, grid_points

UNBOUNDED = 1_000


def insert_all(points: Sequence[Point], limit: int = UNBOUNDED) -> tuple[Front, list[FrontUpdate]]:
    """Insert the points in order; their genome ids count from 1."""
    front = Front.empty(len(points[0]))
    updates = []
    for genome_id, point in enumerate(points, start=1):
        updates.append(update(front, genome_id, array([point])[0], limit))
        front = updates[-1].front
    return front, updates


@given(grid_points(1, 25))
@settings(deadline=None)
def test_front_is_that_of_everything_inserted_and_the_first_of_equals_stays(points: list[Point]) -> None:
    front, _ = insert_all(points)
    members = oracles.tuples(front.objectives)
    assert set(members) == oracles.front(points)
    assert list(front.genome_ids) == [points.index(member) + 1 for member in members]


@given(grid_points(1, 20).flatmap(lambda points: st.tuples(st.just(points), st.permutations(points))))
@settings(deadline=None)
def test_order_of_insertion_does_not_matter(orders: tuple[list[Point], list[Point]]) -> None:
    first, second = (set(oracles.tuples(insert_all(order)[0].objectives)) for order in orders)
    assert first == second


@given(grid_points(1, 25), st.integers(1, 6))
@settings(deadline=None)
def test_updates_account_for_every_member(points: list[Point], limit: int) -> None:
    members: set[int] = set()
    for genome_id, step in enumerate(insert_all(points, limit)[1], start=1):
        if step.entered:
            members.add(genome_id)
        else:
            assert step.left == ()
        members -= {leaver for leaver, _ in step.left}
        assert members == set(step.front.genome_ids)
        assert len(step.front.genome_ids) == len(members) <= limit
        rows = oracles.tuples(step.front.objectives)
        assert rows == [points[i - 1] for i in step.front.genome_ids]
        assert oracles.front(rows) == set(rows)


@given(
    st.integers(2, 4).flatmap(
        lambda m: st.lists(st.tuples(*[st.integers(0, 50).map(float)] * m), min_size=5, max_size=12)
    )
)
@settings(deadline=None, max_examples=60)
def test_least_contributor_leaves_beyond_the_limit(points: list[Point]) -> None:
    limit = 3
    front = Front.empty(len(points[0]))
    for genome_id, point in enumerate(points, start=1):
        step = update(front, genome_id, array([point])[0], limit)
        joined = update(front, genome_id, array([point])[0], UNBOUNDED).front
        if len(joined.genome_ids) > limit:
            (leaver,) = set(joined.genome_ids) - set(step.front.genome_ids)
            volumes = scaled_contributions(oracles.tuples(joined.objectives))
            assert float(volumes[joined.genome_ids.index(leaver)]) == pytest.approx(float(min(volumes)))
            if leaver != genome_id:
                assert step.left[-1] == (leaver, LEAST_CONTRIBUTION)
        front = step.front


def scaled_contributions(points: list[Point]) -> list[Fraction]:
    rows = oracles.exact(points)
    columns = list(zip(*rows, strict=True))
    lows = [min(column) for column in columns]
    spans = [(max(column) - min(column)) or Fraction(1) for column in columns]
    scaled = [[(x - low) / span for x, low, span in zip(row, lows, spans, strict=True)] for row in rows]
    return oracles.contributions(scaled, [Fraction(11, 10)] * len(columns))


def test_dominated_members_leave_with_that_reason() -> None:
    front, _ = insert_all([(1, 4), (3, 3), (4, 2)])
    step = update(front, 9, np.array([2.0, 2.0]), UNBOUNDED)
    assert step.entered
    assert step.left == ((2, DOMINATED), (3, DOMINATED))
    assert step.front.genome_ids == (1, 9)


def test_an_equal_vector_does_not_enter() -> None:
    front, _ = insert_all([(1, 2)])
    step = update(front, 9, np.array([1.0, 2.0]), UNBOUNDED)
    assert not step.entered
    assert step.front is front


def test_one_objective_keeps_the_best_alone() -> None:
    front, updates = insert_all([(3,), (5,), (2,), (2,)], limit=1)
    assert front.genome_ids == (3,)
    assert updates[2].left == ((1, DOMINATED),)


def test_the_newcomer_itself_may_be_the_least() -> None:
    front, _ = insert_all([(0, 4), (2, 2), (4, 0)], limit=3)
    step = update(front, 9, np.array([1.95, 2.1]), 3)
    assert not step.entered
    assert step.left == ()
    assert step.front is front


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ([(0, 4), (1, 3), (3, 1), (4, 0)], (1, 2, 3)),
        ([(0, 4), (4, 0), (1, 3), (3, 1)], (1, 3, 4)),
    ],
)
def test_of_equally_small_contributions_the_latest_leaves(order: list[Point], kept: tuple[int, ...]) -> None:
    front, _ = insert_all(order, limit=3)
    assert front.genome_ids == kept


def test_extremes_of_a_long_front_stay_whatever_the_unit() -> None:
    x = np.random.default_rng(0).permutation(np.linspace(0, 1, 200))
    front, _ = insert_all([(value, 1e6 * (1 - value)) for value in x.tolist()], limit=20)
    assert front.objectives[:, 0].min() == 0.0
    assert front.objectives[:, 0].max() == 1.0


@pytest.mark.parametrize("objectives", [5, 10])
def test_many_objectives_stay_within_the_limit(objectives: int) -> None:
    points = oracles.tuples(np.random.default_rng(1).random((40, objectives)))
    first, _ = insert_all(points, limit=10)
    second, _ = insert_all(points, limit=10)
    assert len(first.genome_ids) == 10
    assert first.genome_ids == second.genome_ids
