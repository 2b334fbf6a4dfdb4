"""Rank test, effect size and correction, against brute force and scipy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from evolver.statistics import a12, holm, mann_whitney


def by_brute_force(first: list[float], second: list[float]) -> float:
    ranks = stats.rankdata([*first, *second])
    mean = len(first) * (len(ranks) + 1) / 2
    sums = [sum(ranks[list(chosen)]) for chosen in combinations(range(len(ranks)), len(first))]
    observed = abs(sum(ranks[: len(first)]) - mean)
    return float(np.mean([abs(one - mean) >= observed - 1e-9 for one in sums]))


@pytest.mark.parametrize("seed", range(8))
def test_a_small_sample_is_tested_exactly_with_ties_as_well(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 5, 4).tolist(), rng.integers(1, 7, 6).tolist()
    assert mann_whitney(first, second) == pytest.approx(by_brute_force(first, second))


def test_without_ties_as_scipy_does() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=12).tolist(), rng.normal(0.7, size=15).tolist()
    assert mann_whitney(first, second) == pytest.approx(
        stats.mannwhitneyu(first, second, method="exact").pvalue
    )


def test_a_large_sample_as_scipy_does() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 30, 50).tolist(), rng.integers(3, 33, 60).tolist()
    expected = stats.mannwhitneyu(first, second, method="asymptotic").pvalue
    assert mann_whitney(first, second) == pytest.approx(expected)
    assert mann_whitney([1.0] * 30, [1.0] * 30) == 1.0


def test_effect_size() -> None:
    assert a12([3, 4], [1, 2]) == 1.0
    assert a12([1, 2], [1, 2]) == 0.5
    assert a12([1, 3], [2, 3]) == pytest.approx((0 + 0 + 1 + 0.5) / 4)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
