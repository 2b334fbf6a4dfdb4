"""Rarities: one over the density of holders, bounded where a Gaussian is not."""

from __future__ import annotations

import numpy as np
import pytest

from evolver.density import rarities


def column(*values: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array(values, dtype=float)[:, None]


def test_the_density_is_that_of_a_gaussian_kernel_estimate() -> None:
    holders = np.exp(np.array([[1.0], [2.0], [2.5], [4.0]])) - 1.0
    bandwidth = np.std([1.0, 2.0, 2.5, 4.0]) * 4 ** (-1 / 5)
    asked = 2.2
    density = np.mean([np.exp(-0.5 * ((asked - x) / bandwidth) ** 2) for x in (1.0, 2.0, 2.5, 4.0)])
    assert rarities(np.exp([[asked]]) - 1.0, holders) == pytest.approx([1.0 / density])


def test_a_gap_is_rarer_than_a_crowd() -> None:
    holders = column(100, 101, 102, 103, 104, 105, 10_000)
    in_crowd, in_gap = rarities(column(102, 1_500), holders)
    assert in_gap > 3 * in_crowd


def test_far_out_counts_as_the_edge() -> None:
    holders = column(100, 100, 100, 5_000)
    below, low, high, above = rarities(column(1, 100, 5_000, 10**9), holders)
    assert (below, above) == (low, high)


def test_nothing_outweighs_by_more_than_the_number_of_holders() -> None:
    rng = np.random.default_rng(1)
    diagonal = 10 ** rng.uniform(3, 6, 30)
    holders = np.stack([diagonal, 2 * diagonal], axis=1)
    corner = np.array([[diagonal.min(), 2 * diagonal.max()]])
    values = rarities(np.vstack([corner, holders]), holders)
    assert values.argmax() == 0
    assert values.max() / values.min() <= 30


def test_scale_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    params = 10 ** rng.uniform(3, 6, 10)
    points, holders = params[:3, None], params[3:, None]
    assert rarities(1e3 * points, 1e3 * holders) == pytest.approx(rarities(points, holders), rel=0.01)


def test_what_does_not_vary_says_nothing() -> None:
    assert rarities(column(1, 50, 10**6), column(50, 50, 50)).tolist() == [1.0, 1.0, 1.0]
    assert rarities(column(1, 50), column(50)).tolist() == [1.0, 1.0]
    one = column(10, 100, 1_000)
    both = np.hstack([one, column(7, 7, 7)])
    points = column(30, 3_000)
    assert rarities(np.hstack([points, column(9, 1)]), both) == pytest.approx(rarities(points, one))
