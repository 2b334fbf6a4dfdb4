"""One scalar in the place of several objectives: the weighted sum, in a steady-state evolution.

The single-objective search that multi-objective ones are compared with. Objectives are scaled by ideal point
and nadir before they are summed, as MOEA/D does (Zhang and Li 2007, section V.E).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evolver.errors import InvalidInput
from evolver.selection.base import Objectives, Population, Selection, Violations
from evolver.selection.slots import replace_worst, tournaments

GREATEST_SUM = "greatest weighted sum"


class Weighted:
    """The weighted sum, by default with equal weights.

    The state is the ideal point: the least value of each objective over all feasible results; None before
    the first one. A child may take any slot.
    """

    name: str = "weighted"

    def __init__(self, slots: int, objectives: int, weights: Sequence[float] | None = None) -> None:
        """Raises InvalidInput for weights that are not one for each objective, negative, or all zero."""
        self.slots = slots
        self.objectives = objectives
        self.weights = np.ones(objectives) if weights is None else np.array(weights, dtype=np.float64)
        if len(self.weights) != objectives:
            raise InvalidInput(
                f"the selector weighted needs a weight for each of {objectives} objectives, "
                f"got {len(self.weights)}"
            )
        if not (np.isfinite(self.weights).all() and self.weights.min() >= 0.0 < self.weights.max()):
            raise InvalidInput(
                "weights of the selector weighted are finite and at least 0, and one is greater"
            )

    def initial_state(self) -> Mapping[str, Any]:
        return {"ideal": None}

    def insert(
        self,
        population: Population,
        state: Mapping[str, Any],
        genome_id: int,
        objectives: Objectives,
        slot: int,
        violation: float = 0.0,
    ) -> Selection:
        """The newcomer takes the slot of the holder with the greatest sum, unless its own is as great."""
        if violation == 0.0:
            ideal = objectives if state["ideal"] is None else np.minimum(state["ideal"], objectives)
            state = {"ideal": ideal.tolist()}

        def worst(points: Objectives, violations: Violations) -> int:
            return int(np.lexsort((self._sums(points, violations, state), violations))[-1])

        return replace_worst(population, state, genome_id, objectives, violation, worst, GREATEST_SUM)

    def parents(
        self, population: Population, state: Mapping[str, Any], slot: int, rng: Generator
    ) -> tuple[int, int]:
        """The winners of two tournaments on (violation, sum); ``slot`` does not matter."""
        sums = self._sums(population.objectives, population.violations, state)
        keys = list(zip(population.violations.tolist(), sums.tolist(), strict=True))

        def better(population: Population, first: int, second: int) -> int:
            return min(first, second, key=keys.__getitem__)

        return tournaments(population, better, rng)

    def _sums(
        self, points: Objectives, violations: Violations, state: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """The weighted sum of each point, scaled by the ideal point and the feasible points' nadir."""
        if state["ideal"] is None:
            return np.zeros(len(points))
        span = points[violations == 0.0].max(axis=0, initial=-np.inf) - state["ideal"]
        sums: NDArray[np.float64] = (points - state["ideal"]) @ (self.weights / np.where(span > 0, span, 1.0))
        return sums


def parse_weights(text: str) -> list[float]:
    """The weights of such a text as ``0.8,0.2``. Raises InvalidInput."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidInput(
            f"'{text}' are no weights; write one for each objective, for instance weighted:0.8,0.2"
        ) from None
