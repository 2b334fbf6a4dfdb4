"""A synthetic evaluator, without torch and data: for dry runs, load tests and tests of the machinery.

Error and loss are smooth functions of what the genome costs, plus a share that its phenotype's hash
decides: larger networks err less, so that a search has a real trade-off to find. The same phenotype
always has the same values.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from evolver.errors import EnvironmentFault, HandedBack
from evolver.evaluation import Context, DatasetRef, Epoch, Outcome, Task
from evolver.recipe import Recipe
from evolver.space import Cost
from workers.individual import individual_of, recipe_of

SECONDS_VARIABLE = "EVOLVER_SURROGATE_SECONDS"
"""How long an evaluation takes: a number, or ``LOW:HIGH``, drawn for each task by its seed. Default 0."""
MEASURES = frozenset({"validation_error", "validation_loss", "params", "flops", "train_s"})
SLICE_S = 0.02
"""The longest that a request to stop waits."""


@dataclass(frozen=True, slots=True)
class Landscape:
    """The values that a genome reaches after its last epoch."""

    error: float
    loss: float

    @classmethod
    def of(cls, cost: Cost, phenotype: str) -> Landscape:
        """Error falls from 0.8 towards 0.02 as parameters are added; the phenotype's hash adds up to 0.1."""
        digest = hashlib.sha256(phenotype.encode()).digest()
        luck = int.from_bytes(digest[:4]) / 2**32
        sharpness = int.from_bytes(digest[4:8]) / 2**32
        error = 0.02 + 0.78 / (1.0 + math.sqrt(cost.params / 5_000)) + 0.1 * luck
        return cls(error, 2.3 * error**0.8 * (0.9 + 0.2 * sharpness))


class SurrogateEvaluator:
    """Implements ``evolver.evaluation.Evaluator`` with synthetic values, for a genome of any space."""

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        """None: no data are needed."""
        return None

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        """Look whether values are made up for all of these. Raises EnvironmentFault where not."""
        if others := sorted(set(measures) - MEASURES):
            raise EnvironmentFault(f"the evaluator 'surrogate' does not measure {', '.join(others)}")

    def evaluate(self, task: Task, context: Context) -> Outcome:
        """Report a curve of the recipe's epochs, then the values of its end.

        Keeps no checkpoint: a task that was handed back starts over. Raises InvalidCode,
        EnvironmentFault, or HandedBack when asked to stop.
        """
        individual, recipe, seconds = individual_of(task), recipe_of(task), _seconds(task.seed)
        landscape = Landscape.of(individual.cost, individual.phenotype)
        tests = task.purpose in ("retrain", "transfer")
        context.started(dtype="none", resumed_from_epoch=None)
        for epoch in _curve(landscape, recipe, seconds / recipe.epochs, validates=not tests):
            _wait(epoch.seconds, context, task)
            context.report_epoch(epoch)
        part = "test" if tests else "validation"
        return Outcome(
            {
                f"{part}_error": landscape.error,
                f"{part}_loss": landscape.loss,
                "params": float(individual.cost.params),
                "flops": float(individual.cost.flops),
                "train_s": seconds,
            }
        )


def _curve(end: Landscape, recipe: Recipe, epoch_s: float, *, validates: bool) -> Iterator[Epoch]:
    """Exponential decay from the values of guessing to those of the end."""
    for number in range(1, recipe.epochs + 1):
        left = (math.exp(-4 * number / recipe.epochs) - math.exp(-4)) / (1 - math.exp(-4))
        error = end.error + (0.9 - end.error) * left
        loss = end.loss + (2.3 - end.loss) * left
        yield Epoch(
            number=number,
            train_loss=0.95 * loss,
            train_error=0.95 * error,
            validation_loss=loss if validates else None,
            validation_error=error if validates else None,
            lr=recipe.lr,
            seconds=epoch_s,
        )


def _seconds(seed: int) -> float:
    """How long the task of this seed takes."""
    text = os.environ.get(SECONDS_VARIABLE, "0")
    try:
        low, high = (float(part) for part in (text.split(":") if ":" in text else (text, text)))
    except ValueError:
        low = high = math.nan
    if not 0 <= low <= high < math.inf:
        raise EnvironmentFault(
            f"{SECONDS_VARIABLE} is '{text}'; give seconds, or LOW:HIGH, for instance 0.1:2"
        )
    return low if low == high else float(np.random.default_rng(seed).uniform(low, high))


def _wait(seconds: float, context: Context, task: Task) -> None:
    """Sleep in slices, as long as nobody asks to stop; asks at least once."""
    end = time.monotonic() + seconds
    while True:
        if context.stop_requested():
            raise HandedBack(f"evaluation {task.evaluation_id} was asked to stop")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, SLICE_S))
