"""How well one ranking foretells another: Kendall's tau-b, its interval, and what chance would do. Pure.

Correlation  the coefficient with its interval and probability.
kendall      all of it, from pairs of values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

LEAST_PAIRS = 3
"""Of two, every ranking agrees or disagrees with every other one."""
CONFIDENCE = 0.95
RESAMPLES = 5_000
EXACT_UP_TO = 8
"""Pairs for which the probability is counted out over all permutations: 40,320."""

Signs = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Correlation:
    """Kendall's tau-b of ``pairs`` pairs, −1 to 1.

    ``low`` to ``high`` is its bootstrap interval of 95 %; ``probability`` is how often chance would rank at
    least as much alike, or as contrarily.
    """

    tau: float
    low: float
    high: float
    probability: float
    pairs: int


def kendall(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """The rank correlation of two values of the same things (Kendall 1945, which corrects for ties).

    None where there is none: for fewer than three pairs, or when all values of one side are equal. The
    interval is the percentile bootstrap over pairs, from a fixed seed; few pairs make it too narrow. The
    probability is exact for up to eight pairs, else the normal approximation with the variance for ties
    (Kendall 1970).
    """
    pairs = len(first)
    signs = _signs(first), _signs(second)
    if pairs < LEAST_PAIRS or not all(one.any() for one in signs):
        return None
    tau = float(_taus(np.ones((1, pairs)), *signs)[0])
    rng = np.random.default_rng(0)
    times = rng.multinomial(pairs, [1 / pairs] * pairs, RESAMPLES).astype(np.float64)
    taus = _taus(times, *signs)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(taus, [tail, 100 - tail])
    return Correlation(tau, float(low), float(high), _probability(first, second, *signs), pairs)


def _signs(values: Sequence[float]) -> Signs:
    """Whether each value is above (1), below (-1) or equal to each other one, shape (n, n)."""
    array = np.asarray(values, np.float64)
    return np.sign(array[:, np.newaxis] - array)


def _taus(times: NDArray[np.float64], first: Signs, second: Signs) -> NDArray[np.float64]:
    """The coefficients of resamples, in which pair j comes ``times[i, j]`` times; NaN where all is tied."""
    agreement, untied_first, untied_second = (
        np.einsum("ij,ij->i", times @ matrix, times) for matrix in (first * second, first**2, second**2)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        taus: NDArray[np.float64] = agreement / np.sqrt(untied_first * untied_second)
    return taus


def _probability(
    first: Sequence[float], second: Sequence[float], signs_first: Signs, signs_second: Signs
) -> float:
    """Two-sided, of the sum of agreeing less disagreeing pairs."""
    n = len(first)
    observed = abs(float((signs_first * signs_second).sum())) / 2
    if n <= EXACT_UP_TO:
        orders = np.array(list(permutations(range(n))))
        permuted = signs_second[orders[:, :, np.newaxis], orders[:, np.newaxis, :]]
        sums = np.abs(np.einsum("jk,ijk->i", signs_first, permuted)) / 2
        return float((sums >= observed - 0.5).mean())
    ties = [[number for number in Counter(values).values() if number > 1] for values in (first, second)]
    spread = [sum(t * (t - 1) * (2 * t + 5) for t in one) for one in ties]
    equal = [sum(t * (t - 1) for t in one) for one in ties]
    triples = [sum(t * (t - 1) * (t - 2) for t in one) for one in ties]
    variance = (
        (n * (n - 1) * (2 * n + 5) - sum(spread)) / 18
        + equal[0] * equal[1] / (2 * n * (n - 1))
        + triples[0] * triples[1] / (9 * n * (n - 1) * (n - 2))
    )
    return math.erfc(observed / math.sqrt(2 * variance))
