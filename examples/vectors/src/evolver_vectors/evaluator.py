"""An evaluator for each standard problem. Needs neither data nor torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from evolver import objectives
from evolver.errors import EnvironmentFault, EvaluationFailed
from evolver.evaluation import Context, DatasetRef, Outcome, Task
from evolver_vectors.operators import Vector
from evolver_vectors.problems import PROBLEMS, Problem
from evolver_vectors.space import VectorSpace


@dataclass(frozen=True)
class ProblemEvaluator:
    """Implements ``evolver.evaluation.Evaluator`` for vectors: measures ``f1`` to ``fm`` of a problem.

    m is the number that the search's objectives ask for, as far as the problem has so many.
    """

    problem: Problem

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        """None: no data are needed."""
        return None

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        """Raises EnvironmentFault when one of these is no function of the problem."""
        known = [f"f{number}" for number in range(1, self.problem.most + 1)]
        if others := sorted(set(measures) - set(known)):
            raise EnvironmentFault(
                f"the evaluator '{self.problem.name}' measures {', '.join(known)}, not {', '.join(others)}"
            )

    def evaluate(self, task: Task, context: Context) -> Outcome:
        """The functions' values. Raises EvaluationFailed for a genome that is no point of the problem."""
        x = self._point(task)
        m = self._number(objectives.measures(objectives.load(task.objectives)))
        if x.size < m:
            raise EvaluationFailed(f"{m} objectives need as many variables; the space has {x.size}")
        context.started(dtype="fp64", resumed_from_epoch=None)
        return Outcome(
            {f"f{i}": float(value) for i, value in enumerate(self.problem.functions(x, m), start=1)}
        )

    def _point(self, task: Task) -> Vector:
        name = self.problem.name
        if task.space != VectorSpace.name:
            raise EvaluationFailed(
                f"the evaluator '{name}' takes vectors, not genomes of the space '{task.space}'; "
                f"give --space {name}"
            )
        x = np.array(VectorSpace.from_settings(task.space_settings).from_json(task.code))
        lower, upper = self.problem.bounds(x.size)
        if np.any((x < lower) | (x > upper)):
            raise EvaluationFailed(f"the vector leaves the box of '{name}'; give --space {name}")
        return x

    def _number(self, measures: Iterable[str]) -> int:
        """How many functions: two, or up to the last that is asked for."""
        return max([2, *(int(measure.removeprefix("f")) for measure in measures)])


def _maker(name: str) -> Callable[[], ProblemEvaluator]:
    return partial(ProblemEvaluator, PROBLEMS[name])


zdt1 = _maker("zdt1")
zdt2 = _maker("zdt2")
zdt3 = _maker("zdt3")
zdt4 = _maker("zdt4")
zdt6 = _maker("zdt6")
dtlz2 = _maker("dtlz2")
dtlz7 = _maker("dtlz7")
