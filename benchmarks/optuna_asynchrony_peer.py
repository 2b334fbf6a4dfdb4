"""Optuna's NSGA-II with many workers: how many of its results are never candidates for parents.

A trial belongs to the generation in which it was asked for. The parents of the next one are chosen once, as
soon as ``POPULATION`` trials of a generation are complete; what completes later in it is not looked at again.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import TrialState
from vector_space import EvaluationTime, Problem

POPULATION = 50
"""Optuna's default."""


class Recording(NSGAIISampler):
    """Notes which trials are candidates when the parents of a generation are chosen."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.candidates: set[int] = set()
        self.chosen_from: set[int] = set()

    def select_parent(self, study: Any, generation: int) -> Any:
        trials = self.get_population(study, generation - 1)
        self.candidates |= {trial.number for trial in trials if trial.state == TrialState.COMPLETE}
        self.chosen_from.add(generation - 1)
        return super().select_parent(study, generation)


def never_considered(
    problem: Problem, time: EvaluationTime, workers: int, *, trials: int, seed: int
) -> float:
    """The share of the results of generations that are over which were no candidates for parents."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng = np.random.default_rng([seed, workers])
    sampler = Recording(population_size=POPULATION, seed=seed)
    known = problem.pymoo()
    study = optuna.create_study(directions=["minimize"] * known.n_obj, sampler=sampler)
    variables = {f"x{i:02}": FloatDistribution(0.0, 1.0) for i in range(problem.variables)}
    under_way: list[tuple[float, int, Any]] = []

    def ask(now: float) -> None:
        trial = study.ask(variables)
        heappush(under_way, (now + time.of(trial.params["x00"], rng), trial.number, trial))

    for _ in range(workers):
        ask(0.0)
    for _ in range(trials):
        now, _, trial = heappop(under_way)
        study.tell(trial, known.evaluate(np.array(list(trial.params.values()))).tolist())
        ask(now)
    over = {
        trial.number
        for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        if sampler.get_trial_generation(study, trial) in sampler.chosen_from
    }
    return 1.0 - len(over & sampler.candidates) / len(over)
