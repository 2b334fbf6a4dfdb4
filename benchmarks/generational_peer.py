"""The peer of ``asynchrony.py``: pymoo's NSGA-II, a generation at a time, in the same virtual time.

The children of a generation are evaluated by a list schedule: whoever is free first takes the next one. The
next generation is bred when all of them have ended, since NSGA-II selects from whole generations. The
algorithm's own computing time is not charged.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.termination import get_termination
from vector_space import (
    CROSSOVER_ETA,
    CROSSOVER_PROBABILITY,
    MUTATION_ETA,
    MUTATION_PROBABILITY,
    VARIABLE_PROBABILITY,
    EvaluationTime,
    Problem,
)


@dataclass(frozen=True, slots=True)
class Generations:
    """What came of the peer's search: ``ended_s`` (n,) ascending, and the ``objectives`` (n, m) of those."""

    ended_s: NDArray[np.float64]
    objectives: NDArray[np.float64]
    utilisation: float


@cache
def run(
    problem: Problem, time: EvaluationTime, workers: int, *, population: int, evaluations: int, seed: int
) -> Generations:
    """NSGA-II on so many workers, until so many evaluations have ended; run once for all of our selectors."""
    rng = np.random.default_rng([seed, workers])
    known = problem.pymoo()
    algorithm = NSGA2(
        pop_size=population,
        crossover=SBX(
            prob=CROSSOVER_PROBABILITY, eta=CROSSOVER_ETA, prob_var=VARIABLE_PROBABILITY,
            prob_bin=VARIABLE_PROBABILITY,
        ),
        mutation=PM(prob=MUTATION_PROBABILITY, eta=MUTATION_ETA),
    )  # fmt: skip
    algorithm.setup(known, termination=get_termination("n_eval", evaluations), seed=seed)
    now, busy = 0.0, 0.0
    ended: list[NDArray[np.float64]] = []
    objectives: list[NDArray[np.float64]] = []
    while algorithm.has_next():
        children = algorithm.ask()
        algorithm.evaluator.eval(known, children)
        durations = [time.of(x[0], rng) for x in children.get("X")]
        ends = now + list_schedule(durations, workers)
        ended.append(ends)
        objectives.append(children.get("F"))
        now, busy = float(ends.max()), busy + sum(durations)
        algorithm.tell(infills=children)
    times = np.concatenate(ended)
    order = np.argsort(times, kind="stable")
    return Generations(times[order], np.concatenate(objectives)[order], busy / (workers * now))


def list_schedule(durations: list[float], workers: int) -> NDArray[np.float64]:
    """When each of these ends, taken in order by whoever of the workers is free first; from 0."""
    free = [0.0] * workers
    heapify(free)
    ends = np.empty(len(durations))
    for i, duration in enumerate(durations):
        ends[i] = free[0] + duration
        heapreplace(free, ends[i])
    return ends
