"""Comparing two samples, and many pairs of them. Pure, and without scipy, which the control plane lacks.

mann_whitney  how likely two samples differ so much by chance.
a12           how often a value of one sample exceeds one of the other.
holm          probabilities of many tests, corrected for their number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate

EXACT_UP_TO = 40
"""Values in both samples together for which the test is exact."""


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided probability of the rank-sum test (Mann and Whitney 1947): 1.0 when nothing differs.

    Exact for small samples, with ties as well: of all ways to part the values into samples of these
    sizes, the share whose rank sum is at least as far from its mean. Else the normal approximation,
    corrected for ties and continuity. Raises ValueError for an empty sample.
    """
    if not first or not second:
        raise ValueError("a rank test needs a value in each sample")
    ranks = _doubled_ranks([*first, *second])
    n, total = len(first), len(ranks)
    deviation = abs(sum(ranks[:n]) - n * (total + 1))
    if total <= EXACT_UP_TO:
        sums = _sums_of_subsets(ranks, n)
        extreme = sum(ways for value, ways in sums.items() if abs(value - n * (total + 1)) >= deviation)
        return extreme / math.comb(total, n)
    ties = sum(number**3 - number for number in Counter(ranks).values())
    variance = n * (total - n) / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance == 0:
        return 1.0
    return math.erfc(max(deviation / 2 - 0.5, 0.0) / math.sqrt(2 * variance))


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each value, so that the mean ranks of ties are integers too."""
    counts = Counter(values)
    ordered = sorted(counts)
    ends = accumulate(counts[value] for value in ordered)
    doubled = {value: 2 * end - counts[value] + 1 for value, end in zip(ordered, ends, strict=True)}
    return [doubled[value] for value in values]


def _sums_of_subsets(numbers: Sequence[int], size: int) -> Counter[int]:
    """How many subsets of this size have each sum."""
    ways: list[Counter[int]] = [Counter({0: 1}), *(Counter() for _ in range(size))]
    for number in numbers:
        for chosen in range(size, 0, -1):
            for value, count in ways[chosen - 1].items():
                ways[chosen][value + number] += count
    return ways[size]


def a12(first: Sequence[float], second: Sequence[float]) -> float:
    """The share of pairs in which the value of ``first`` is greater, ties counted half.

    The effect size of Vargha and Delaney (2000): 0.5 without a difference. Cliff's delta is 2·A12 − 1.
    """
    wins = sum((a > b) + 0.5 * (a == b) for a in first for b in second)
    return wins / (len(first) * len(second))


def holm(probabilities: Sequence[float]) -> list[float]:
    """The adjusted probabilities of Holm (1979), in the order given."""
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    scaled = [min(1.0, (len(order) - i) * probabilities[k]) for i, k in enumerate(order)]
    adjusted = dict(zip(order, accumulate(scaled, max), strict=True))
    return [adjusted[i] for i in range(len(probabilities))]
