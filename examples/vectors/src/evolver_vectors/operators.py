"""Crossover and mutation of real vectors within a box, as in Deb's NSGA-II code.

All arrays are of shape (n,). ``u`` are uniform numbers in [0, 1).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def sbx(near: Vector, far: Vector, low: Vector, high: Vector, eta: float, u: Vector) -> Vector:
    """The child on the side of ``near``, each variable within [low, high].

    Bounded simulated binary crossover (Deb and Agrawal 1995). ``u`` decides how far the children spread.
    """
    distance = np.abs(far - near)
    is_same = distance == 0
    room = np.where(near < far, near - low, high - near)
    alpha = 2 - np.power(1 + 2 * room / np.where(is_same, 1, distance), -(eta + 1))
    spread = np.where(u * alpha <= 1, u * alpha, 1 / (2 - u * alpha)) ** (1 / (eta + 1))
    child = 0.5 * (near + far + spread * (near - far))
    return np.where(is_same, near, np.clip(child, low, high))


def polynomial_mutation(x: Vector, low: Vector, high: Vector, eta: float, u: Vector) -> Vector:
    """A vector near ``x``, each variable within [low, high]; where ``u`` is 0.5, it stays as it is.

    Bounded polynomial mutation (Deb and Goyal 1996).
    """
    width, power = high - low, eta + 1
    is_left = u < 0.5
    rest = np.where(is_left, high - x, x - low) / width
    v = np.where(is_left, u, 1 - u)
    step = 1 - (2 * v + (1 - 2 * v) * rest**power) ** (1 / power)
    return np.clip(np.where(is_left, x - step * width, x + step * width), low, high)
