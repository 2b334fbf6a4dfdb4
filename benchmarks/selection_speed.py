"""The speed part of ``selection.py``: how many children a second each side breeds and selects from.

A step is: choose parents, cross and mutate them, and take the child in with its objectives. Evaluations are
left out of the time, and with ``operators`` false crossover and mutation as well. evolver takes in one child
at a time, since results come one at a time. pymoo's NSGA-II is measured as it comes (a generation at a time),
and at the same job (one child at a time); DEAP's NSGA-II is generational.

start       the population that all sides start with.
of_evolver  seconds for each child, of one of evolver's selectors.
of_pymoo    the same of pymoo's NSGA-II.
of_deap     the same of DEAP's.
"""

from __future__ import annotations

import random
import time
from functools import cache

import numpy as np
from deap import base, creator, tools
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.termination import NoTermination
from selection_sides import (
    CROSSOVER_ETA,
    CROSSOVER_PROBABILITY,
    MUTATION_ETA,
    Array,
    Problem,
    child,
    evolve,
    pymoo_operators,
)

from evolver import selection
from evolver.selection.base import Population

creator.create("SelectionFitness", base.Fitness, weights=(-1.0, -1.0))
creator.create("SelectionVector", list, fitness=creator.SelectionFitness)


@cache
def start(problem: Problem, population: int) -> Array:
    """The vectors that all sides start with: ten generations old, so that ranks are as in a search."""
    return evolve("nsga2", problem, 0, population=population, evaluations=10 * population)[0]


def of_evolver(
    name: str, problem: Problem, population: int, children: int, seed: int, *, operators: bool = True
) -> float:
    """Seconds for each child of ``parents`` and ``insert``, with the operators between them."""
    rng = np.random.default_rng(seed)
    selector = selection.load(name, population, problem.objectives)
    held, state = Population.empty(population, problem.objectives), selector.initial_state()
    vectors = np.vstack([start(problem, population), np.empty((children, problem.variables))])
    seconds = 0.0
    for birth in range(len(vectors)):
        slot = birth % population
        began = time.perf_counter()
        if held.is_full:
            first, second = selector.parents(held, state, slot, rng)
            chosen = time.perf_counter()
            vectors[birth] = child(vectors[held.genome_ids[first]], vectors[held.genome_ids[second]], rng)
            bred = time.perf_counter() if operators else chosen
        objectives = problem.evaluate(vectors[birth : birth + 1])[0]
        evaluated = time.perf_counter()
        found = selector.insert(held, state, birth, objectives, slot)
        held, state = found.population, found.state
        if birth >= population:
            seconds += bred - began + time.perf_counter() - evaluated
    return seconds / children


def of_pymoo(problem: Problem, population: int, children: int, seed: int, *, offspring: int) -> float:
    """Seconds for each child of ``ask`` and ``tell``, so many ``offspring`` at a time."""
    algorithm = NSGA2(
        pop_size=population,
        n_offsprings=offspring,
        sampling=problem.bounded(start(problem, population)),
        **pymoo_operators(problem),
    )
    algorithm.setup(problem.pymoo, termination=NoTermination(), seed=seed)
    asked, seconds = -population, 0.0
    while asked < children:
        began = time.perf_counter()
        infills = algorithm.ask()
        bred = time.perf_counter()
        algorithm.evaluator.eval(problem.pymoo, infills)
        evaluated = time.perf_counter()
        algorithm.tell(infills=infills)
        asked += len(infills)
        if asked > 0:
            seconds += bred - began + time.perf_counter() - evaluated
    return seconds / asked


def of_deap(problem: Problem, population: int, children: int, seed: int, *, operators: bool = True) -> float:
    """Seconds for each child of DEAP's example of NSGA-II: selTournamentDCD, then selNSGA2 on both.

    ``population`` is a multiple of four, as selTournamentDCD asks for.
    """
    random.seed(seed)
    held = [creator.SelectionVector(vector) for vector in start(problem, population).tolist()]
    _evaluate(problem, held)
    held = tools.selNSGA2(held, population)
    bred, seconds = 0, 0.0
    while bred < children:
        began = time.perf_counter()
        chosen = tools.selTournamentDCD(held, population)
        selected = time.perf_counter()
        parents = [creator.SelectionVector(one) for one in chosen]
        for first, second in zip(parents[::2], parents[1::2], strict=True):
            if random.random() < CROSSOVER_PROBABILITY:
                tools.cxSimulatedBinaryBounded(first, second, CROSSOVER_ETA, 0.0, 1.0)
            tools.mutPolynomialBounded(first, MUTATION_ETA, 0.0, 1.0, 1.0 / problem.variables)
            tools.mutPolynomialBounded(second, MUTATION_ETA, 0.0, 1.0, 1.0 / problem.variables)
        seconds += (time.perf_counter() if operators else selected) - began
        _evaluate(problem, parents)
        began = time.perf_counter()
        held = tools.selNSGA2(held + parents, population)
        seconds += time.perf_counter() - began
        bred += population
    return seconds / bred


def _evaluate(problem: Problem, vectors: list[list[float]]) -> None:
    for vector, values in zip(vectors, problem.evaluate(np.array(vectors)), strict=True):
        vector.fitness.values = tuple(values)
