"""The sides of ``selection.py``: evolver's selectors, pymoo's algorithms and DEAP's NSGA-II.

All breed by the same operators with the same parameters: simulated binary crossover and polynomial mutation
on vectors within bounds (Deb and Agrawal 1995; Deb and Goyal 1996), as pymoo has them. A child that equals a
parent is bred again, as pymoo's elimination of duplicates does it.

Problem    a test problem with what its front is known to be.
evolve     a search by one of evolver's selectors, a child at a time.
pymoo_run  a search by one of pymoo's algorithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import moocore
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pymoo.algorithms.moo.moead import MOEAD
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.sms import SMSEMOA
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.problems import get_problem
from pymoo.termination import get_termination
from pymoo.util.ref_dirs import get_reference_directions

from evolver import selection
from evolver.selection.base import Population

CROSSOVER_PROBABILITY, CROSSOVER_ETA = 0.9, 15.0
MUTATION_ETA = 20.0
MARGIN = 0.1
"""How far the reference point lies behind the nadir of the true front, in units of its range."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A test problem of pymoo (Zitzler, Deb and Thiele 2000; Deb et al. 2005), for instance ``dtlz2-3``.

    Vectors are of the unit cube and are mapped to the bounds: both operators are the same either way.
    """

    name: str

    @property
    def objectives(self) -> int:
        return int(self.name.partition("-")[2] or 2)

    @cached_property
    def pymoo(self) -> Any:
        base, _, objectives = self.name.partition("-")
        return get_problem(base, **({"n_obj": int(objectives)} if objectives else {}))

    @property
    def variables(self) -> int:
        return int(self.pymoo.n_var)

    def bounded(self, vectors: Array) -> Array:
        """Vectors of the unit cube, mapped to the bounds."""
        low, high = self.pymoo.xl, self.pymoo.xu
        return low + vectors * (high - low)

    def evaluate(self, vectors: Array) -> Array:
        """The objectives (n, m) of vectors (n, variables)."""
        out: dict[str, Array] = {}
        self.pymoo._evaluate(self.bounded(vectors), out)
        found = out["F"]
        return np.column_stack(found) if isinstance(found, list) else found

    @cached_property
    def front(self) -> Array:
        """Points that lie densely on the true front."""
        known = _FRONTS[self.name.partition("-")[0]](self.objectives)
        return known[moocore.is_nondominated(known)]

    def hypervolume(self, points: Array) -> float:
        """The hypervolume of points over that of the true front, scaled by its ideal point and nadir."""
        return _hypervolume(self._scaled(points)) / self._best

    def _scaled(self, points: Array) -> Array:
        low, high = self.front.min(axis=0), self.front.max(axis=0)
        return (points - low) / (high - low)

    @cached_property
    def _best(self) -> float:
        return _hypervolume(self._scaled(self.front))


def _hypervolume(scaled: Array) -> float:
    return float(moocore.hypervolume(scaled, ref=np.full(scaled.shape[1], 1.0 + MARGIN)))


def _curve(f1: Array, f2: Array) -> Array:
    return np.column_stack([f1, f2])


def _sphere(objectives: int) -> Array:
    angles = np.linspace(0.0, math.pi / 2, 10_001 if objectives == 2 else 401)
    if objectives == 2:
        return _curve(np.cos(angles), np.sin(angles))
    a, b = (grid.ravel() for grid in np.meshgrid(angles, angles))
    return np.column_stack([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)])


def _regions(objectives: int) -> Array:
    """DTLZ7's front: disconnected regions of f_M = 2 (M − Σ f_i / 2 · (1 + sin 3π f_i))."""
    axis = np.linspace(0.0, 1.0, 10_001 if objectives == 2 else 501)
    free = np.column_stack([grid.ravel() for grid in np.meshgrid(*[axis] * (objectives - 1))])
    last = 2.0 * (objectives - (free / 2.0 * (1.0 + np.sin(3.0 * math.pi * free))).sum(axis=1))
    return np.column_stack([free, last])


_UNIT = np.linspace(0.0, 1.0, 10_001)
_FROM_ZDT6 = np.linspace(0.2807753191, 1.0, 10_001)
_FRONTS = {
    "zdt1": lambda m: _curve(_UNIT, 1.0 - np.sqrt(_UNIT)),
    "zdt2": lambda m: _curve(_UNIT, 1.0 - _UNIT**2),
    "zdt3": lambda m: _curve(_UNIT, 1.0 - np.sqrt(_UNIT) - _UNIT * np.sin(10.0 * math.pi * _UNIT)),
    "zdt4": lambda m: _curve(_UNIT, 1.0 - np.sqrt(_UNIT)),
    "zdt6": lambda m: _curve(_FROM_ZDT6, 1.0 - _FROM_ZDT6**2),
    "dtlz2": _sphere,
    "dtlz7": _regions,
}


# --- evolver ---


def evolve(
    name: str, problem: Problem, seed: int, *, population: int, evaluations: int
) -> tuple[Array, Array]:
    """The vectors (population, variables) that a selector ends with, and their objectives."""
    rng = np.random.default_rng(seed)
    selector = selection.load(name, population, problem.objectives)
    held, state = Population.empty(population, problem.objectives), selector.initial_state()
    vectors = rng.random((evaluations, problem.variables))
    for birth in range(evaluations):
        slot = birth % population
        if held.is_full:
            parents = selector.parents(held, state, slot, rng)
            if parents is not None:
                vectors[birth] = child(*(vectors[held.genome_ids[parent]] for parent in parents), rng)
        found = selector.insert(held, state, birth, problem.evaluate(vectors[birth : birth + 1])[0], slot)
        held, state = found.population, found.state
    return vectors[list(held.genome_ids)], held.objectives


def child(first: Array, second: Array, rng: Generator) -> Array:
    """A child of two vectors of the unit cube that equals neither."""
    while True:
        made = mutated(crossed(first, second, rng), rng)
        if not ((made == first).all() or (made == second).all()):
            return made


def crossed(first: Array, second: Array, rng: Generator) -> Array:
    """One of the two children of simulated binary crossover within [0, 1], each as likely.

    A variable is crossed with probability ½; either child may have the value near either parent.
    """
    n = len(first)
    drawn = rng.random(3 * n + 2)
    made = (first if drawn[-1] < 0.5 else second).copy()
    if drawn[-2] >= CROSSOVER_PROBABILITY:
        return made
    where = np.flatnonzero((drawn[:n] < 0.5) & (np.abs(first - second) > 1e-14))
    u, is_lower = drawn[n : 2 * n][where], drawn[2 * n : 3 * n][where] < 0.5
    a, b = first[where], second[where]
    low, high = np.minimum(a, b), np.maximum(a, b)
    gap = high - low
    beta = 1.0 + 2.0 * np.where(is_lower, low, 1.0 - high) / gap
    u *= 2.0 - beta ** -(CROSSOVER_ETA + 1.0)
    spread = np.where(u <= 1.0, u, 1.0 / (2.0 - u)) ** (1.0 / (CROSSOVER_ETA + 1.0)) * gap
    made[where] = 0.5 * (low + high + np.where(is_lower, -spread, spread))
    return made.clip(0.0, 1.0)


def mutated(vector: Array, rng: Generator) -> Array:
    """Polynomial mutation within [0, 1], in place, of each variable with probability 1 / n."""
    n = len(vector)
    for i in np.flatnonzero(rng.random(n) < 1.0 / n).tolist():
        u, x = float(rng.random()), float(vector[i])
        if u <= 0.5:
            x += (2.0 * u + (1.0 - 2.0 * u) * (1.0 - x) ** (MUTATION_ETA + 1.0)) ** (
                1.0 / (MUTATION_ETA + 1.0)
            ) - 1.0
        else:
            x += 1.0 - (2.0 * (1.0 - u) + 2.0 * (u - 0.5) * x ** (MUTATION_ETA + 1.0)) ** (
                1.0 / (MUTATION_ETA + 1.0)
            )
        vector[i] = min(max(x, 0.0), 1.0)
    return vector


# --- pymoo ---


def pymoo_operators(problem: Problem) -> dict[str, Any]:
    """The operators with the parameters of both sides."""
    return {
        "crossover": SBX(prob=CROSSOVER_PROBABILITY, eta=CROSSOVER_ETA),
        "mutation": PM(prob=1.0, prob_var=1.0 / problem.variables, eta=MUTATION_ETA),
    }


def _pymoo_algorithm(name: str, problem: Problem, population: int) -> Any:
    """pymoo's algorithm as it comes, but for the operators' parameters and the population's size."""
    operators = pymoo_operators(problem)
    if name == "MOEAD":
        return MOEAD(reference_directions(problem.objectives, population), **operators)
    return {"NSGA2": NSGA2, "SMSEMOA": SMSEMOA}[name](pop_size=population, **operators)


@cache
def reference_directions(objectives: int, population: int) -> Array:
    """Evenly spread: Das-Dennis for two objectives, Riesz energy for more, where that has no such size."""
    if objectives == 2:
        return get_reference_directions("das-dennis", 2, n_partitions=population - 1)
    return get_reference_directions("energy", objectives, population, seed=1)


def pymoo_run(
    name: str, problem: Problem, seed: int, *, population: int, evaluations: int
) -> tuple[Array, Array]:
    """The vectors (population, variables) that an algorithm of pymoo ends with, and their objectives."""
    algorithm = _pymoo_algorithm(name, problem, population)
    algorithm.setup(problem.pymoo, termination=get_termination("n_eval", evaluations), seed=seed)
    while algorithm.has_next():
        infills = algorithm.ask()
        algorithm.evaluator.eval(problem.pymoo, infills)
        algorithm.tell(infills=infills)
    return algorithm.pop.get("X", "F")
