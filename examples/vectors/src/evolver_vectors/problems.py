"""Standard problems of multi-objective optimisation, all objectives minimised.

ZDT1 to 4 and 6: Zitzler, Deb and Thiele, "Comparison of multiobjective evolutionary algorithms: empirical
results", 2000. DTLZ2 and 7: Deb, Thiele, Laumanns and Zitzler, "Scalable test problems for evolutionary
multiobjective optimization", 2005.

Problem   one problem: its usual box, and its functions.
PROBLEMS  all of them, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi

import numpy as np

from evolver_vectors.operators import Vector

Functions = Callable[[Vector, int], Vector]
"""The values of a vector, of shape (n,) → (m,), for m objectives."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem, of two to ``most`` objectives.

    ``n`` is the usual number of variables; the functions take any that is not less than the number of
    objectives. The first variable lies in [0, 1], the others within ``others``.
    """

    name: str
    n: int
    functions: Functions
    others: tuple[float, float] = (0.0, 1.0)
    most: int = 2

    def bounds(self, n: int) -> tuple[Vector, Vector]:
        """The lower and upper bounds of n variables, each of shape (n,)."""
        low, high = self.others
        return np.array([0.0, *[low] * (n - 1)]), np.array([1.0, *[high] * (n - 1)])


def zdt1(x: Vector, m: int) -> Vector:
    """A convex front: f2 = 1 − √f1."""
    g = _zdt_g(x)
    return np.array([x[0], g * (1 - np.sqrt(x[0] / g))])


def zdt2(x: Vector, m: int) -> Vector:
    """A concave front: f2 = 1 − f1²."""
    g = _zdt_g(x)
    return np.array([x[0], g * (1 - (x[0] / g) ** 2)])


def zdt3(x: Vector, m: int) -> Vector:
    """A front of five pieces."""
    g, f1 = _zdt_g(x), x[0]
    return np.array([f1, g * (1 - np.sqrt(f1 / g) - f1 / g * np.sin(10 * pi * f1))])


def zdt4(x: Vector, m: int) -> Vector:
    """The front of ZDT1 behind 21⁹ local ones."""
    rest = x[1:]
    g = 1 + 10 * rest.size + np.sum(rest**2 - 10 * np.cos(4 * pi * rest))
    return np.array([x[0], g * (1 - np.sqrt(x[0] / g))])


def zdt6(x: Vector, m: int) -> Vector:
    """A concave front on which solutions are uneven."""
    f1 = 1 - np.exp(-4 * x[0]) * np.sin(6 * pi * x[0]) ** 6
    g = 1 + 9 * np.mean(x[1:]) ** 0.25
    return np.array([f1, g * (1 - (f1 / g) ** 2)])


def _zdt_g(x: Vector) -> float:
    return float(1 + 9 * np.mean(x[1:]))


def dtlz2(x: Vector, m: int) -> Vector:
    """A front that is the part of the unit sphere where no coordinate is negative."""
    angles = x[: m - 1] * pi / 2
    radius = 1 + np.sum((x[m - 1 :] - 0.5) ** 2)
    cosines = np.concatenate([[1.0], np.cumprod(np.cos(angles))])
    sines = np.concatenate([np.sin(angles), [1.0]])
    return np.asarray(radius * cosines[::-1] * sines[::-1])


def dtlz7(x: Vector, m: int) -> Vector:
    """A front of 2^(m−1) pieces."""
    first = x[: m - 1]
    g = 1 + 9 * np.mean(x[m - 1 :])
    h = m - np.sum(first / (1 + g) * (1 + np.sin(3 * pi * first)))
    return np.concatenate([first, [(1 + g) * h]])


PROBLEMS: Mapping[str, Problem] = {
    problem.name: problem
    for problem in (
        Problem("zdt1", 30, zdt1),
        Problem("zdt2", 30, zdt2),
        Problem("zdt3", 30, zdt3),
        Problem("zdt4", 10, zdt4, others=(-5.0, 5.0)),
        Problem("zdt6", 10, zdt6),
        Problem("dtlz2", 12, dtlz2, most=3),
        Problem("dtlz7", 22, dtlz7, most=3),
    )
}
