"""Kendall's tau-b against scipy, its probability against counting, its interval where it is known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from evolver.correlation import kendall


def drawn(seed: int, pairs: int) -> tuple[list[float], list[float]]:
    """Values with ties that go together somewhat."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 6, pairs)
    return first.tolist(), (first + rng.integers(0, 6, pairs)).tolist()


@pytest.mark.parametrize("pairs", [4, 7, 30, 200])
@pytest.mark.parametrize("seed", range(3))
def test_the_coefficient_is_scipys(seed: int, pairs: int) -> None:
    first, second = drawn(seed, pairs)
    found = kendall(first, second)
    assert found is not None
    assert found.tau == pytest.approx(stats.kendalltau(first, second).statistic)
    assert found.low <= found.tau <= found.high
    assert found.pairs == pairs


@pytest.mark.parametrize("seed", range(3))
def test_the_probability_of_few_pairs_is_counted_out(seed: int) -> None:
    first, second = drawn(seed, 6)
    found = kendall(first, second)
    assert found is not None
    taus = [abs(stats.kendalltau(first, list(order)).statistic) for order in permutations(second)]
    assert found.probability == pytest.approx(np.mean(np.array(taus) >= abs(found.tau) - 1e-9))


@pytest.mark.parametrize("pairs", [9, 40])
def test_the_probability_of_many_pairs_is_scipys(pairs: int) -> None:
    first, second = drawn(1, pairs)
    found = kendall(first, second)
    assert found is not None
    expected = stats.kendalltau(first, second, method="asymptotic").pvalue
    assert found.probability == pytest.approx(expected)


def test_three_of_a_kind_are_ranked_alike_by_chance_every_third_time() -> None:
    found = kendall([1, 2, 3], [1, 2, 3])
    assert found is not None
    assert found.tau == 1.0
    assert found.probability == pytest.approx(2 / 6)


def test_where_there_is_no_correlation() -> None:
    assert kendall([], []) is None
    assert kendall([1, 2], [1, 2]) is None
    assert kendall([1, 1, 1], [1, 2, 3]) is None
    assert kendall([1, 2, 3], [5, 5, 5]) is None


def test_the_interval_is_wide_for_noise_and_narrow_for_order() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=60)
    noise, order = kendall(x.tolist(), rng.normal(size=60).tolist()), kendall(x.tolist(), (x**3).tolist())
    assert noise is not None
    assert order is not None
    assert noise.low < 0 < noise.high
    assert (order.low, order.high) == (1.0, 1.0)
    assert kendall(x.tolist(), (-x).tolist()).tau == -1.0  # type: ignore[union-attr]
